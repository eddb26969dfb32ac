"""An old token that is still used is not retired: what the services' own records say, just before it would go."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hivekeys import report
from hivekeys.audit.census import TICK
from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.journal.events import CensusTaken, Event, Phase, PhaseStarted, State
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE, Run
from hivekeys.token import generate
from tests.builders.operator import Operator, slots_used
from tests.inprocess import InProcessFleet, SimulatedHost


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    found = InProcessFleet(tmp_path, hives=2, policy=Policy(revocation_recheck=0.0))
    for host in found.hosts.values():
        host.is_audited = True
    return found


def used(fleet: InProcessFleet, after: float = 1.0, **how: Any) -> Callable[[SimulatedHost], None]:
    """For `fleet.at`: somebody calls with the old token."""
    return lambda host: host.writes(fleet.token, after=after, **how)


def rotated(fleet: InProcessFleet, **how: Any) -> tuple[ExitCode, Run, Operator]:
    operator = Operator(fleet, census=True, **how)
    code = operator.rotate()
    return code, operator.runner.run, operator


def phases(operator: Operator) -> list[Phase]:
    return [event.phase for event in operator.events if isinstance(event, PhaseStarted)]


def census_of(operator: Operator) -> CensusTaken:
    (found,) = (event for event in operator.events if isinstance(event, CensusTaken))
    return found


def test_services_of_one_machine_have_one_trail_and_the_last_of_them_says_what_is_late(tmp_path: Path) -> None:
    """The hive beside the queen lets its clients in until it is turned itself: she was turned before."""
    fleet = InProcessFleet(tmp_path, hives=2, policy=Policy(revocation_recheck=0.0), beside={"hive1": "queen"})
    for host in fleet.hosts.values():
        host.is_audited = True

    def call(hive: SimulatedHost) -> None:
        turned = fleet.hosts["queen"].active.stat().st_ctime
        while time.time() < turned + 2 * TICK:
            pass  # a moment that lies between the two for certain
        used(fleet, after=0.0)(hive)

    fleet.at("hive1", "swap", call)
    assert rotated(fleet)[0] is ExitCode.DONE


def test_an_old_token_that_was_let_in_after_it_was_replaced_is_kept(fleet: InProcessFleet) -> None:
    fleet.at("hive2", "audit", used(fleet))
    code, run, operator = rotated(fleet)
    assert code is ExitCode.INCOMPLETE
    assert set(operator.states.values()) == {State.PROVEN}
    assert Phase.RETIRE not in phases(operator)
    assert slots_used(fleet) == ["queen", "hive1", "hive2"]
    (use,) = census_of(operator).uses
    assert (use.host, use.path, use.address, use.ok, use.count) == ("hive2", "/v1/work", "10.0.0.9", True, 1)
    said = "\n".join(report.census_lines(run))
    assert f"hive2: 10.0.0.9 called /v1/work of rbee-hive.service with token:{use.token}, was accepted 1 times" in said
    assert report.next_step(run, fleet.inventory).count("fab reconcile") == 1
    assert "--retire-anyway" in report.next_step(run, fleet.inventory)
    assert fold(operator.events).is_held


def test_the_operator_may_retire_it_anyway_and_the_journal_says_so(fleet: InProcessFleet) -> None:
    fleet.at("hive2", "audit", used(fleet))
    code, run, operator = rotated(fleet, retire_anyway=True)
    assert (code, slots_used(fleet)) == (ExitCode.DONE, [])
    assert (census_of(operator).anyway, len(census_of(operator).uses)) == (True, 1)
    assert report.census_lines(run)[-1] == "the old tokens were retired anyway (--retire-anyway)"


def test_a_reconcile_retires_it_when_it_was_not_used_for_an_hour(fleet: InProcessFleet) -> None:
    fleet.at("hive2", "audit", used(fleet))
    _, run, _ = rotated(fleet)
    at_once = Operator(fleet, census=True, past=run)
    assert at_once.reconcile() is ExitCode.INCOMPLETE
    assert at_once.runner.run.is_held
    for host in fleet.hosts.values():
        host.ahead = 3700.0
    later = Operator(fleet, census=True, past=at_once.runner.run)
    assert later.reconcile() is ExitCode.DONE
    assert slots_used(fleet) == []


def test_a_run_that_is_held_can_be_taken_back(fleet: InProcessFleet) -> None:
    fleet.at("hive2", "audit", used(fleet))
    _, run, _ = rotated(fleet)
    assert Operator(fleet, census=True, past=run).roll_back() is ExitCode.DONE
    assert all(host.accepts(fleet.token) for host in fleet.hosts.values())


def test_calls_that_were_refused_are_told_and_hold_nothing_back(fleet: InProcessFleet) -> None:
    fleet.at("hive1", "audit", used(fleet, ok=False, after=60.0))
    code, run, _ = rotated(fleet)
    assert (code, slots_used(fleet)) == (ExitCode.DONE, [])
    assert "was refused 1 times" in "\n".join(report.census_lines(run))


def test_calls_from_before_the_replacement_hold_nothing_back(fleet: InProcessFleet) -> None:
    fleet.hosts["hive1"].writes(fleet.token, after=-60.0)
    code, run, _ = rotated(fleet)
    assert (code, report.census_lines(run)[:1]) == (
        ExitCode.DONE,
        ["no audit records could be read on queen, hive2: there are no records in /var/log/llama-orch/audit"],
    )


def test_what_the_process_before_let_in_at_its_very_end_holds_nothing_back(fleet: InProcessFleet) -> None:
    """A kernel tells a process's start in ticks, rounded down: such a call seems to be later than the start."""

    def lets_in(host: SimulatedHost) -> None:
        host.writes(fleet.token, since=host.active.stat().st_ctime, after=0.8 * TICK)

    fleet.at("hive1", "audit", lets_in)
    code, _, operator = rotated(fleet)
    assert (code, slots_used(fleet), census_of(operator).uses) == (ExitCode.DONE, [], ())


def test_where_nothing_is_recorded_nothing_is_held_back_and_that_is_said(fleet: InProcessFleet) -> None:
    for host in fleet.hosts.values():
        host.is_audited = False
    code, run, _ = rotated(fleet)
    assert (code, slots_used(fleet)) == (ExitCode.DONE, [])
    assert report.census_lines(run) == [
        "no audit records could be read on queen, hive1, hive2: no audit trail is written"
    ]


def test_a_host_that_is_lost_at_the_census_holds_nothing_back(fleet: InProcessFleet) -> None:
    fleet.cut("hive1", "audit")
    code, run, operator = rotated(fleet)
    assert (code, slots_used(fleet)) == (ExitCode.DONE, [])
    assert [name for name, _ in census_of(operator).unread if name == "hive1"] == ["hive1"]
    assert "line-broken" in "\n".join(report.census_lines(run))


def test_a_bastion_that_dies_at_the_census_goes_on_to_the_same_end(fleet: InProcessFleet) -> None:
    fleet.at("hive2", "audit", used(fleet))

    def die(event: Event) -> None:
        if isinstance(event, CensusTaken):
            raise RuntimeError("killed")

    killed = Operator(fleet, census=True, on_event=die)
    with pytest.raises(RuntimeError, match="killed"):
        killed.rotate()
    fleet.bastion_dies()
    resumed = Operator(fleet, census=True, past=fold(killed.events))
    assert resumed.resume(generate) is ExitCode.INCOMPLETE
    assert resumed.runner.run.is_held
    assert slots_used(fleet) == ["queen", "hive1", "hive2"]


def test_a_revocation_tells_who_used_the_token_and_is_held_up_by_nobody(fleet: InProcessFleet) -> None:
    fleet.at("hive2", "audit", used(fleet))
    operator = Operator(fleet, task=REVOKE, census=True)
    assert operator.revoke() is ExitCode.DONE
    assert slots_used(fleet) == []
    assert [(use.host, use.ok) for use in census_of(operator).uses] == [("hive2", True)]
    assert operator.runner.run.is_held is False


def test_a_rotation_asks_each_host_once(fleet: InProcessFleet) -> None:
    rotated(fleet)
    assert [fleet.verbs(host).count("audit") for host in fleet.hosts] == [1, 1, 1]
