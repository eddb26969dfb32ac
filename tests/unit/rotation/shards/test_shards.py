"""Whoever holds the lines, a run is the same: this process, one worker, or three. One contract for all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import Event, Intent, Outcome, Phase, PhaseStarted, Retried, RunStarted, State, Waiting
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.rotation.host import LOCK_PATIENCE
from hivekeys.token import generate
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessFleet, Session, SharedClock

DONE = ExitCode.DONE
POLICY = Policy(batch=Amount(2), revocation_recheck=0.0)
HOSTS = {"queen", "hive1", "hive2", "hive3", "hive4"}

Operates = Callable[..., Operator]


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=4, policy=POLICY)


@pytest.fixture(params=[0, 1, 3], ids=["this-process", "one-worker", "three-workers"])
def operates(request: pytest.FixtureRequest, fleet: InProcessFleet) -> Operates:
    """An operator of the fleet, whose lines are held so."""
    return lambda **settings: Operator(fleet, workers=request.param, **settings)


def test_a_rotation_proves_every_host_on_the_new_token(operates: Operates, fleet: InProcessFleet) -> None:
    ann = operates()
    assert ann.rotate() is DONE
    assert ann.states == dict.fromkeys(HOSTS, State.PROVEN)
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert slots_used(fleet) == []


def test_the_queen_turns_first_then_the_canary_and_no_wave_is_larger_than_allowed(
    operates: Operates, fleet: InProcessFleet
) -> None:
    operates().rotate()
    restarted = [entry.host for entry in fleet.log if entry.verb == "restart"]
    assert restarted[:2] == ["queen", "hive1"]
    assert max(map(len, fleet.out_together)) <= 2


def test_an_intent_is_in_the_journal_before_its_host_hears_of_it(operates: Operates, fleet: InProcessFleet) -> None:
    at_intent: dict[str, int] = {}

    def on_event(event: Event) -> None:
        if isinstance(event, Intent) and event.phase in (Phase.QUEEN, Phase.CANARY, Phase.WAVE):
            at_intent[event.host] = sum(entry.host == event.host and entry.verb == "swap" for entry in fleet.log)

    ann = operates(on_event=on_event)
    ann.rotate()
    assert at_intent == dict.fromkeys(HOSTS, 0)


def test_the_journal_alone_tells_the_same_run(operates: Operates) -> None:
    ann = operates()
    ann.rotate()
    assert fold(ann.events) == ann.run
    hosts = {event.host for event in ann.events if isinstance(event, Outcome)}
    assert hosts == HOSTS
    assert isinstance(ann.events[0], RunStarted)


def test_a_service_that_does_not_start_takes_all_hosts_back(operates: Operates, fleet: InProcessFleet) -> None:
    fleet.hosts["hive3"].fault = "start-fails"
    ann = operates()
    assert ann.rotate() is not DONE
    assert {name for name, word in serving(fleet, ann.token).items() if word == "new"} == set()
    assert ann.troubles["hive3"] is Trouble.START_FAILED


def test_a_revocation_goes_past_a_host_that_is_out_of_reach(operates: Operates, fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "link-down"
    ann = operates(task=REVOKE)
    assert ann.revoke() is ExitCode.INCOMPLETE
    assert ann.troubles == {"hive2": Trouble.NO_CONNECTION}
    proven = {name for name, state in ann.states.items() if state is State.PROVEN}
    assert proven == HOSTS - {"hive2"}


def test_a_run_that_was_stopped_is_taken_up_by_whoever_holds_the_lines_then(
    operates: Operates, fleet: InProcessFleet
) -> None:
    ann = operates(stops_in=Phase.CANARY)
    assert ann.rotate() is ExitCode.INTERRUPTED
    ben = operates(past=fold(ann.events), token=ann.token)
    assert ben.resume(lambda: ann.token) is DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_the_token_of_a_run_is_read_back_from_a_host_that_has_it(operates: Operates, fleet: InProcessFleet) -> None:
    ann = operates(stops_in=Phase.CANARY)
    ann.rotate()
    ben = operates(past=fold(ann.events), token=generate())
    assert ben.resume(generate) is DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_a_rotation_that_is_rolled_back_leaves_the_old_token_alone(operates: Operates, fleet: InProcessFleet) -> None:
    ann = operates(stops_in=Phase.WAVE)
    ann.rotate()
    ben = operates(past=fold(ann.events), token=ann.token)
    assert ben.roll_back() is DONE
    assert set(serving(fleet, ann.token).values()) == {"old"}


def test_nothing_begins_after_the_operator_has_stopped_the_run(operates: Operates) -> None:
    ann = operates(stops_in=Phase.STAGE)
    ann.rotate()
    assert Phase.QUEEN not in {event.phase for event in ann.events if isinstance(event, PhaseStarted)}


def test_a_run_that_waits_for_the_lock_of_another_one_can_be_stopped(operates: Operates, fleet: InProcessFleet) -> None:
    other = Session(fleet.hosts["queen"], run="run-0", epoch=1)
    ann: Operator

    def on_event(event: Event) -> None:
        if isinstance(event, Waiting):
            ann.runner.interrupt()

    ann = operates(task=REVOKE, clock=SharedClock(fleet), on_event=on_event)
    assert ann.revoke() is ExitCode.INTERRUPTED
    assert ann.clock.monotonic() < LOCK_PATIENCE
    other.line.close()


def test_hosts_that_failed_are_tried_again_in_the_same_revocation(operates: Operates, fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "start-fails"

    def on_event(event: Event) -> None:
        if isinstance(event, Retried):
            fleet.hosts["hive2"].fault = None

    ann = operates(task=REVOKE, on_event=on_event)
    assert ann.revoke(attempts=2) is DONE
    assert ann.states == dict.fromkeys(HOSTS, State.PROVEN)


def test_a_host_that_cannot_be_turned_is_fenced(operates: Operates, fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "disk-full"
    ann = operates(task=REVOKE, fence=True)
    assert ann.revoke() is ExitCode.INCOMPLETE
    assert ann.states["hive2"] is State.FENCED
    assert not fleet.hosts["hive2"].accepts(fleet.token)


def test_a_host_that_names_the_last_epoch_there_is_stops_no_other(operates: Operates, fleet: InProcessFleet) -> None:
    def lies(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        for result in answer["results"]:
            if result["verb"] == "hello" and result["ok"]:
                place = {"epoch": 10**9, "run": "x-1"}
                result["facts"].update(**place, changed=place)
        return answer

    fleet.hosts["hive3"].lies = lies
    ann = operates(task=REVOKE)
    ann.revoke()
    others = HOSTS - {"hive3"}
    assert {name: ann.states[name] for name in others} == dict.fromkeys(others, State.PROVEN)
    assert {word for name, word in serving(fleet, ann.token).items() if name in others} == {"new"}
