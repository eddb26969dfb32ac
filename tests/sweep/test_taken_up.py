"""Runs that are taken up again where hosts are not what they were: what no sweep of kills alone comes to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount
from hivekeys.journal.events import Event, PhaseStarted, State
from hivekeys.protocol.causes import Trouble
from hivekeys.service import Accepts, Apply
from hivekeys.token import generate
from tests.builders.operator import breaks
from tests.inprocess import SimulatedHost
from tests.sweep.bastion import Bastion, Point, watch
from tests.sweep.promises import POLICY, WatchedFleet, breaches, not_alone


@pytest.fixture
def ann(tmp_path: Path) -> Bastion:
    bastion = Bastion(WatchedFleet(tmp_path))
    watch(bastion)
    return bastion


def cut_off(bastion: Bastion, command: Callable[[], ExitCode | None], when: str, what: str, nth: int = 1) -> None:
    """The command, killed there."""
    bastion.fatal = Point(when, what, nth)
    assert command() is None
    bastion.fatal = None


@pytest.mark.parametrize("lost", [("hive1",), ("queen",), ("queen", "hive1", "hive2")], ids=" ".join)
def test_hosts_that_were_lost_at_settle_are_finished_by_what_the_last_line_says(
    ann: Bastion, lost: tuple[str, ...]
) -> None:
    fleet = ann.fleet
    for name in lost:
        fleet.at(name, "prove", breaks("link-down"), nth=3)
    assert ann.rotate() is ExitCode.INCOMPLETE
    (new,) = fleet.made["run-1"]
    assert {host.active_token() for host in fleet.hosts.values()} == {new}
    assert ann.does_as_the_last_line_says() is ExitCode.INCOMPLETE, "they are still away"
    for name in lost:
        fleet.hosts[name].fault = None
    assert ann.does_as_the_last_line_says() is ExitCode.DONE
    assert not breaches(fleet, ann.past(), ann.events())
    assert not not_alone(fleet, new)
    assert not report.next_step(ann.past(), ann.fleet.inventory)


def test_a_fleet_that_lost_a_host_at_settle_may_be_taken_back_all_the_same(ann: Bastion) -> None:
    ann.fleet.at("hive1", "prove", breaks("link-down"), nth=3)
    assert ann.rotate() is ExitCode.INCOMPLETE
    assert ann.roll_back() is ExitCode.INCOMPLETE
    ann.fleet.hosts["hive1"].fault = None
    assert ann.does_as_the_last_line_says() is ExitCode.DONE
    assert ann.past().is_back
    assert not not_alone(ann.fleet, ann.fleet.token.reveal())
    assert not report.next_step(ann.past(), ann.fleet.inventory)


@pytest.mark.parametrize("cut", ["hive1: stage", "hive1: swap", "hive2: restart"])
def test_a_resume_that_reaches_nobody_decides_nothing(ann: Bastion, cut: str) -> None:
    """The bastion's own network is down: that is no reason to turn a fleet back."""
    fleet = ann.fleet
    cut_off(ann, ann.rotate, "after", cut)
    for host in fleet.hosts.values():
        host.fault = "link-down"
    assert ann.resume() is ExitCode.INCOMPLETE
    for host in fleet.hosts.values():
        host.fault = None
    assert ann.does_as_the_last_line_says() is ExitCode.DONE
    assert not breaches(fleet, ann.past(), ann.events())
    assert not not_alone(fleet, *fleet.made["run-1"])


def test_a_resume_that_misses_a_host_after_all_had_turned_turns_nobody_back(ann: Bastion) -> None:
    fleet = ann.fleet
    cut_off(ann, ann.rotate, "before", "journal: PhaseStarted retire")
    fleet.hosts["hive2"].fault = "link-down"
    assert ann.resume() is ExitCode.INCOMPLETE
    (new,) = fleet.made["run-1"]
    assert {host.active_token() for host in fleet.hosts.values()} == {new}
    fleet.hosts["hive2"].fault = None
    assert ann.does_as_the_last_line_says() is ExitCode.DONE
    assert not not_alone(fleet, new)


def test_a_reconcile_that_was_cut_off_never_takes_hosts_back(ann: Bastion) -> None:
    """The host that owes cannot start with the new token: that is its own matter, whoever goes on."""
    fleet = ann.fleet
    fleet.hosts["hive2"].fault = "link-down"
    assert ann.rotate(may_be_missing=["hive2"]) is ExitCode.INCOMPLETE
    fleet.hosts["hive2"].fault = None
    fleet.refuses_new.add("hive2")
    cut_off(ann, ann.reconcile, "before", "hive2: swap")
    assert ann.resume() is ExitCode.INCOMPLETE
    (new,) = fleet.made["run-1"]
    assert [host.active_token() for host in fleet.hosts.values()] == [new, new, new]
    assert not breaches(fleet, ann.past(), ann.events())
    fleet.refuses_new.clear()
    fleet.hosts["hive2"].fault = None
    assert ann.reconcile() is ExitCode.DONE
    assert not not_alone(fleet, new)


@pytest.mark.parametrize("reimaged", ["queen", "hive1", "hive2"])
@pytest.mark.parametrize("cut", ["queen: stage", "hive2: stage", "queen: restart", "hive1: swap", "hive2: restart"])
def test_a_host_that_was_reimaged_while_the_run_was_cut_off_is_named_and_the_fleet_agrees_in_the_end(
    ann: Bastion, cut: str, reimaged: str
) -> None:
    """It may have been the only one with the run's token, or with the way back to its own."""
    fleet = ann.fleet
    cut_off(ann, ann.rotate, "after", cut)
    host = fleet.hosts[reimaged]
    host.reimage()
    code = ann.resume()
    assert code is not ExitCode.DONE or not not_alone(fleet, *fleet.made["run-1"])
    assert not breaches(fleet, ann.past(), ann.events())
    others = {other.active_token() for other in fleet.hosts.values() if other is not host}
    assert len(others) == 1, "the hosts that kept their tokens agree"
    if host.active_token() is None:
        assert ann.past().hosts[reimaged].cause, "and the one that did not is named"
        host.write(fleet.token)
        host.start()
    if ann.past().is_open or not ann.past().is_back:
        ann.does_as_the_last_line_says()
    assert ann.past().code is ExitCode.DONE or ann.rotate("run-2") is ExitCode.DONE
    assert not not_alone(fleet, *fleet.made[ann.last])
    assert not fleet.broken


@pytest.mark.parametrize("when", ["stage", "queen", "canary", "settle"])
@pytest.mark.parametrize("slot", ["", ".new", ".backup"])
def test_what_somebody_else_wrote_since_the_last_look_is_met_and_never_called_proven(
    ann: Bastion, when: str, slot: str
) -> None:
    """A look is as old as the phase before: a token of somebody's own, put on a host by hand, in any slot."""
    fleet, theirs = ann.fleet, generate()
    host = fleet.hosts["hive2"]

    def somebody_writes(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase.value == when:
            host.write(theirs, slot)
            fleet.ever.add(theirs.reveal())

    ann.on_event = somebody_writes
    code = ann.rotate()
    ann.on_event = None
    assert not breaches(fleet, ann.past(), ann.events())
    assert code is not ExitCode.DONE or not not_alone(fleet, *fleet.made["run-1"])
    if (slot, when) == ("", "settle"):
        assert ann.past().hosts["hive2"].cause, "after its turn nothing is written over what somebody put there"


def test_no_second_token_is_made_while_the_host_that_may_have_the_first_is_away(tmp_path: Path) -> None:
    """Within the budget, so nothing else stops the run: it goes back, it does not choose again."""
    fleet = WatchedFleet(tmp_path, policy=replace(POLICY, max_failures=Amount(1)))
    ann = Bastion(fleet)
    watch(ann)
    cut_off(ann, ann.rotate, "before", "journal: PhaseStarted queen")
    for name in ("queen", "hive1"):
        fleet.hosts[name].active.with_name("api-token.new").unlink()
    fleet.hosts["hive2"].fault = "link-down"
    assert ann.resume() is ExitCode.INCOMPLETE
    assert len(fleet.made["run-1"]) == 1
    fleet.hosts["hive2"].fault = None
    assert ann.does_as_the_last_line_says() is ExitCode.DONE
    assert not not_alone(fleet, fleet.token.reveal())


def test_a_reconcile_brings_every_host_that_it_can_though_the_first_fails(ann: Bastion) -> None:
    """No budget stops it: each host that comes to the fleet's token is one that works again."""
    fleet = ann.fleet
    away = ("hive1", "hive2")
    for name in away:
        fleet.hosts[name].fault = "link-down"
    assert ann.rotate(may_be_missing=away) is ExitCode.INCOMPLETE
    for name in away:
        fleet.hosts[name].fault = None
    fleet.refuses_new.add("hive1")
    assert ann.reconcile() is ExitCode.INCOMPLETE
    assert fleet.hosts["hive2"].active_token() in fleet.made["run-1"]
    assert ann.past().hosts["hive2"].state is State.PROVEN
    assert ann.past().debts == ("hive1",)


def test_no_second_token_is_made_where_the_only_holder_of_the_first_was_reimaged(ann: Bastion) -> None:
    fleet = ann.fleet
    cut_off(ann, ann.rotate, "after", "hive1: stage")
    for name in ("queen", "hive1", "hive2"):
        staged = fleet.hosts[name].active.with_name("api-token.new")
        staged.unlink(missing_ok=True)
    fleet.hosts["hive1"].reimage()
    assert ann.resume() is ExitCode.ROLLED_BACK
    assert len(fleet.made["run-1"]) == 1
    assert not not_alone(fleet, fleet.token.reveal())


def test_a_way_back_that_has_lost_the_old_token_is_a_failed_host_and_no_crash(ann: Bastion) -> None:
    """Somebody takes the previous slot away, and the agent that remembered it is gone."""
    fleet = ann.fleet

    def loses_it(host: SimulatedHost) -> None:
        host.active.with_name("api-token.backup").unlink()

    cut_off(ann, ann.rotate, "after", "hive2: restart")
    for host in fleet.hosts.values():
        loses_it(host)
    assert ann.roll_back() is ExitCode.INCOMPLETE
    assert {part.state for part in ann.past().hosts.values()} == {State.FAILED}
    assert {part.cause and part.cause.trouble for part in ann.past().hosts.values()} == {Trouble.SLOT_CHANGED}


def test_a_way_back_that_ended_without_a_host_is_gone_again_when_it_is_there(ann: Bastion) -> None:
    """The link of a hive that was turned already is down while the others go back: it is unknown until it is back."""
    fleet = ann.fleet
    cut_off(ann, ann.rotate, "after", "hive1: restart")
    fleet.hosts["hive1"].fault = "link-down"
    assert ann.roll_back() is ExitCode.INCOMPLETE
    assert ann.past().hosts["hive1"].state is State.UNKNOWN
    assert not ann.past().is_back
    fleet.hosts["hive1"].fault = None
    assert ann.does_as_the_last_line_says() is ExitCode.DONE
    assert ann.past().is_back
    assert not breaches(fleet, ann.past(), ann.events())
    assert not not_alone(fleet, fleet.token.reveal())


@pytest.mark.parametrize("cut", ["hive1: stage", "hive1: restart", "hive2: restart"])
def test_a_service_that_takes_the_old_token_as_well_is_found_by_a_resume_too(ann: Bastion, cut: str) -> None:
    """The old token is asked with though the bastion's memory of it is gone: hosts still have it."""
    cut_off(ann, ann.rotate, "after", cut)
    ann.fleet.hosts["hive2"].also_accepts.add(ann.fleet.token.reveal())
    assert ann.resume() is ExitCode.ROLLED_BACK
    assert {part.cause and part.cause.trouble for part in ann.past().hosts.values()} == {None, Trouble.OLD_ACCEPTED}


def test_a_run_that_was_going_back_goes_on_back_though_the_cause_is_gone(ann: Bastion) -> None:
    ann.fleet.refuses_new.add("hive2")
    cut_off(ann, ann.rotate, "after", "journal: Stopped wave")
    ann.fleet.refuses_new.clear()
    ann.fleet.hosts["hive2"].fault = None
    assert ann.resume() is ExitCode.ROLLED_BACK
    assert not not_alone(ann.fleet, ann.fleet.token.reveal())


def test_a_way_back_that_was_cut_off_behind_the_restart_is_proven_when_it_is_taken_up(ann: Bastion) -> None:
    """The service was restarted with the old token, and nobody has asked it yet: now it lets anybody in."""
    fleet = ann.fleet
    cut_off(ann, ann.rotate, "after", "hive1: restart")
    cut_off(ann, ann.roll_back, "after", "hive1: restart")
    fleet.hosts["hive1"].fault = "accepts-any-token"
    assert ann.roll_back() is ExitCode.INCOMPLETE
    assert ann.past().hosts["hive1"].state is State.FAILED


# -- a host is left behind, and a later run goes back


def leaves_hive2_behind(bastion: Bastion, *, revokes: bool = False) -> str:
    """Run 1 is served by all but hive2, which was away; its token."""
    bastion.fleet.hosts["hive2"].fault = "link-down"
    code = bastion.revoke("run-1") if revokes else bastion.rotate("run-1", may_be_missing=["hive2"])
    assert code is ExitCode.INCOMPLETE
    bastion.fleet.hosts["hive2"].fault = None
    (token,) = bastion.fleet.made["run-1"]
    return token


def mends(host: SimulatedHost) -> None:
    host.fault = None


either = pytest.mark.parametrize("revokes", [False, True], ids=["by a rotation", "by a revocation"])


@either
@pytest.mark.parametrize("is_back", [True, False], ids=["hive2 is back by then", "hive2 is away still"])
def test_a_debt_is_paid_though_a_later_run_was_begun_and_went_back(ann: Bastion, revokes: bool, is_back: bool) -> None:
    fleet = ann.fleet
    token = leaves_hive2_behind(ann, revokes=revokes)
    fleet.hosts["hive2"].fault = None if is_back else "link-down"
    fleet.at("hive1", "restart", breaks("start-fails"))
    fleet.at("hive1", "revert", mends)
    missing = () if is_back else ("hive2",)
    assert ann.rotate("run-2", may_be_missing=missing) is ExitCode.ROLLED_BACK
    fleet.hosts["hive2"].fault = None
    assert ann.reconcile("run-1") is ExitCode.DONE
    assert not breaches(fleet, ann.past(), ann.events())
    assert not not_alone(fleet, token)


def test_a_rotation_takes_a_host_in_debt_along_and_nothing_is_owed_any_more(ann: Bastion) -> None:
    leaves_hive2_behind(ann)
    assert ann.rotate("run-2") is ExitCode.DONE
    (newest,) = ann.fleet.made["run-2"]
    assert not not_alone(ann.fleet, newest)


@either
def test_a_reconcile_does_not_go_past_another_bastions_run(ann: Bastion, revokes: bool) -> None:
    fleet = ann.fleet
    leaves_hive2_behind(ann, revokes=revokes)
    bob = Bastion(fleet, who="bob@two")
    watch(ann, bob)
    assert bob.rotate("run-2") is ExitCode.DONE
    (newest,) = fleet.made["run-2"]
    assert ann.reconcile("run-1") is ExitCode.LOCKED
    assert not not_alone(fleet, newest)


def test_a_reconcile_does_not_go_past_a_run_that_has_not_come_back_whole(ann: Bastion) -> None:
    fleet = ann.fleet
    leaves_hive2_behind(ann)
    fleet.at("hive1", "restart", breaks("start-fails"))
    assert ann.rotate("run-2") is ExitCode.INCOMPLETE
    fleet.hosts["hive1"].fault = None
    before = {name: host.slots() for name, host in fleet.hosts.items()}
    assert ann.reconcile("run-1") is ExitCode.LOCKED
    assert {name: host.slots() for name, host in fleet.hosts.items()} == before
    assert ann.roll_back("run-2") is ExitCode.DONE
    assert ann.reconcile("run-1") is ExitCode.DONE


@pytest.mark.parametrize("knows", [True, False], ids=["the bastion that revoked", "another bastion"])
def test_a_host_that_cannot_go_back_to_a_token_that_leaked_is_brought_forward_by_what_the_last_line_says(
    ann: Bastion, knows: bool
) -> None:
    """Hive2 still had it, and does not start with the next one: that rotation goes back without it."""
    fleet = ann.fleet
    fleet.hosts["hive2"].fault = "keeps-old-token"
    assert ann.revoke("run-1") is ExitCode.INCOMPLETE
    fleet.hosts["hive2"].fault = None
    fleet.hosts["hive2"].write(fleet.token)  # by hand: hivekeys would not
    fleet.hosts["hive2"].start()
    last = ann if knows else Bastion(fleet, who="bob@two")
    watch(*{ann, last})
    fleet.at("hive2", "restart", breaks("start-fails"))
    assert last.rotate("run-2") is ExitCode.INCOMPLETE
    assert last.past().barred == last.past().behind == ("hive2",)
    fleet.hosts["hive2"].fault = None
    fleet.hosts["hive2"].start()
    assert last.does_as_the_last_line_says() is ExitCode.DONE
    assert not breaches(fleet, last.past(), last.events())
    assert not not_alone(fleet, *fleet.made["run-1" if knows else "run-2-again"])
    assert not report.next_step(last.past(), fleet.inventory)


# -- a host that is not trusted any more


LOST_AT = ["queen: stage", "hive2: stage", "queen: swap", "queen: restart", "hive2: swap", "hive1: restart"]


@pytest.mark.parametrize("lost", ["queen", "hive2"])
@pytest.mark.parametrize("cut", LOST_AT)
def test_a_revocation_that_was_killed_is_finished_without_a_host_that_was_cut_out(
    ann: Bastion, cut: str, lost: str
) -> None:
    """Whatever that host has been told by then: it is told nothing more, by the run and by the one after it."""
    fleet = ann.fleet
    cut_off(ann, ann.revoke, "after", cut)
    fleet.dialled.clear()
    ann.cut_out.add(lost)
    assert ann.resume() is ExitCode.INCOMPLETE
    others = [name for name in fleet.hosts if name != lost]
    assert agree(fleet, others)
    assert ann.past().hosts[lost].state is State.EXCLUDED
    assert ann.rotate("run-2") is ExitCode.INCOMPLETE
    assert agree(fleet, others)
    assert lost not in fleet.dialled
    ann.cut_out.clear()  # it was rebuilt, and readmitted
    fleet.hosts[lost].reimage()
    assert ann.reconcile() is ExitCode.DONE
    assert agree(fleet, list(fleet.hosts))


@pytest.mark.parametrize("cut", LOST_AT)
@pytest.mark.parametrize("command", ["resume", "roll_back"])
def test_a_rotation_that_was_killed_goes_on_or_back_though_a_host_is_gone_from_the_inventory(
    ann: Bastion, cut: str, command: str
) -> None:
    fleet = ann.fleet
    cut_off(ann, ann.rotate, "after", cut)
    fleet.dialled.clear()
    fleet.inventory = replace(fleet.inventory, hosts=fleet.inventory.hosts[:-1])
    assert getattr(ann, command)() is ExitCode.DONE
    run = ann.past()
    assert (run.gone, run.hosts["hive2"].state, "hive2" in fleet.dialled) == (("hive2",), State.EXCLUDED, False)
    assert agree(fleet, ["queen", "hive1"])
    assert "gone from the inventory" in "".join(report.failure_lines(run, fleet.inventory))


def agree(fleet: WatchedFleet, names: list[str]) -> bool:
    """True when all of them serve one token, proven, with nothing of another one left over."""
    tokens = {fleet.hosts[name].active_token() or "" for name in names}
    return len(tokens) == 1 and not not_alone(fleet, tokens.pop(), names)


@pytest.mark.parametrize("second", ["queen", "hive1"])
@pytest.mark.parametrize("verb", ["revoke", "stage"])
def test_a_list_keeps_no_token_of_two_runs_that_were_cut_off_and_the_other_bastion_turns_the_fleet(
    tmp_path: Path, verb: str, second: str
) -> None:
    """The first run's token was accepted and staged; the second's took its slot. Found by random sequences."""
    fleet = WatchedFleet(tmp_path, service={"accepts": Accepts.LINES, "apply": Apply.RELOAD})
    fleet.keeps_clients = False
    for host in fleet.hosts.values():
        host.outlives_sigterm = True
    ann, bob = Bastion(fleet, who="ann@one"), Bastion(fleet, who="bob@two")
    watch(ann, bob)
    cut_off(ann, ann.rotate, "after", "hive2: accept")
    cut_off(ann, lambda: ann.revoke("run-2"), "after", f"{second}: {verb}")
    fleet.advance(1000)
    assert bob.rotate("run-3") is ExitCode.DONE, bob.past()
    assert not not_alone(fleet, *fleet.made["run-3"])
