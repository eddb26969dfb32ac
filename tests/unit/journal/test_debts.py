"""What earlier runs still owe, given the runs after them: whom an operator is sent to, and whom not."""

from collections.abc import Sequence

import pytest

from hivekeys.errors import ExitCode
from hivekeys.journal.debts import overtaken, owes, served, settled
from hivekeys.journal.events import CensusTaken, Outcome, Phase, PhaseStarted, RunEnded, State, Status, TokenChosen
from hivekeys.journal.fold import fold
from hivekeys.journal.run import Run
from hivekeys.protocol.audited import Use
from hivekeys.protocol.causes import Cause, Trouble
from tests.builders.recorded import NEW, WELL, Teller, fleet_of

HOSTS = ("queen", "hive1", "hive2")
AWAY = Cause(Trouble.NO_CONNECTION, "connect: timed out")


def rotation(run: str, lost: Sequence[str] = ()) -> Run:
    """The fleet went on with its token; hosts that were lost owe it."""
    return fold(Teller(fleet_of(2), run, lost=lost).whole())


def revocation(run: str, lost: Sequence[str] = ()) -> Run:
    return fold(Teller(fleet_of(2), run, lost=lost).revoke())


def looked(run: str) -> Run:
    """It changed nothing."""
    teller = Teller(fleet_of(2), run)
    teller.begin()
    teller.phase(Phase.LOOK, HOSTS)
    teller.tell(RunEnded(ExitCode.ROLLED_BACK, teller.now()))
    return fold(teller.events)


def went_back(run: str, reached: Sequence[str] = HOSTS) -> Run:
    teller = Teller(fleet_of(2), run)
    teller.before()
    teller.turn()
    teller.phase(Phase.ROLLBACK, reached)
    for name in set(HOSTS) - set(reached):
        teller.tell(Outcome(name, Phase.ROLLBACK, Status.UNREACHABLE, State.UNREACHABLE, teller.now(), AWAY))
    teller.tell(RunEnded(ExitCode.INCOMPLETE, teller.now()))
    return fold(teller.events)


def backup(run: str) -> Run:
    """The queen proved her token, as for every backup."""
    teller = Teller(fleet_of(2), run, task="backup")
    teller.begin()
    teller.tell(PhaseStarted(Phase.BACKUP, ("queen",), teller.now()))
    teller.tell(Outcome("queen", Phase.BACKUP, Status.OK, State.PROVEN, teller.now(), proof=WELL))
    teller.tell(RunEnded(ExitCode.DONE, teller.now()))
    return fold(teller.events)


def overtaken_run(run: str) -> Run:
    """Another bastion's run was at the queen before this one ended."""
    teller = Teller(fleet_of(2), run)
    teller.before()
    cause = Cause(Trouble.SUPERSEDED, "run bob-1 of bob@b2")
    teller.tell(Outcome("queen", Phase.QUEEN, Status.FAILED, State.FAILED, teller.now(), cause))
    teller.tell(RunEnded(ExitCode.LOCKED, teller.now()))
    return fold(teller.events)


# -- what later runs make of it


def test_the_newest_run_owes_what_it_owes() -> None:
    owing = rotation("run-1", lost=("hive2",))
    assert list(settled([owing])) == [owing]
    assert owing.debts == ("hive2",)


def test_a_rotation_owes_nothing_once_the_fleet_went_on_with_another_token() -> None:
    newest, older = settled([rotation("run-2"), rotation("run-1", lost=("hive2",))])
    assert (newest.id, newest.settled_by) == ("run-2", "")
    assert (older.id, older.settled_by, older.debts) == ("run-1", "run-2", ())


def test_the_next_run_that_went_through_settles_it_and_not_one_that_came_before() -> None:
    *_, oldest = settled([looked("run-4"), rotation("run-3"), rotation("run-2"), rotation("run-1", lost=("hive2",))])
    assert oldest.settled_by == "run-2"


@pytest.mark.parametrize(
    "later", [looked("run-2"), went_back("run-2"), backup("run-2")], ids=["look", "back", "backup"]
)
def test_debts_stay_after_a_run_that_brought_no_token_to_the_fleet(later: Run) -> None:
    """Nor is a host paid for because a backup had the queen prove her token."""
    _, older = settled([later, rotation("run-1", lost=("hive2",))])
    assert (older.settled_by, older.debts) == ("", ("hive2",))


def test_upkeep_owes_nothing_and_serves_no_token() -> None:
    run = backup("run-1")
    assert {host.state for host in run.hosts.values()} == {State.PROVEN, State.UNCHANGED}
    assert (run.debts, owes(run), run.is_served) == ((), False, False)


def test_what_the_run_of_another_bastion_overtook_settles_nothing_by_its_own_name() -> None:
    """Whose token the hosts have now is the other bastion's to know."""
    _, older = settled([overtaken_run("run-2"), rotation("run-1", lost=("hive2",))])
    assert older.settled_by == "run bob-1 of bob@b2"


def test_a_revocation_is_paid_host_by_host() -> None:
    _, half = settled([rotation("run-2", lost=("hive2",)), revocation("run-1", lost=("hive1", "hive2"))])
    assert (half.debts, half.settled_by) == (("hive2",), "")
    _, older, whole = settled([rotation("run-3"), rotation("run-2"), revocation("run-1", lost=("hive1", "hive2"))])
    assert (whole.debts, whole.settled_by, older.settled_by) == ((), "run-2", "")


def test_every_later_run_pays_for_the_hosts_that_it_proved() -> None:
    """hive1 came back before hive2 did, and was away when that one came."""
    newest, middle = rotation("run-3", lost=("hive1",)), rotation("run-2", lost=("hive2",))
    *_, oldest = settled([newest, middle, revocation("run-1", lost=("hive1", "hive2"))])
    assert oldest.debts == ()


# -- whether anybody is to do anything


def test_a_run_that_came_through_owes_nothing() -> None:
    assert not owes(rotation("run-1"))
    assert not owes(looked("run-1"))
    assert not owes(went_back("run-1"))


def test_whoever_was_left_behind_on_either_way_is_owed_to() -> None:
    assert owes(rotation("run-1", lost=("hive2",)))
    behind = went_back("run-1", reached=("queen", "hive1"))
    assert behind.behind == ("hive2",)
    assert owes(behind)


def test_a_run_that_holds_its_old_tokens_is_to_be_gone_on_with() -> None:
    teller = Teller(fleet_of(2))
    teller.before()
    teller.turn()
    used = Use("hive1", "rbee-hive", "0ddba1", "/v1", "10.0.0.9", True, 2, 1.5)
    teller.tell(CensusTaken((used,), (), False, teller.now()))
    teller.tell(RunEnded(ExitCode.INCOMPLETE, teller.now()))
    run = fold(teller.events)
    assert run.is_held and not run.debts
    assert owes(run)


def test_a_run_that_was_cut_off_is_to_be_ended_once_it_left_a_trace() -> None:
    teller = Teller(fleet_of(2))
    teller.begin()
    teller.tell(TokenChosen(NEW, teller.now()))
    assert fold(teller.events).is_open
    assert not owes(fold(teller.events)), "no host was told anything"
    teller.phase(Phase.STAGE, HOSTS)
    assert owes(fold(teller.events))


# -- whose token the fleet has


def test_the_newest_run_that_the_fleet_went_on_with_tells_its_token() -> None:
    runs = [looked("run-4"), went_back("run-3"), rotation("run-2"), rotation("run-1")]
    found = served(runs)
    assert found is not None and found.id == "run-2"
    assert served(runs[:2]) is None
    assert served([overtaken_run("run-3"), rotation("run-2")]) is None, "another bastion knows it"


def test_under_a_newer_run_of_another_bastion_only_what_is_over_stays_as_it_was() -> None:
    done, owing = rotation("run-2"), rotation("run-1", lost=("hive2",))
    assert overtaken([done, owing], "") == [done, owing]
    over, settled_now = overtaken([done, owing], "run bob-1")
    assert over == done
    assert (settled_now.settled_by, settled_now.debts) == ("run bob-1", ())
    teller = Teller(fleet_of(2))
    teller.begin()
    teller.tell(TokenChosen(NEW, teller.now()))
    (cut_off,) = overtaken([fold(teller.events)], "run bob-1")
    assert not cut_off.is_open, "hosts would refuse it"
