"""What root reads of a unit: no link of another account's is followed, no pipe waited for; all else is named."""

import os
from pathlib import Path

import pytest

import hivekeys.host.verbs.inspect  # noqa: F401  hosts know its verb, too
from hivekeys.host.environment import FILE_LIMIT, files_that_set_it, in_unit
from hivekeys.host.paths import open_controlled
from tests.inprocess import InProcessFleet, Session

SERVICE = 54321  # an account that is not root
VALUE = "LLORCH_API_TOKEN=of-the-file\n"
FOUND = [("/etc/llama.env", "of-the-file")]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has folders of root's")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's files: /etc is root's, /srv the service account's (who runs this, where that is not root)."""
    for name in ("etc", "srv", "root"):
        (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "root" / "secret").write_text(VALUE)
    if os.geteuid() == 0:
        os.chown(tmp_path / "srv", SERVICE, SERVICE)
    return tmp_path


def told(root: Path, path: str, options: str = "ignore_errors=no") -> tuple[list[tuple[str, str]], list[str]]:
    return in_unit(str(root), {"EnvironmentFiles": f"{path} ({options})"})


def test_a_plain_file_is_read(root: Path) -> None:
    (root / "etc/llama.env").write_text(VALUE)
    assert told(root, "/etc/llama.env") == (FOUND, [])


@pytest.mark.parametrize("options", ["ignore_errors=no", "ignore_errors=yes"])
@pytest.mark.parametrize("target", ["/root/secret", "../root/secret", "/nothing", "llama.env"])
def test_a_link_of_another_accounts_leads_root_nowhere(root: Path, target: str, options: str) -> None:
    """It could lead to a device, of which an open alone has effects, or to any secret of root's."""
    (root / "srv/llama.env").symlink_to(target)
    assert told(root, "/srv/llama.env", options) == ([], ["/srv/llama.env"])


def test_a_folder_that_another_account_has_put_a_link_in_the_place_of_leads_nowhere(root: Path) -> None:
    (root / "srv/conf").symlink_to("/root")
    assert told(root, "/srv/conf/secret") == ([], ["/srv/conf/secret"])


@needs_root
@pytest.mark.parametrize("target", ["/root/secret", "../root/secret", "./../etc/second", "/etc//there/secret"])
def test_a_link_of_roots_own_is_followed(root: Path, target: str) -> None:
    (root / "etc/second").symlink_to("/root/secret")
    (root / "etc/there").symlink_to("../root")
    (root / "etc/llama.env").symlink_to(target)
    assert told(root, "/etc/llama.env") == (FOUND, [])


@needs_root
def test_a_link_of_roots_own_that_leads_to_another_accounts_ends_there(root: Path) -> None:
    (root / "etc/llama.env").symlink_to("/srv/llama.env")
    (root / "srv/llama.env").symlink_to("/root/secret")
    assert told(root, "/etc/llama.env") == ([], ["/etc/llama.env"])


@needs_root
def test_links_in_a_circle_end(root: Path) -> None:
    (root / "etc/a").symlink_to("b")
    (root / "etc/b").symlink_to("a")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="symbolic links"):
        open_controlled(str(root), "/etc/a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("what", ["a pipe", "a folder", "too much", "a pattern", "the root"])
def test_what_cannot_be_read_is_named_and_waited_for_by_nobody(root: Path, what: str) -> None:
    path = root / "etc/llama.env"
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what == "too much":
        path.write_text("x" * (FILE_LIMIT + 1))
    name = {"a pattern": "/etc/*.env", "the root": "/"}.get(what, "/etc/llama.env")
    assert told(root, name, "ignore_errors=yes") == ([], [name])


def test_a_file_that_need_not_be_there_is_not_missed(root: Path) -> None:
    assert told(root, "/etc/llama.env", "ignore_errors=yes") == ([], [])
    assert told(root, "/etc/llama.env") == ([], ["/etc/llama.env"])


def test_a_pipe_in_place_of_a_drop_in_holds_nobody(root: Path) -> None:
    os.mkfifo(root / "etc/unit")
    assert files_that_set_it(str(root), {"FragmentPath": "/etc/unit"}) == ["the unit or a drop-in"]


# -- the audit trail's directory


def test_of_an_audit_directory_behind_a_link_nobody_can_tell(tmp_path: Path) -> None:
    """It is the service account's to put one there; "is no directory" would be a claim about what it leads to."""
    host = InProcessFleet(tmp_path, hives=1).hosts["hive1"]
    host.is_audited = True
    audit = host.root / "var/log/llama-orch/audit"
    audit.parent.mkdir(parents=True, exist_ok=True)
    session = Session(host)
    missing = session.do("inspect")["facts"]["audit"]
    assert (missing["on"], missing["mode"]) == (True, None)
    audit.symlink_to("/etc")
    assert session.do("inspect")["facts"]["audit"] is None
