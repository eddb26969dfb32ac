"""hivekeys' own directory on a host whose /var/lib is a link, as on machines whose /var is small."""

import os
from pathlib import Path

import pytest

from tests.inprocess import InProcessFleet, Session, SimulatedHost

NOBODY = 65534


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    """Its /var/lib is a link to /srv/varlib, which is root's."""
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("directories that are root's alone")
    host = InProcessFleet(tmp_path, hives=1).hosts["hive1"]
    moved = host.root / "srv/varlib"
    moved.parent.mkdir()
    (host.root / "var/lib").rename(moved)
    (host.root / "var/lib").symlink_to("/srv/varlib")
    return host


def test_a_link_of_roots_is_followed(host: SimulatedHost) -> None:
    """Read-only, and as a run that writes there."""
    assert Session(host, write=False).greeting["ok"]
    assert Session(host, fleet="blue").greeting["ok"]
    assert (host.root / "srv/varlib/hivekeys/fleet").read_text() == "blue\n"


@pytest.mark.parametrize("folder", ["var", "srv", "srv/varlib"])
@pytest.mark.parametrize("change", ["he owns it", "everybody may write there"])
def test_a_link_through_a_directory_that_another_account_can_change_is_refused_as_that(
    host: SimulatedHost, folder: str, change: str
) -> None:
    """He could exchange what hivekeys remembers of tokens that leaked. It is no full disk, and not called one."""
    if change == "he owns it":
        os.chown(host.root / folder, NOBODY, NOBODY)
    else:
        (host.root / folder).chmod(0o777)
    for write in (False, True):
        refused = Session(host, write=write).greeting
        assert refused["trouble"] == "token-unsafe"
        assert refused["detail"].startswith("/var/lib: a part of the way is no directory, or a link")
    assert list((host.root / "srv/varlib").iterdir()) == []


def test_a_link_that_leads_nowhere_is_named(host: SimulatedHost) -> None:
    (host.root / "srv/varlib").rmdir()
    refused = Session(host).greeting
    assert (refused["trouble"], refused["detail"]) == ("write-failed", "/var/lib/hivekeys: No such file or directory")
