"""Host certificates as bytes: whatever is in them, they prove nothing unless everything is right."""

import base64
import subprocess
from pathlib import Path

import pytest

from hivekeys.protocol.causes import Trouble
from hivekeys.ssh.hostkeys.certificates import Certificate, read
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_keys import KnownKeys

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, two hosts, and a certificate for the first."""
    place = tmp_path_factory.mktemp("keys")
    for name in ("ca", "host", "other", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    sign = ["ssh-keygen", "-q", "-s", str(place / "ca"), "-I", "x", "-n", "hive1"]
    subprocess.run([*sign, "-h", str(place / "host.pub")], check=True)
    subprocess.run([*sign, str(place / "user.pub")], check=True)
    return place


def blob(path: Path) -> bytes:
    return base64.b64decode(path.read_text().split()[1])


def problem(certificate: bytes) -> str:
    found = read(certificate)
    return found.problem("hive1", NOW) if isinstance(found, Certificate) else found


def test_it_is_good_for_the_host_that_it_names_only(folder: Path) -> None:
    found = read(blob(folder / "host-cert.pub"))
    assert isinstance(found, Certificate)
    assert found.authority == HostKey("ssh-ed25519", blob(folder / "ca.pub"))
    assert found.problem("hive1", NOW) == ""
    assert found.problem("hive2", NOW) == "it is not for hive2 but for hive1"


def test_a_users_certificate_is_no_hosts(folder: Path) -> None:
    assert problem(blob(folder / "user-cert.pub")) == "it is a user's, not a host's"


def test_a_change_of_any_byte_or_a_cut_anywhere_makes_it_worthless(folder: Path) -> None:
    whole = blob(folder / "host-cert.pub")
    trusted = KnownKeys("hive1", ("f",), authorities=(HostKey("ssh-ed25519", blob(folder / "ca.pub")),))
    host = HostKey("ssh-ed25519", blob(folder / "host.pub"))
    assert trusted.verdict(host, whole, NOW) is None
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        assert trusted.verdict(host, bytes(changed), NOW), f"byte {place}"
        assert trusted.verdict(host, whole[:place] or b"\0", NOW), f"cut at {place}"


def test_a_certificate_for_another_key_proves_nothing(folder: Path) -> None:
    trusted = KnownKeys("hive1", ("f",), authorities=(HostKey("ssh-ed25519", blob(folder / "ca.pub")),))
    cause = trusted.verdict(HostKey("ssh-ed25519", blob(folder / "other.pub")), blob(folder / "host-cert.pub"), NOW)
    assert cause
    assert cause.trouble is Trouble.HOST_CERTIFICATE_REFUSED
    assert "it is for another key" in cause.detail


def test_a_plain_key_is_no_certificate(folder: Path) -> None:
    assert problem(blob(folder / "host.pub")) == "it is none"
