"""Writing known_hosts: what was there stays, what is written OpenSSH finds, and half a file there never is."""

import base64
import os
import stat
import subprocess
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_hosts_file import Entry, write

ED = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32)))
OLD = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(1, 33)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "known_hosts"


def line(names: str, key: HostKey = OLD) -> str:
    return f"{names} {key.kind} {base64.b64encode(key.blob).decode()}"


def put(file: Path, *entries: Entry, hashed: bool = True) -> Path | None:
    return write(str(file), entries, hashed, 20)


def found(file: Path, name: str) -> list[str]:
    """The keys that OpenSSH finds for a name."""
    answer = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False)
    return [row.split()[2] for row in answer.stdout.splitlines() if not row.startswith("#")]


def keys(*some: HostKey) -> list[str]:
    return [base64.b64encode(key.blob).decode() for key in some]


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("name", ["hive1", "[10.0.0.1]:2222", "fe80::1"])
def test_openssh_finds_what_was_written(file: Path, name: str, hashed: bool) -> None:
    assert put(file, Entry(name, (ED, OLD)), hashed=hashed) is None
    assert found(file, name) == keys(ED, OLD)
    assert found(file, "other") == []
    assert (name in file.read_text()) is not hashed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_everything_else_stays_as_it_was_and_a_copy_lies_beside_it(file: Path) -> None:
    text = f"# note\n\n{line('a,b')} comment\n@cert-authority * ssh-ed25519 x\n  odd line\nlast without end"
    file.write_text(text)
    file.chmod(0o644)
    os.chown(file, -1, os.getgid())
    backup = put(file, Entry("hive1", (ED,)))
    assert file.read_text().startswith(f"{text}\n|1|")
    assert backup is not None
    assert backup.read_text() == text
    assert {stat.S_IMODE(each.stat().st_mode) for each in (file, backup)} == {0o644}
    assert sorted(file.parent.iterdir()) == sorted([file, backup])


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_owner_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo fab trust`, with the known_hosts of who typed it."""
    monkeypatch.setenv("SUDO_UID", "1234")
    file.write_text("")
    os.chown(file, 1234, 1234)
    put(file, Entry("hive1", (ED,)))
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 1234)


def test_old_keys_go_and_other_names_of_their_lines_stay(file: Path) -> None:
    marked = f"@revoked hive1 {line('x').partition(' ')[2]}"
    file.write_text("\n".join([line("HIVE1"), line("a,hive1,b"), line("other"), marked, ""]))
    put(file, Entry("hive1", (ED,), alone=True), hashed=False)
    assert file.read_text().splitlines() == [line("a,b"), line("other"), marked, line("hive1", ED)]


def test_old_keys_behind_hashed_names_go_as_well(file: Path) -> None:
    put(file, Entry("hive1", (OLD,)), Entry("hive2", (OLD,)))
    put(file, Entry("hive1", (ED,), alone=True))
    assert found(file, "hive1") == keys(ED)
    assert found(file, "hive2") == keys(OLD)


def test_an_old_key_behind_a_pattern_is_for_a_person_to_mend(file: Path) -> None:
    file.write_text(f"{line('other')}\n{line('hive*')}\n")
    was = file.read_text()
    with pytest.raises(UserError, match="line 2 has the old key by a pattern"):
        put(file, Entry("hive1", (ED,), alone=True))
    assert file.read_text() == was
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_one(file: Path) -> None:
    real = file.with_name("real")
    real.write_text(f"{line('other')}\n")
    file.symlink_to(real)
    put(file, Entry("hive1", (ED,)))
    assert file.is_symlink()
    assert found(real, "hive1") == keys(ED)


def test_a_folder_that_others_can_write_to_is_no_place_for_trust(file: Path) -> None:
    file.parent.chmod(0o777)
    with pytest.raises(UserError, match="others can change it"):
        put(file, Entry("hive1", (ED,)))
    assert not file.exists()


def test_what_is_no_file_is_not_written_to(file: Path) -> None:
    with pytest.raises(UserError, match=r"is no file"):
        put(Path("/dev/null"), Entry("hive1", (ED,)))


def test_a_new_file_gets_a_folder_of_its_own(file: Path) -> None:
    inside = file.parent / "ssh" / "known_hosts"
    put(inside, Entry("hive1", (ED,)))
    assert stat.S_IMODE(inside.parent.stat().st_mode) == 0o700
