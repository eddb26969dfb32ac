"""Whom a service let in, and when: by what its host answered, and by what a look showed where no answer came.

A host is told to restart at 10, and answers at 20; the seconds of its steps are counted back from there.
"""

from dataclasses import replace

import pytest

from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Outcome, Phase, State, Status
from hivekeys.journal.gap import UNSEEN, Gap, Served, Turn, after_order, answered, between, cut_off
from hivekeys.protocol.messages import Result
from hivekeys.protocol.seen import LoadedToken, Proof, Seen
from hivekeys.protocol.verbs import Verb
from hivekeys.token import Token
from tests.builders.seen import UNIT, seen

OLD, NEW, OTHER = (Token(letter * 64).fingerprint(b"k") for letter in "abc")
ON_OLD, ON_NEW = Turn(0.0, 1, OLD), Turn(0.0, 1, NEW)
SWAP, RESTART, PROVE = Result(Verb.SWAP, True, 1.0), Result(Verb.RESTART, True, 2.0), Result(Verb.PROVE, False, 3.0)
TOLD = after_order(UNSEEN, (Verb.SWAP, Verb.RESTART), 10.0)
WELL = Proof({"new": 200}, True, healthy_after=0.5)


def answer(
    *steps: Result,
    shown: Seen | None = None,
    proof: Proof | None = None,
    status: Status = Status.OK,
    broke: Result | None = None,
) -> Outcome:
    return Outcome(
        "hive1", Phase.WAVE, status, State.PROVEN, Moment(20, 20), None, shown, proof, results=steps, broke=broke
    )


def after(outcome: Outcome) -> tuple[Turn, ...]:
    """What the answer to the order tells of the service."""
    found = answered(TOLD, outcome, 20.0, 2, (OLD, NEW))
    assert (found.ordered_at, found.answered_at) == (None, 20.0)
    return found.turns


# -- what was told


def test_only_a_restart_or_a_stop_makes_a_service_unseen_and_the_first_order_counts() -> None:
    assert after_order(UNSEEN, (Verb.STAGE, Verb.PROVE), 5.0) == UNSEEN
    assert after_order(UNSEEN, (Verb.FENCE,), 5.0).ordered_at == 5.0
    assert after_order(TOLD, (Verb.RESTART,), 15.0).ordered_at == 10.0


def test_whoever_is_cut_off_from_a_host_knows_nothing_of_it_since_the_order() -> None:
    assert cut_off(UNSEEN, 2) == UNSEEN
    assert cut_off(TOLD, 2) == Served((Turn(10.0, 2, known=False),))


def test_a_line_that_broke_without_an_answer_cuts_off_too() -> None:
    found = answered(TOLD, answer(status=Status.UNKNOWN), 20.0, 2, (OLD, NEW))
    assert found == Served((Turn(10.0, 2, known=False),), None, 20.0)


# -- what was answered


def test_a_turn_is_down_from_the_restart_until_the_service_is_healthy() -> None:
    found = after(answer(SWAP, RESTART, PROVE, shown=seen(NEW), proof=WELL))
    assert found == (Turn(15.0, 2), Turn(17.5, 2, NEW))


def test_a_service_that_was_stopped_for_good_is_down_when_it_has_stopped() -> None:
    assert after(answer(Result(Verb.FENCE, True, 4.0), shown=seen(OLD, up=False))) == (Turn(20.0, 2),)


def test_a_service_that_never_was_healthy_stays_down() -> None:
    assert after(answer(RESTART, PROVE, proof=replace(WELL, healthy_after=None))) == (Turn(15.0, 2),)


PROOFS = {
    "the new one": (WELL, seen(NEW), Turn(17.5, 2, NEW)),
    "the old one": (replace(WELL, calls={"new": 401, "old": 200}), seen(NEW), Turn(17.5, 2, OLD)),
    "neither": (replace(WELL, calls={"new": 401, "old": 401}), seen(NEW), Turn(17.5, 2)),
    "the new one, which no look names": (WELL, None, Turn(17.5, 2, known=False)),
    "not asked: by its process": (replace(WELL, calls={}), seen(NEW), Turn(17.5, 2, NEW)),
    "an error is no yes": (replace(WELL, calls={"new": 300, "old": 300}), seen(OTHER), Turn(17.5, 2, OTHER)),
}


@pytest.mark.parametrize("served", PROOFS)
def test_a_healthy_service_lets_in_whom_it_let_in_when_it_was_asked(served: str) -> None:
    proof, shown, turn = PROOFS[served]
    assert after(answer(RESTART, PROVE, shown=shown, proof=proof)) == (Turn(15.0, 2), turn)


def test_a_restart_that_systemd_refused_leaves_a_service_that_runs_on() -> None:
    assert after(answer(SWAP, shown=seen(OLD), broke=RESTART)) == (Turn(18.0, 2), Turn(20.0, 2, OLD))
    assert after(answer(SWAP, shown=seen(OLD, up=False), broke=RESTART)) == (Turn(18.0, 2),), "it runs no more"
    assert after(answer(RESTART, shown=seen(OLD), broke=PROVE)) == (Turn(15.0, 2),), "another step failed"


def test_what_a_host_says_of_its_seconds_lies_between_the_order_and_the_answer() -> None:
    long = replace(RESTART, seconds=1e6)
    proof = replace(WELL, healthy_after=1e6)
    assert after(answer(long, PROVE, shown=seen(NEW), proof=proof)) == (Turn(10.0, 2), Turn(20.0, 2, NEW))
    untold = answered(Served(answered_at=18.0), answer(long), 20.0, 2, (OLD, NEW))
    assert untold.turns == (Turn(18.0, 2),), "or since the last answer"
    assert answered(UNSEEN, answer(long), 20.0, 2, (OLD, NEW)).turns == (Turn(0.0, 2),)


def test_what_stops_no_service_turns_nothing() -> None:
    assert answered(UNSEEN, answer(PROVE, proof=WELL), 20.0, 2, (OLD, NEW)) == Served((), None, 20.0)


# -- what a look showed

LOADED = replace(seen(NEW), loaded=LoadedToken(None, "touched"))


def looked(shown: Seen, *turns: Turn, order: float | None = 10.0, heard: float | None = 5.0) -> tuple[Turn, ...]:
    served = Served(turns, order, heard)
    found = answered(served, answer(shown=shown), 20.0, 2, (OLD, NEW))
    assert (found.ordered_at, found.answered_at) == (None, 20.0)
    return found.turns


def test_a_look_that_shows_another_token_than_before_leaves_the_time_since_the_order_unknown() -> None:
    assert looked(seen(NEW)) == (Turn(10.0, 2, known=False), Turn(20.0, 2, NEW))
    assert looked(seen(NEW), order=None) == (Turn(5.0, 2, known=False), Turn(20.0, 2, NEW)), "or the last answer"
    assert looked(seen(NEW, up=False)) == (Turn(10.0, 2, known=False), Turn(20.0, 2))


def test_a_look_that_shows_what_was_known_adds_nothing() -> None:
    assert looked(seen(OLD)) == ()
    assert looked(seen(NEW), ON_NEW) == (ON_NEW,)
    assert looked(seen(NEW), order=None, heard=None) == (), "nor does the first look of all"


def test_a_look_that_cannot_tell_the_token_adds_nothing() -> None:
    older = replace(seen(NEW), loaded=LoadedToken(None, "older"))
    assert looked(older, ON_OLD) == (ON_OLD,)
    assert looked(replace(older, loaded=LoadedToken(None, "younger")), ON_OLD) == (ON_OLD,)


def test_a_process_that_started_after_its_file_was_only_touched_runs_on_what_is_in_it() -> None:
    assert looked(LOADED, ON_OLD)[-1] == Turn(20.0, 2, NEW)


UNKNOWN = Turn(10.0, 2, known=False)


def began(age: float) -> Seen:
    """The service's process is so old, by the host's own clock."""
    return replace(seen(OLD), unit=replace(UNIT, started=1000.0 - age), clock=1000.0)


def test_a_process_that_is_older_than_the_order_never_restarted() -> None:
    assert looked(began(11.0), ON_OLD, UNKNOWN) == (ON_OLD,)
    assert looked(began(11.0), UNKNOWN) == (), "as before the run"


@pytest.mark.parametrize("shown", [began(10.0), began(1.0), replace(began(11.0), unit=replace(UNIT, started=None))])
def test_a_younger_process_restarted_at_some_time_since(shown: Seen) -> None:
    assert looked(shown, ON_OLD, UNKNOWN) == (ON_OLD, UNKNOWN, Turn(20.0, 2, OLD))


def test_a_process_on_another_token_than_before_restarted_however_old_it_says_it_is() -> None:
    older = replace(seen(NEW), unit=began(99.0).unit, clock=1000.0)
    assert looked(older, ON_OLD, UNKNOWN) == (ON_OLD, UNKNOWN, Turn(20.0, 2, NEW))


# -- the gap of both


def test_every_time_that_two_services_are_apart_is_a_gap_of_its_own() -> None:
    """The second one has three parts: the host is down, then both, then the queen alone."""
    host = Served((Turn(20.0, 1), Turn(21.0, 1, OLD), Turn(40.0, 1), Turn(43.0, 1, NEW)))
    queen = Served((Turn(41.0, 1), Turn(45.0, 1, NEW)))
    assert between(host, queen, (OLD, OLD), 100.0, 1) == Gap(6.0, spans=((20.0, 21.0), (40.0, 45.0)))


def test_a_run_that_restarted_neither_has_no_gap() -> None:
    assert between(UNSEEN, UNSEEN, (OLD, NEW), 100.0, 1) is None


def test_whoever_was_told_and_has_not_answered_is_not_known() -> None:
    assert between(TOLD, UNSEEN, (OLD, OLD), 100.0, 1) == Gap(None, over=False)
    assert between(UNSEEN, TOLD, (OLD, OLD), 100.0, 1) == Gap(None, over=False)


def test_a_gap_that_is_not_over_lasts_until_now() -> None:
    queen = Served((Turn(41.0, 1), Turn(45.0, 1, NEW)))
    assert between(UNSEEN, queen, (OLD, OLD), 100.0, 1) == Gap(59.0, over=False, spans=((41.0, 100.0),))
    assert between(UNSEEN, queen, (OLD, OLD), 100.0, 2) == Gap(59.0, True, over=False, spans=((41.0, 100.0),))
