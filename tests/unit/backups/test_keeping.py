"""A run takes a backup of the token that it has brought everywhere, of no other; a backup that fails fails no run."""

from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from hivekeys import age
from hivekeys.backups import backup
from hivekeys.backups import folder as backup_folder
from hivekeys.bastion.after_run import backup_after_run
from hivekeys.errors import ExitCode
from hivekeys.fleet import Backups, Fleet, Policy
from tests.builders.documents import valid
from tests.builders.operator import Operator
from tests.inprocess import KEY, InProcessFleet

SECRET = pyrage.x25519.Identity.generate()
TO = (str(SECRET.to_public()),)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The fleet's state folder, with the key that the operator's runs use."""
    folder = tmp_path / "state" / "inprocess"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "fingerprint.key").touch(0o600)
    (folder / "fingerprint.key").write_bytes(KEY)
    return folder


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path / "hosts", hives=2, policy=Policy(stable_seconds=0.0, revocation_recheck=0.0))


def told(fleet: InProcessFleet, to: tuple[str, ...] = TO) -> Fleet:
    return replace(fleet.inventory, backup=Backups(to))


def test_a_rotation_that_is_done_seals_its_token_once(fleet: InProcessFleet, state: Path) -> None:
    operator = Operator(fleet)
    code = operator.rotate()
    taken = backup_after_run(told(fleet), operator.runner, code, str(state.parent))
    assert taken is not None and taken.file is not None
    (one,) = backup_folder.list_backups(state / "backups")
    assert one.backup is not None
    assert (one.path, one.backup.header.run) == (taken.file.path, "run-1")
    opened = age.unseal(one.backup.block, [SECRET], "f")
    assert backup.token_in(one.backup, opened, KEY, "f") == operator.token
    assert backup_after_run(told(fleet), operator.runner, code, str(state.parent)) is None


def test_a_revocation_seals_the_new_token_as_well(fleet: InProcessFleet, state: Path) -> None:
    operator = Operator(fleet)
    code = operator.revoke()
    taken = backup_after_run(told(fleet), operator.runner, code, str(state.parent))
    assert taken is not None and taken.file is not None and taken.file.backup is not None
    assert taken.file.backup.header.fingerprint == operator.runner.run.want


@pytest.mark.parametrize("fault", ["start-fails", "link-down"])
def test_a_run_that_is_not_done_seals_nothing(fleet: InProcessFleet, state: Path, fault: str) -> None:
    fleet.hosts["hive2"].fault = fault
    operator = Operator(fleet)
    code = operator.rotate()
    assert code is not ExitCode.DONE
    assert backup_after_run(told(fleet), operator.runner, code, str(state.parent)) is None
    assert not (state / "backups").exists()


def test_without_recipients_in_the_inventory_nothing_is_sealed(fleet: InProcessFleet, state: Path) -> None:
    operator = Operator(fleet)
    assert backup_after_run(told(fleet, ()), operator.runner, operator.rotate(), str(state.parent)) is None


def test_whatever_goes_wrong_is_told_and_no_more(fleet: InProcessFleet, state: Path) -> None:
    operator = Operator(fleet)
    code = operator.rotate()
    (state / "backups").write_text("a file in the folder's place")
    for to, said in ((("/gone.pub",), "recipient /gone.pub: No such file"), (TO, "File exists")):
        taken = backup_after_run(told(fleet, to), operator.runner, code, str(state.parent))
        assert taken is not None and taken.file is None and said in taken.why
        assert taken.lines()[0].startswith("warning: no backup was taken: ")
        assert taken.facts()["taken"] is False
        assert "fab backup" in valid(taken.document(ExitCode.INCOMPLETE, "paper"))["command"]
