"""The gap is one of clients: so long they could not use a host and the queen with one token, whatever the run was.

The bastion's clock moves 5 s whenever a host is told something, and only then; between two sittings the bastion is
started anew, so that its monotonic clock means nothing there.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import Event, Intent, Outcome, Phase, PhaseStarted, State
from hivekeys.journal.fold import fold
from hivekeys.journal.gap import Gap, Served, Turn, between
from hivekeys.journal.run import Run
from hivekeys.protocol.verbs import Verb
from hivekeys.report.words import gap_lines, gap_of
from hivekeys.token import Token
from tests.builders.operator import Operator, breaks
from tests.inprocess import InProcessFleet, OwnClock

OLD, NEW = (Token(letter * 64).fingerprint(b"k") for letter in "ab")
ONE_BY_ONE = Policy(canary=0, batch=Amount(1), max_failures=Amount(0))
STEP = 5.0
Hears = Callable[[Operator, Event], None]


class Killed(BaseException):
    """The bastion dies here."""


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=3, policy=ONE_BY_ONE)


def sitting(
    fleet: InProcessFleet, past: Run | None = None, after: float = 0.0, on_event: Hears | None = None
) -> Operator:
    """A bastion `after` so many seconds on the wall clock; `on_event` hears what it records once it is at work."""
    clock, begun = OwnClock(), list[Operator]()
    clock.ahead = after

    def hears(event: Event) -> None:
        if isinstance(event, Intent):
            clock.sleep(STEP)
        if on_event and begun:
            on_event(begun[0], event)

    begun.append(Operator(fleet, past=past, clock=clock, on_event=hears))
    return begun[0]


def stops_in(phase: Phase, times: int = 1) -> Hears:
    """Ctrl-C, as this phase begins for that time."""
    left = [times]

    def hear(operator: Operator, event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase is phase:
            left[0] -= 1
            if not left[0]:
                operator.runner.interrupt()

    return hear


def told(operator: Operator, host: str, phase: Phase) -> float:
    """When, by the journal, the host was told to restart in that phase; seconds since the epoch."""
    events = (event for event in operator.events if isinstance(event, Intent) and Verb.RESTART in event.verbs)
    return next(event.when.at for event in events if (event.host, event.phase) == (host, phase))


def heard(operator: Operator, host: str, phase: Phase) -> float:
    """When it had done that."""
    return next(event.when.at for event in operator.outcomes(host) if event.phase is phase)


def gaps(operator: Operator) -> dict[str, Gap | None]:
    run = operator.runner.run
    return {name: run.gap(host) for name, host in run.hosts.items()}


def test_a_gap_over_a_resume_is_counted_from_the_queens_restart_and_marked(fleet: InProcessFleet) -> None:
    first = sitting(fleet, on_event=stops_in(Phase.WAVE, 2))
    assert first.rotate() is ExitCode.INTERRUPTED
    second = sitting(fleet, fold(first.events), after=600.0)
    assert second.resume(lambda: first.token) is ExitCode.DONE
    found = gaps(second)
    wall = heard(second, "hive3", Phase.WAVE) - told(first, "queen", Phase.QUEEN)
    assert found["hive3"] is not None and found["hive3"].seconds == pytest.approx(wall, abs=2 * STEP)
    assert (found["hive3"].by_wall, found["hive3"].over) == (True, True)
    assert gap_of(found["hive3"]).startswith("~9 min ")
    assert found["hive1"] is not None and not found["hive1"].by_wall, "it turned before the cut"
    assert found["hive1"].seconds is not None and found["hive1"].seconds < 60
    assert "~: spans an interruption, measured by the wall clock" in gap_lines(second.runner.run)


def test_after_a_failed_run_hosts_that_stayed_have_a_gap_as_long_as_the_queen_had_the_new_token(
    fleet: InProcessFleet,
) -> None:
    fleet.at("hive1", "restart", breaks("start-fails"))

    def mends(_: Operator, event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.ROLLBACK:
            fleet.hosts["hive1"].fault = None

    operator = sitting(fleet, on_event=mends)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    found = gaps(operator)
    had_it = heard(operator, "queen", Phase.ROLLBACK) - told(operator, "queen", Phase.QUEEN)
    assert operator.states["hive3"] is State.UNCHANGED
    for name in ("hive2", "hive3"):
        gap = found[name]
        assert gap is not None and gap.seconds == pytest.approx(had_it, abs=2 * STEP)
        assert gap.over and gap_of(gap).endswith(" s")


def test_after_a_rollback_in_a_second_sitting_the_gap_lasted_until_the_queen_was_back(fleet: InProcessFleet) -> None:
    first = sitting(fleet, on_event=stops_in(Phase.WAVE))
    assert first.rotate() is ExitCode.INTERRUPTED
    second = sitting(fleet, fold(first.events), after=120.0)
    assert second.roll_back() is ExitCode.DONE
    gap = gaps(second)["hive3"]
    wall = heard(second, "queen", Phase.ROLLBACK) - told(first, "queen", Phase.QUEEN)
    assert gap is not None and gap.seconds == pytest.approx(wall, abs=2 * STEP)
    assert gap.by_wall and gap.over


def test_a_host_that_owes_is_in_a_gap_until_it_is_reconciled(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=3, policy=replace(ONE_BY_ONE, max_failures=Amount(1)))
    fleet.at("hive3", "restart", breaks("start-fails"))
    first = sitting(fleet)
    assert first.rotate() is ExitCode.INCOMPLETE
    owing = gaps(first)["hive3"]
    assert owing is not None and not owing.over and gap_of(owing).endswith(" s+")
    assert "+: still open when the run ended" in gap_lines(first.runner.run)
    fleet.hosts["hive3"].fault = None
    second = sitting(fleet, fold(first.events), after=3600.0)
    assert second.reconcile() is ExitCode.DONE
    paid = gaps(second)["hive3"]
    wall = heard(second, "hive3", Phase.WAVE) - told(first, "queen", Phase.QUEEN)
    assert paid is not None and paid.seconds == pytest.approx(wall, abs=2 * STEP)
    assert paid.by_wall and paid.over


def test_a_host_that_was_restarted_while_nobody_listened_has_a_gap_that_is_not_known(fleet: InProcessFleet) -> None:
    """Killed in the middle of a turn: the host's agent goes on by itself for a while."""

    def dies(_: Operator, event: Event) -> None:
        if isinstance(event, Outcome) and (event.host, event.phase) == ("hive2", Phase.WAVE):
            raise Killed

    first = sitting(fleet, on_event=dies)
    with pytest.raises(Killed):
        first.rotate()
    first.runner.close()
    journal = first.events[:-1]  # what raised was not written
    second = sitting(fleet, fold(journal), after=60.0)
    assert second.resume(lambda: first.token) is ExitCode.DONE
    found = gaps(second)
    assert found["hive2"] == Gap(None, over=False)
    assert gap_of(found["hive2"]) == "not known"
    assert found["hive3"] is not None and found["hive3"].by_wall
    assert found["hive1"] is not None and not found["hive1"].by_wall


def test_nothing_was_restarted_so_there_is_no_gap(fleet: InProcessFleet) -> None:
    operator = sitting(fleet)
    operator.look()
    operator.runner.end()
    assert set(gaps(operator).values()) == {None}
    assert gap_lines(operator.runner.run) == []


def test_a_host_that_nobody_saw_is_not_known_and_one_that_is_cut_out_has_none(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=3, policy=ONE_BY_ONE)
    fleet.hosts["hive3"].fault = "link-down"
    first = Operator(fleet)
    first.plan = replace(first.plan, may_be_missing=frozenset({"hive3"}))
    assert first.rotate() is ExitCode.INCOMPLETE
    assert gap_of(gaps(first)["hive3"]) == "not known"
    without = Operator(fleet, without=("hive3",), past=fold(first.events))
    without.reconcile()
    assert gap_of(gaps(without)["hive3"]) == "–"


def served(*turns: Turn) -> Served:
    return Served(turns, None, 0.0)


QUEEN = served(Turn(10.0, 1), Turn(12.0, 1, NEW))


@pytest.mark.parametrize(
    ("host", "was", "gap"),
    [
        (served(Turn(20.0, 1), Turn(21.0, 1, NEW)), OLD, Gap(11.0, spans=((10.0, 21.0),))),
        (served(), OLD, Gap(90.0, over=False, spans=((10.0, 100.0),))),
        (served(Turn(20.0, 2), Turn(50.0, 2, NEW)), OLD, Gap(40.0, by_wall=True, spans=((10.0, 50.0),))),
        (served(Turn(20.0, 1, known=False), Turn(21.0, 1, NEW)), OLD, Gap(None, over=False)),
        (served(), NEW, Gap(None, over=False)),  # it was before the run that they came apart
        (served(), None, Gap(None, over=False)),
        (
            served(Turn(20.0, 1), Turn(21.0, 1, NEW), Turn(40.0, 1), Turn(43.0, 1, NEW)),
            OLD,
            Gap(14.0, spans=((10.0, 21.0), (40.0, 43.0))),
        ),
    ],
    ids=["both turned", "it stayed", "two sittings", "unseen restart", "apart before", "never seen", "restarted twice"],
)
def test_the_gap_is_all_the_time_in_which_two_services_do_not_take_the_same_token(
    host: Served, was: object, gap: Gap
) -> None:
    token = next((token for token in (OLD, NEW) if token == was), None)
    assert between(host, QUEEN, (token, OLD), 100.0, 1) == gap


def test_a_gap_of_a_host_that_names_more_seconds_than_passed_lies_within_its_phase(fleet: InProcessFleet) -> None:
    def lies(_request: dict[str, object], answer: dict[str, object]) -> dict[str, object]:
        results = answer["results"]
        assert isinstance(results, list)
        return {**answer, "results": [{**result, "seconds": 4.0} for result in results]}

    fleet.hosts["hive1"].lies = lies
    operator = sitting(fleet)
    operator.rotate()
    gap = gaps(operator)["hive1"]
    assert gap is not None and gap.seconds is not None
    assert gap.seconds <= operator.runner.run.times.elapsed
    assert all(0 <= begin <= end for begin, end in gap.spans)
