"""What the bastion keeps: in a folder of the operator's own, one key a fleet, one run at a time."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hivekeys.errors import ExitCode, UserError
from hivekeys.journal import state_folder

PLAIN = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
HOLDER = """
import sys
from pathlib import Path
from hivekeys.journal import state_folder
with state_folder.hold_lock(Path(sys.argv[1]), "blue", "run-1", "drill"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return state_folder.folder_for("blue", environ={"HIVEKEYS_STATE_DIR": str(tmp_path)})


def test_the_folder_is_the_operators_alone(folder: Path, tmp_path: Path) -> None:
    assert folder == tmp_path / "blue"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_was_named_comes_before_the_environment(tmp_path: Path) -> None:
    found = state_folder.folder_for("blue", str(tmp_path / "named"), {"HIVEKEYS_STATE_DIR": str(tmp_path / "other")})
    assert found == tmp_path / "named" / "blue"


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_that_others_can_read_or_write_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(UserError, match="yours alone") as caught:
        state_folder.folder_for("blue", str(folder.parent))
    assert "chmod 700" in caught.value.hint


@pytest.mark.parametrize("umask", [0o000, 0o277])
def test_every_level_that_is_made_is_the_operators_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Under umask 000 the level above was 0777: another account moved the whole journal away, tombstones and all."""
    before = os.umask(umask)
    try:
        folder = state_folder.folder_for("blue", str(tmp_path / "share" / "hivekeys"))
    finally:
        os.umask(before)
    modes = {level.name: level.stat().st_mode & 0o777 for level in (folder, *folder.parents[:2])}
    assert modes == {"blue": 0o700, "hivekeys": 0o700, "share": 0o700}


@pytest.mark.parametrize("mode", [0o702, 0o722, 0o777])
@pytest.mark.parametrize("level", [0, 1])
def test_a_level_above_that_others_can_write_is_refused_and_named(folder: Path, mode: int, level: int) -> None:
    """They could put a folder of their own in its place: the one right above, or any other on the way."""
    folder = state_folder.folder_for("blue", str(folder.parent / "below"))
    above = folder.parents[level]
    above.chmod(mode)
    with pytest.raises(UserError, match="every account can write to") as caught:
        state_folder.folder_for("blue", str(folder.parent))
    assert f"can write to {above} (mode" in caught.value.message
    assert "chmod go-w" in caught.value.hint


def test_nothing_is_made_below_a_level_that_others_can_write(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UserError, match="every account can write to"):
        state_folder.folder_for("blue", str(tmp_path / "open" / "mine"))
    assert list((tmp_path / "open").iterdir()) == []


def test_a_level_that_all_can_write_with_the_sticky_bit_is_no_danger_to_what_is_ours(tmp_path: Path) -> None:
    """As /tmp: only its owner takes an entry away there, and the entry is ours."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    assert state_folder.folder_for("blue", str(tmp_path / "shared" / "mine")).is_dir()


def test_a_link_is_followed_and_the_levels_on_both_sides_of_it_count(tmp_path: Path) -> None:
    for name in ("open", "mine"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "open" / "target").mkdir()
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "open" / "target")
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UserError, match="every account can write to"):
        state_folder.folder_for("blue", str(tmp_path / "mine" / "link"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_level_above_that_is_another_accounts_is_refused(folder: Path) -> None:
    os.chown(folder.parent, 65534, 65534)
    with pytest.raises(UserError, match="belongs to nobody"):
        state_folder.folder_for("blue", str(folder.parent))


def test_a_folder_that_cannot_be_made_is_a_mistake_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        state_folder.folder_for("blue", str(tmp_path / "file"))
    assert "--state-dir" in caught.value.hint


def test_the_key_for_evidence_is_made_once_and_is_secret(folder: Path) -> None:
    key = state_folder.signing_key(folder).private_bytes_raw()
    assert state_folder.signing_key(folder).private_bytes_raw() == key
    assert (folder / "evidence.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["evidence.key"], "nothing is left over"


def test_of_keys_that_two_make_at_once_one_stays(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = pool.map(lambda _: state_folder.signing_key(folder).private_bytes_raw(), range(8))
    assert len(set(keys)) == 1


@pytest.mark.parametrize("content", [b"", b"no key", generate_private_key(SECP256R1()).private_bytes(*PLAIN)])
def test_a_key_for_evidence_that_is_none_is_never_replaced(folder: Path, content: bytes) -> None:
    (folder / "evidence.key").write_bytes(content)
    with pytest.raises(UserError, match="private key") as caught:
        state_folder.signing_key(folder)
    assert "tell those who check" in caught.value.hint
    assert (folder / "evidence.key").read_bytes() == content


def test_a_key_for_evidence_is_not_made_or_read_through_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "evidence.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError):
        state_folder.signing_key(folder)
    assert not (tmp_path / "elsewhere").exists()


def test_the_key_is_made_once_and_is_secret(folder: Path) -> None:
    key = state_folder.fingerprint_key(folder)
    assert len(key) == state_folder.KEY_BYTES
    assert state_folder.fingerprint_key(folder) == key
    assert (folder / "fingerprint.key").stat().st_mode & 0o777 == 0o600


def test_each_fleet_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = {state_folder.fingerprint_key(state_folder.folder_for(name, str(tmp_path))) for name in ("blue", "green")}
    assert len(keys) == 2


@pytest.mark.parametrize("size", [1, 31, 33, 4096])
def test_a_key_of_another_length_is_refused_not_replaced(folder: Path, size: int) -> None:
    (folder / "fingerprint.key").write_bytes(b"x" * size)
    with pytest.raises(UserError, match="not 32"):
        state_folder.fingerprint_key(folder)
    assert (folder / "fingerprint.key").stat().st_size == size


@pytest.mark.parametrize("name", ["fingerprint.key", "lock"])
def test_a_link_in_place_of_a_file_is_refused_and_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    (folder / name).symlink_to(target)
    with pytest.raises(UserError):
        state_folder.fingerprint_key(folder)
        with state_folder.hold_lock(folder, "blue", "run-1", ""):
            pass
    assert not target.exists()


def test_a_lock_that_cannot_be_written_is_a_mistake_and_no_run_begins(folder: Path) -> None:
    (folder / "lock").mkdir()
    with pytest.raises(UserError) as caught, state_folder.hold_lock(folder, "blue", "run-1", ""):
        pytest.fail("the run began")
    assert caught.value.hint == "nothing was touched"


def test_the_second_run_is_told_who_holds_the_lock_since_when_and_why(folder: Path) -> None:
    with state_folder.hold_lock(folder, "blue", "run-1", "quarterly"):
        with pytest.raises(UserError) as caught, state_folder.hold_lock(folder, "blue", "run-2", ""):
            pytest.fail("both runs began")
        for told in ("run-1", state_folder.operator(), str(os.getpid()), "since", "quarterly"):
            assert told in caught.value.message
        assert caught.value.code is ExitCode.LOCKED


def test_the_lock_is_free_after_the_run_and_after_a_run_that_failed(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), state_folder.hold_lock(folder, "blue", "run-1", ""):
        raise ZeroDivisionError
    with state_folder.hold_lock(folder, "blue", "run-2", ""):
        assert json.loads((folder / "lock").read_text())["run"] == "run-2"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 1}', "null"])
def test_a_holder_who_cannot_be_read_is_a_holder_all_the_same(folder: Path, text: str) -> None:
    with state_folder.hold_lock(folder, "blue", "run-1", ""):
        (folder / "lock").write_text(text)
        with pytest.raises(UserError, match="just begun"), state_folder.hold_lock(folder, "blue", "run-2", ""):
            pytest.fail("both runs began")


def test_the_lock_dies_with_a_holder_that_is_killed(folder: Path) -> None:
    """Nobody has to break a lock by force (hashicorp/terraform#25776)."""
    argv = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="drill"), state_folder.hold_lock(folder, "blue", "run-2", ""):
            pytest.fail("both runs began")
        holder.kill()
    with state_folder.hold_lock(folder, "blue", "run-2", ""):
        pass


def test_a_fleet_that_is_gone_is_forgotten(folder: Path, tmp_path: Path) -> None:
    state_folder.fingerprint_key(folder)
    state_folder.forget("blue", {"HIVEKEYS_STATE_DIR": str(tmp_path)})
    assert not folder.exists()
