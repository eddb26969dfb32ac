"""What the live view knows of a run: the phases so far and to come, who is at work, who failed, when it ends."""

from dataclasses import replace
from functools import reduce

import pytest

from hivekeys.errors import ExitCode
from hivekeys.journal.events import (
    Event,
    Intent,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    Paused,
    Phase,
    PhaseStarted,
    Resumed,
    Retried,
    RunEnded,
    RunStarted,
    State,
    Status,
    Stopped,
    Waiting,
)
from hivekeys.journal.progress import Direction, InFlight, Progress, counts, in_phase, to_go
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.verbs import Verb
from tests.builders.running import at, begun, fails, followed, midway, names, passed, then, waves_of

(STARTED,) = [event for event in begun(5, 2) if isinstance(event, RunStarted)]
TO_COME = (
    (Phase.LOOK, "look", 6),
    (Phase.CLAIM, "claim", 6),
    (Phase.STAGE, "stage", 6),
    (Phase.QUEEN, "queen", 1),
    (Phase.CANARY, "canary", 1),
    (Phase.WAVE, "wave 1 of 2", 2),
    (Phase.WAVE, "wave 2 of 2", 2),
    (Phase.SETTLE, "settle", 6),
    (Phase.RETIRE, "retire", 6),
)
BUSY = Cause(Trouble.HOST_BUSY, "run blue-9 of bob@b2, at work since 12:00")


# -- the phases


def test_all_phases_are_to_come_when_a_run_begins_and_fewer_with_each_that_does() -> None:
    assert followed([STARTED]).remaining == TO_COME
    assert followed(begun(5, 2)).remaining == TO_COME[3:]
    assert followed(midway(5, 2)).remaining == TO_COME[6:]


def test_nothing_is_to_come_when_a_run_is_over_or_only_looks_or_is_upkeep() -> None:
    assert followed([*midway(5, 2), RunEnded(ExitCode.DONE, at(20))]).remaining == ()
    assert followed([STARTED], Direction.LOOK).remaining == ()
    assert followed([next(begun(5, 2, "fix"))]).remaining == ()


@pytest.mark.parametrize("way", [Direction.FORWARD, Direction.BACK])
def test_a_run_that_stops_takes_back_the_hosts_that_it_touched(way: Direction) -> None:
    stopped: list[Event] = [
        STARTED,
        Intent("queen", Phase.STAGE, (Verb.STAGE,), at(1)),
        Stopped(Phase.STAGE, "full", at(2)),
    ]
    assert followed(stopped, way).remaining == ((Phase.ROLLBACK, "rollback", 1),)
    going = PhaseStarted(Phase.ROLLBACK, ("queen",), at(3), "rollback, queen")
    assert followed([*stopped, going], way).remaining == ()


def test_a_phase_that_goes_on_with_other_hosts_is_one() -> None:
    """The first host is claimed alone."""
    claims = [PhaseStarted(Phase.CLAIM, hosts, at(1), "claim") for hosts in (("queen",), ("queen", "hive1"))]
    first = Outcome("queen", Phase.CLAIM, Status.OK, State.UNCHANGED, at(1))
    progress = followed([STARTED, claims[0], first, claims[1]])
    assert [(leg.title, leg.hosts) for leg in progress.phases] == [("claim", ("queen", "hive1"))]
    assert progress.through == {"queen"}
    assert progress.left == ("hive1",)


def test_two_waves_are_two_phases() -> None:
    waves = [PhaseStarted(Phase.WAVE, (host,), at(1), title) for host, title in (("hive2", "one"), ("hive3", "two"))]
    progress = followed([STARTED, *waves])
    assert [leg.title for leg in progress.phases] == ["one", "two"]
    assert progress.phase is not None and progress.phase.hosts == ("hive3",)


def test_a_phase_that_an_older_release_gave_no_title_has_its_own_name() -> None:
    leg = followed([STARTED, PhaseStarted(Phase.QUEEN, ("queen",), at(1))]).phase
    assert leg is not None and leg.title == "queen"


def test_before_its_first_phase_a_run_waits_for_no_host() -> None:
    progress = followed([STARTED])
    assert (progress.phase, progress.left, in_phase(progress, 500)) == (None, (), 0)


def test_hosts_that_are_tried_again_begin_with_the_first_phase() -> None:
    again = followed([*midway(5, 2), Retried(2, ("hive3",), at(14))])
    assert again.phases == ()
    assert again.in_flight, "others are still at work"


def test_a_run_that_is_taken_up_again_begins_an_empty_picture() -> None:
    failed = fails("hive3", Phase.WAVE, 13, Trouble.UNHEALTHY)
    later = PhaseStarted(Phase.WAVE, ("hive4",), at(13), "wave 2 of 2")
    cut_off = followed(
        [*midway(5, 2), failed, later, Intent("hive4", Phase.WAVE, (Verb.SWAP,), at(13)), Paused(at(14))]
    )
    assert cut_off.is_over
    again = then(cut_off, Resumed("bob@b2", names(5), waves_of(5, 2), (), at(60)))
    assert (again.phases, again.stragglers, again.troubles, again.in_flight, again.is_over) == (
        (),
        frozenset(),
        {},
        {},
        False,
    )


# -- the hosts


def test_a_host_is_at_work_on_what_it_was_told_until_it_answers() -> None:
    told = [
        Intent("hive1", Phase.CLAIM, (Verb.HELLO, Verb.PROBE_WRITE), at(1)),
        Intent("hive2", Phase.CLAIM, (Verb.HELLO,), at(2)),
    ]
    progress = followed([STARTED, *told])
    assert progress.in_flight == {"hive1": InFlight("hello probe write", 101), "hive2": InFlight("hello", 102)}
    answered = then(progress, Outcome("hive2", Phase.CLAIM, Status.OK, State.UNCHANGED, at(3)))
    assert answered.in_flight.keys() == {"hive1"}


@pytest.mark.parametrize("end", [Paused(at(20)), RunEnded(ExitCode.DONE, at(20))])
def test_when_a_run_is_over_no_host_is_at_work(end: Event) -> None:
    progress = followed([*midway(5, 2), end])
    assert (progress.in_flight, progress.is_over) == ({}, True)


def test_whoever_waits_for_a_lock_is_said_to_with_its_holder() -> None:
    progress = followed([*midway(5, 2), Waiting("hive2", BUSY, 29.6, at(11))])
    assert progress.in_flight["hive2"] == InFlight("waits at most 30 s for run blue-9 of bob@b2", 111)
    assert progress.in_flight["hive3"] == InFlight("swap restart prove", 110), "the others are at work"


def test_a_host_that_did_not_make_it_has_failed_in_that_phase_and_is_through_it() -> None:
    progress = followed([*midway(5, 2), fails("hive3", Phase.WAVE, 13, Trouble.UNHEALTHY)])
    assert progress.phase is not None and progress.phase.failed == 1
    assert progress.left == ()
    assert progress.phases[-2].failed == 0


def test_why_a_host_failed_is_shown_until_it_is_on_the_new_token() -> None:
    failed = [fails(host, Phase.WAVE, 13, Trouble.UNHEALTHY, host) for host in ("hive2", "hive3")]
    back = Outcome("hive3", Phase.WAVE, Status.OK, State.ROLLED_BACK, at(14))
    progress = followed([*midway(5, 2), *failed, back])
    assert progress.troubles == {host: Cause(Trouble.UNHEALTHY, host) for host in ("hive2", "hive3")}
    mended = then(progress, Outcome("hive3", Phase.WAVE, Status.OK, State.HEALTHY, at(15)))
    assert mended.troubles.keys() == {"hive2"}
    again = then(progress, fails("hive3", Phase.WAVE, 15, Trouble.SILENT))
    assert again.troubles["hive3"] == Cause(Trouble.SILENT)


def test_whoever_the_others_did_not_wait_for_is_late_until_it_answers_or_is_asked_again() -> None:
    staged = PhaseStarted(Phase.STAGE, ("queen", "hive1", "hive2"), at(3), "stage")
    here = Outcome("queen", Phase.STAGE, Status.OK, State.UNCHANGED, at(4))
    later = PhaseStarted(Phase.QUEEN, ("queen",), at(5), "queen")
    progress = followed([next(begun(2, 2, REVOKE)), staged, here, later])
    assert progress.stragglers == {"hive1", "hive2"}
    assert progress.left == ("queen",), "they are no part of this phase"
    answered = then(progress, Outcome("hive1", Phase.STAGE, Status.OK, State.UNCHANGED, at(6)))
    assert answered.stragglers == {"hive2"}
    assert answered.left == ("queen",)
    asked = then(answered, PhaseStarted(Phase.WAVE, ("hive2",), at(7), "wave"))
    assert asked.stragglers == {"queen"}


def test_an_answer_to_an_earlier_phase_is_none_to_this_one() -> None:
    late = Outcome("queen", Phase.STAGE, Status.FAILED, State.FAILED, at(6), Cause(Trouble.SILENT))
    progress = followed([*begun(2, 2), PhaseStarted(Phase.QUEEN, ("queen",), at(5), "queen"), late])
    assert progress.left == ("queen",)
    assert progress.phase is not None and progress.phase.failed == 0


def test_hosts_are_counted_by_their_state_and_those_that_wait_as_waiting() -> None:
    events = [*midway(5, 2), fails("hive3", Phase.WAVE, 13, Trouble.NO_CONNECTION)]
    expected = {"proven": 3, "waiting": 2, "failed": 0, "unreachable": 1}
    assert counts(followed(events)) == expected
    over = counts(followed([*events, Paused(at(14))]))
    assert over == {**expected, "waiting": 0, "unchanged": 2}


def test_hosts_that_were_left_out_wait_for_nothing() -> None:
    found = counts(followed([replace(STARTED, left_out=("hive9",))]))
    assert (found["left out"], found["waiting"]) == (1, 6)


@pytest.mark.parametrize(("task", "way"), [("rotate", Direction.LOOK), ("fix", Direction.FORWARD)])
def test_a_look_and_upkeep_count_who_is_through(task: str, way: Direction) -> None:
    look = PhaseStarted(Phase.LOOK, names(2), at(0), "look")
    well = Outcome("queen", Phase.LOOK, Status.OK, State.UNCHANGED, at(1))
    progress = followed([next(begun(2, 1, task)), look, well, fails("hive1", Phase.LOOK, 1, Trouble.SILENT)], way)
    assert counts(progress) == {"through": 1, "waiting": 1, "failed": 1}


# -- when it ends


def test_the_rest_takes_as_long_as_waves_took_and_the_last_look_as_the_first() -> None:
    """Queen and canary took 3.5 s each; look and stage 1 s."""
    progress = followed(midway(5, 2))
    assert to_go(progress, 112) == pytest.approx((3.5 - 2) + 3.5 + 1 + 1)
    assert to_go(progress, 500) == pytest.approx(3.5 + 1 + 1), "what is late may be over at any moment"


def test_a_wave_with_more_hosts_than_may_be_at_work_takes_as_many_times_longer() -> None:
    events = list(midway(124, 61))  # two waves of 61 and one of one
    assert to_go(followed(events), 110) == pytest.approx(2 * 3.5 + 2 * 3.5 + 3.5 + 1 + 1)
    for width, rounds in ((61, 1), (60, 2), (20, 4)):
        wide = reduce(then, events, Progress(width=width))
        assert to_go(wide, 110) == pytest.approx(rounds * 3.5 * 2 + 3.5 + 1 + 1)


def test_the_pace_is_that_of_a_round_and_not_of_a_wave() -> None:
    """40 hosts at 32 at once were two rounds, and took 8 s."""
    hosts = names(80)[2:42]
    done = passed(Phase.WAVE, hosts, 10, 8, title="wave 1 of 2")
    events = [next(begun(81, 40)), *done, PhaseStarted(Phase.WAVE, ("hive81",), at(18), "wave 2 of 2")]
    progress = followed(events)
    assert to_go(progress, 118) == pytest.approx(4 + 3 * 4 + 3 * 4), "as nobody looked or staged, like a wave"


def test_no_end_is_foretold_before_a_wave_is_over_or_where_none_is_known() -> None:
    assert to_go(Progress(), 110) is None
    assert to_go(followed(begun(5, 2)), 110) is None
    going = list(midway(5, 2))
    assert to_go(followed([*going, Paused(at(12))]), 112) is None
    assert to_go(followed([*going, Stopped(Phase.WAVE, "no", at(12))]), 112) is None


def test_a_revocation_that_will_try_hosts_again_foretells_no_end() -> None:
    """And one that has nobody to try again does."""
    turned = [*begun(5, 5, REVOKE), *passed(Phase.QUEEN, ("queen",), 3, 2)]
    wave = PhaseStarted(Phase.WAVE, ("hive1", "hive2"), at(5), "wave 1 of 1")
    assert to_go(followed([*turned, wave]), 105) is not None
    assert to_go(followed([*turned, wave, fails("hive1", Phase.WAVE, 6, Trouble.SILENT)]), 106) is None
    rotation = [*begun(5, 2), *passed(Phase.QUEEN, ("queen",), 3, 2), wave]
    assert to_go(followed([*rotation, fails("hive1", Phase.WAVE, 6, Trouble.SILENT)]), 106) is not None


# -- an operator who thinks


def asked(since: float, until: float) -> list[Event]:
    return [OperatorAsked(at(since)), OperatorAnswered(True, at(until))]


def test_what_an_operator_thought_is_no_part_of_the_phase_however_often_it_was() -> None:
    progress = followed([*midway(5, 2), *asked(12, 22), *asked(23, 43)])
    assert progress.phase is not None and progress.phase.thought == 30
    assert in_phase(progress, 144) == 4
    assert [leg.thought for leg in progress.phases[:-1]] == [0] * 5


def test_while_an_operator_is_asked_a_phase_lasts_no_longer() -> None:
    progress = followed([*midway(5, 2), OperatorAsked(at(12))])
    assert [in_phase(progress, clock) for clock in (111, 112, 500)] == [1, 2, 2]


def test_an_operator_who_is_asked_before_the_first_phase_has_no_part_in_it() -> None:
    progress = followed([STARTED, *asked(1, 60), PhaseStarted(Phase.LOOK, names(5), at(60), "look")])
    assert in_phase(progress, 163) == 3
