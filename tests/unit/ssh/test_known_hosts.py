"""known_hosts: plain lines are indexed, harder ones are OpenSSH's to judge, the verdict is strict."""

import base64
import os
import subprocess
from pathlib import Path

import pytest

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_hosts import KnownHosts
from hivekeys.ssh.hostkeys.known_keys import KnownKeys

ED = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32)))
OTHER = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(1, 33)))


def test_a_fingerprint_is_openssh_s(tmp_path: Path) -> None:
    """So that it can be compared on the host's console."""
    path = tmp_path / "key.pub"
    path.write_text(text(ED))
    answer = subprocess.run(["ssh-keygen", "-l", "-f", str(path)], capture_output=True, text=True, check=True)
    assert answer.stdout.split()[1] == ED.fingerprint


def test_plain_lines_need_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five thousand hosts are read once, and looked up without anybody's help."""
    lines = [f"hive{number},10.0.{number // 256}.{number % 256} {text(ED)} note" for number in range(5000)]
    path = write(tmp_path, "# a comment", "", *lines, f"hive7 {text(OTHER)}")
    monkeypatch.setenv("PATH", str(tmp_path))
    known = KnownHosts(20)
    assert keys(known, "hive4999", path) == (ED,)
    assert keys(known, "10.0.0.7", path) == (ED,)
    assert keys(known, "hive7", path) == (ED, OTHER)
    assert keys(known, "hive", path) == ()


def test_one_hard_line_makes_openssh_the_judge_of_its_file(tmp_path: Path) -> None:
    """Patterns, negation, hashes and markers."""
    path = write(tmp_path, f"*.x,!b.x {text(ED)}", f"HIVE {text(OTHER)}", f"@revoked * {text(OTHER)}")
    known = KnownHosts(20)
    assert keys(known, "a.x", path) == (ED,)
    assert keys(known, "b.x", path) == ()
    found = known.keys("hive", (path,))
    assert isinstance(found, KnownKeys)
    assert (found.keys, found.revoked) == ((OTHER,), (OTHER,))


def test_several_files_add_up_and_a_missing_one_says_nothing(tmp_path: Path) -> None:
    """The fleet's, the user's, the system's."""
    first, second = write(tmp_path, f"h {text(ED)}", name="first"), write(tmp_path, f"h {text(OTHER)}", name="second")
    found = KnownHosts(20).keys("h", (first, str(tmp_path / "none"), second))
    assert isinstance(found, KnownKeys)
    assert found.keys == (ED, OTHER)


@pytest.mark.parametrize("how", ["a folder", "a pipe", "a link to itself", "a link to a name that no disk takes"])
def test_a_file_that_cannot_be_read_is_named_and_does_not_count_as_empty(tmp_path: Path, how: str) -> None:
    """There may be `@revoked` lines in it."""
    path = tmp_path / "known_hosts"
    if how == "a folder":
        path.mkdir()
    elif how == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if how == "a link to itself" else "a" * 300)
    said = KnownHosts(20).keys("h", (write(tmp_path, f"h {text(ED)}", name="first"), str(path)))
    assert isinstance(said, Cause)
    assert said.trouble is Trouble.LOCAL_FILE
    assert str(path) in said.detail


def test_no_file_at_all_says_nothing() -> None:
    """`UserKnownHostsFile /dev/null`."""
    assert keys(KnownHosts(20), "h", os.devnull) == ()


def test_a_broken_line_takes_nothing_away(tmp_path: Path) -> None:
    """OpenSSH skips it as well."""
    for harder in ("", "@revoked nobody x y"):
        path = write(tmp_path, "h", "h ssh-ed25519", "h ssh-ed25519 !!!", "\0\xff", harder, f"h {text(ED)}")
        assert keys(KnownHosts(20), "h", path) == (ED,)


def test_verdicts() -> None:
    """Known and not revoked, or refused; an authority without a certificate is not enough."""
    assert KnownKeys("h", ("f",), keys=(OTHER, ED)).verdict(ED) is None
    for known, trouble in (
        (KnownKeys("h", ("f",)), Trouble.HOST_KEY_UNKNOWN),
        (KnownKeys("h", ("f",), authorities=(OTHER,)), Trouble.HOST_KEY_UNKNOWN),
        (KnownKeys("h", ("f",), keys=(OTHER,)), Trouble.HOST_KEY_CHANGED),
        (KnownKeys("h", ("f",), keys=(ED,), revoked=(ED,)), Trouble.HOST_KEY_REVOKED),
    ):
        cause = known.verdict(ED)
        assert cause is not None
        assert cause.trouble is trouble
        assert ED.fingerprint in cause.detail


def text(key: HostKey) -> str:
    """Type and key, as they stand in known_hosts."""
    return f"{key.kind} {base64.b64encode(key.blob).decode()}"


def write(folder: Path, *lines: str, name: str = "known_hosts") -> str:
    """A known_hosts file of these lines."""
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def keys(known: KnownHosts, name: str, path: str) -> tuple[HostKey, ...]:
    """The keys that a file has for a name."""
    found = known.keys(name, (path,))
    assert not isinstance(found, Cause), found
    return found.keys
