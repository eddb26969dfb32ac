"""Whose word counts: the queen's, two hosts', the journal's; what one hive alone says is that hive's affair."""

from dataclasses import replace

import pytest

from hivekeys.errors import ExitCode
from hivekeys.journal.events import Phase, State
from hivekeys.journal.history import LEAD, History, gone_back, later_runs, next_epoch, tokens_held
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import REVOKE, Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.seen import MAX_EPOCH, HostRecord, Place
from hivekeys.token import Token
from tests.builders.seen import seen

OLD, NEW, LONE = (Token(letter * 64).fingerprint(b"k") for letter in "abc")


def run_of(*hosts: HostRun, queen: bool = True, epoch: int = 5) -> Run:
    waves = ((Phase.QUEEN, ("queen",)),) if queen else ()
    return Run("run-5", epoch=epoch, waves=waves, hosts={host.name: host for host in hosts})


def says(name: str, epoch: int, changed: int = 0, run: str = "") -> HostRun:
    """The last run that took its lock, and the last that changed something there."""
    return HostRun(name, host_record=HostRecord(epoch=epoch, changed=Place(changed, run)))


# -- the place in the order of runs


@pytest.mark.parametrize(
    ("hosts", "epoch"),
    [
        ([], 8),
        ([HostRun("queen")], 8),
        ([says("hive1", 99)], 8),
        ([says("hive1", 99), says("hive2", 20)], 21),
        ([says("hive1", 99), says("hive2", 30), says("hive3", 20)], 31),
        ([says("hive1", 3), says("hive2", 2)], 8),
        ([says("queen", 40)], 41),
        ([says("queen", 7 + LEAD)], 8 + LEAD),
        ([says("queen", 8 + LEAD)], 8),
        ([says("queen", 2, changed=50), says("hive1", 1)], 51),
        ([says("hive1", 1, changed=50), says("hive2", 1, changed=60)], 51),
    ],
    ids=[
        "only the journal",
        "nothing heard",
        "one hive",
        "two hives",
        "three hives",
        "the journal is ahead",
        "the queen",
        "the queen, as far as she may",
        "the queen, too far",
        "what she was changed by",
        "what two were changed by",
    ],
)
def test_a_run_has_the_place_behind_all_that_are_borne_out(hosts: list[HostRun], epoch: int) -> None:
    assert next_epoch(run_of(*hosts), History(epoch=7)) == epoch


def test_the_numbers_do_not_run_out() -> None:
    assert next_epoch(run_of(), History(epoch=MAX_EPOCH)) == MAX_EPOCH


def test_without_a_queen_no_host_speaks_for_her() -> None:
    assert next_epoch(run_of(says("queen", 40), queen=False), History(epoch=7)) == 8


def test_a_later_run_is_sure_when_the_queen_or_two_hosts_name_it() -> None:
    hosts = [
        says("queen", 9, 9, "run-9"),
        says("hive1", 8, 8, "run-8"),
        says("hive2", 8, 8, "run-8"),
        says("hive3", 7, 7, "run-7"),
        says("hive4", 5, 5, "run-5"),
        HostRun("hive5"),
    ]
    assert later_runs(run_of(*hosts)) == {"run-9": True, "run-8": True, "run-7": False}
    assert later_runs(run_of(*hosts, queen=False))["run-9"] is False


# -- tokens, and runs that are over


def test_a_token_is_held_once_by_each_host_that_has_it_now_or_had_it() -> None:
    hosts = [
        HostRun("queen", was=OLD, seen=seen(OLD, staged=NEW)),
        HostRun("hive1", was=OLD, seen=seen(NEW, previous=OLD)),
        HostRun("hive2", seen=seen(LONE)),
        HostRun("hive3"),
    ]
    assert tokens_held(hosts) == {OLD: 2, NEW: 2, LONE: 1}


BACK = HostRun("hive1", touched=True, state=State.ROLLED_BACK)
BARRED = HostRun("hive1", touched=True, state=State.FAILED, cause=Cause(Trouble.REVOKED))
BEHIND = replace(BARRED, cause=Cause(Trouble.SILENT))


@pytest.mark.parametrize(
    ("run", "is_back"),
    [
        (replace(run_of(BACK), code=ExitCode.ROLLED_BACK), True),
        (run_of(BACK), False),
        (run_of(replace(BACK, touched=False)), True),
        (replace(run_of(BEHIND), code=ExitCode.INCOMPLETE), False),
        (replace(run_of(BARRED), code=ExitCode.INCOMPLETE), True),
        (replace(run_of(BACK), code=ExitCode.INCOMPLETE, task=REVOKE), False),
        (replace(run_of(replace(BACK, touched=False)), task=REVOKE, revoked=(OLD,)), False),
    ],
    ids=["back", "not over", "changed nothing", "one behind", "one that cannot", "revocation", "condemned"],
)
def test_an_earlier_run_may_go_on_where_a_later_one_left_all_as_it_was(run: Run, is_back: bool) -> None:
    assert gone_back([run]) == (frozenset({"run-5"}) if is_back else frozenset())
