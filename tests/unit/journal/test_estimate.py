"""How long a run will take: as long as the last ones did, without what an operator thought."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.journal.estimate import RunTimes, at_least, likely, run_times
from hivekeys.journal.events import Event, OperatorAnswered, OperatorAsked, Phase, PhaseStarted, Resumed, RunEnded
from hivekeys.journal.run import REVOKE, ROTATE
from tests.builders.running import at, begun, names, passed, waves_of


def told(code: ExitCode = ExitCode.DONE, task: str = ROTATE) -> Iterator[Event]:
    """It claims at 1 s; three waves take 4, 5 and 6 s; it ends at 24 s."""
    yield from begun(2, 1, task)
    yield from passed(Phase.QUEEN, ("queen",), 3, 4)
    yield from passed(Phase.CANARY, ("hive1",), 10, 5)
    yield from passed(Phase.WAVE, ("hive2",), 15, 6, title="wave 1 of 1")
    yield from passed(Phase.SETTLE, names(2), 21, 1)
    yield from passed(Phase.RETIRE, names(2), 22, 1)
    yield RunEnded(code, at(24))


def amid(place: int, *more: Event) -> Sequence[Event]:
    events = list(told())
    return [*events[:place], *more, *events[place:]]


def phase_at(phase: Phase) -> int:
    return next(place for place, event in enumerate(told()) if isinstance(event, PhaseStarted) and event.phase is phase)


def test_what_waves_took_is_told_apart_from_the_rest_after_the_look() -> None:
    assert run_times(list(told()), ROTATE) == RunTimes(waves=3, turning=15, rest=23 - 15)
    assert run_times(list(told(task=REVOKE)), REVOKE) == RunTimes(3, 15, 8)


def test_more_or_fewer_waves_take_more_or_less_and_the_rest_stays() -> None:
    assert [RunTimes(3, 15, 8).of(waves) for waves in (0, 1, 3, 5)] == [8, 13, 23, 33]


def test_what_an_operator_thought_after_the_look_is_no_part_of_it() -> None:
    at_wave = amid(phase_at(Phase.CANARY), OperatorAsked(at(7)), OperatorAnswered(True, at(9.5)))
    assert run_times(at_wave, ROTATE) == RunTimes(3, 15, 5.5)
    before = amid(phase_at(Phase.CLAIM), OperatorAsked(at(1)), OperatorAnswered(True, at(1)))
    assert run_times(before, ROTATE) == RunTimes(3, 15, 8)


@pytest.mark.parametrize(
    "events",
    [
        list(told(ExitCode.INCOMPLETE)),
        list(told())[:-1],
        list(told(task=REVOKE)),
        list(begun(2, 1)),
        [*begun(2, 1), RunEnded(ExitCode.DONE, at(9))],
        [],
        amid(phase_at(Phase.SETTLE), Resumed("bob@b2", names(2), waves_of(2, 1), (), at(21))),
    ],
    ids=["left hosts behind", "not over", "another kind", "cut off", "no wave", "no event", "two sittings"],
)
def test_a_run_that_did_not_come_through_in_one_sitting_tells_no_time(events: Sequence[Event]) -> None:
    assert run_times(events, ROTATE) is None


def test_a_wave_that_was_turned_and_then_watched_is_one_wave() -> None:
    """Turned from 15 s to 17 s, watched from 17 s to 21 s."""
    before, after = list(told())[:-18], list(told())[-15:]
    turned = list(passed(Phase.WAVE, ("hive2",), 15, 2, title="wave 1 of 1"))
    watched = list(passed(Phase.WAVE, ("hive2",), 17, 4, title="wave 1 of 1"))
    assert run_times([*before, *turned, *watched, *after], ROTATE) == run_times(list(told()), ROTATE)


def test_the_middle_one_of_the_last_runs_tells() -> None:
    assert likely([RunTimes(1, 10, 0), RunTimes(1, 50, 0), RunTimes(2, 24, 1)], waves=2) == 25


def test_without_one_it_is_what_is_waited_for_in_any_case() -> None:
    policy = Policy(stable_seconds=3, revocation_recheck=10)
    assert at_least(policy, waves=4) == 12
    assert at_least(policy, waves=4, revokes=True) == 10
    assert at_least(replace(policy, stable_seconds=20), waves=4, revokes=True) == 20
