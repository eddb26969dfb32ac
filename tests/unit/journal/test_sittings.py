"""The time of a run: at work, interrupted, or waiting for an operator's answer."""

import pytest

from hivekeys.journal.clock import Moment
from hivekeys.journal.events import OperatorAnswered, OperatorAsked
from hivekeys.journal.sittings import BEGUN, Times

BEGAN = 1_790_000_000.0  # by the wall clock


def at(clock: float) -> Moment:
    """In the first sitting, which began at 100 on the bastion's monotonic clock."""
    return Moment(BEGAN + clock - 100, clock)


FIRST = Times(100.0).after(at(130))


def asked(times: Times, since: float, until: float) -> Times:
    """An operator was asked, and answered."""
    times = times.at_question(OperatorAsked(at(since))).after(at(since))
    return times.at_question(OperatorAnswered(True, at(until))).after(at(until))


def test_in_one_sitting_time_is_the_monotonic_clocks() -> None:
    assert (FIRST.elapsed, FIRST.seconds) == (30, 30)
    assert (BEGUN.elapsed, BEGUN.seconds, BEGUN.place(0.0), BEGUN.worked(0.0)) == (0, 0, 0, 0)


def test_what_was_before_the_sitting_is_at_its_begin() -> None:
    """A host's own seconds, counted back from its answer, may reach that far."""
    assert FIRST.place(99.0) == 0
    assert FIRST.worked(99.0) == 0


def test_while_an_operator_thinks_the_run_gets_longer_and_does_no_work() -> None:
    times = asked(FIRST, 130, 150)
    assert (times.elapsed, times.seconds) == (50, 30)
    assert times.after(at(160)).seconds == 40


def test_while_the_question_stands_no_work_is_counted() -> None:
    times = FIRST.at_question(OperatorAsked(at(130)))
    assert [times.worked(clock) for clock in (120, 130, 500)] == [20, 30, 30]


def test_all_questions_of_a_sitting_count() -> None:
    times = asked(asked(FIRST, 130, 150), 155, 160)
    assert times.thought == 25
    assert times.after(at(170)).seconds == 45


def test_an_answer_to_no_question_costs_no_time() -> None:
    """It was asked in a sitting that was cut off."""
    times = FIRST.at_question(OperatorAnswered(True, at(140)))
    assert times.thought == 0
    assert times.after(at(140)).seconds == 40


def test_between_two_sittings_time_is_the_wall_clocks_and_no_work() -> None:
    """The bastion was started anew: its monotonic clock began again."""
    again = FIRST.resumed(Moment(BEGAN + 600, 5.0), BEGAN)
    assert (again.elapsed, again.seconds) == (600, 30)
    later = again.after(Moment(BEGAN + 607, 12.0))
    assert (later.elapsed, later.seconds) == (607, 37)


def test_what_was_asked_before_a_cut_is_no_question_any_more() -> None:
    thinking = asked(FIRST, 130, 150).at_question(OperatorAsked(at(155))).after(at(158))
    again = thinking.resumed(Moment(BEGAN + 600, 5.0), BEGAN)
    assert (again.thought, again.asked) == (0, None)
    assert again.worked(15.0) == pytest.approx(35 + 10)


def test_a_wall_clock_that_was_put_back_does_not_turn_time_round() -> None:
    again = FIRST.resumed(Moment(BEGAN - 900, 5.0), BEGAN)
    assert (again.elapsed, again.place(6.0)) == (30, 31)
