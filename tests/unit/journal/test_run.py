"""Events to a run: what the fold remembers, when hosts were out of service, and what an end means to the shell."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.errors import ExitCode
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import (
    Event,
    Intent,
    Outcome,
    Phase,
    PhaseStarted,
    RunEnded,
    RunStarted,
    State,
    Status,
    Stopped,
    TokenChosen,
)
from hivekeys.journal.fold import fold
from hivekeys.journal.gap import Gap
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Result
from hivekeys.protocol.seen import HostRecord, Place, Proof
from hivekeys.protocol.verbs import Verb
from hivekeys.report.verdict import exit_code
from hivekeys.token import Token
from tests.builders.seen import seen

OLD, NEW = Token("a" * 64).fingerprint(b"k"), Token("b" * 64).fingerprint(b"k")
WAVES = ((Phase.QUEEN, ("queen",)), (Phase.CANARY, ("hive1",)))
TURN = (Verb.SWAP, Verb.RESTART, Verb.PROVE)


def at(clock: float) -> Moment:
    return Moment(1_000_000.0 + clock, clock)


STARTED = RunStarted("run-1", "blue", "ann", "drill", ("queen", "hive1"), WAVES, ("hive2",), at(10.0))


def ended(name: str, state: State, cause: Trouble | None = None, *, touched: bool = True) -> list[Event]:
    """One host's story, as short as it can be."""
    verbs = TURN if touched else (Verb.HELLO, Verb.PROBE_WRITE)
    status = Status.FAILED if cause else Status.OK
    why = Cause(cause) if cause else None
    return [
        Intent(name, Phase.WAVE, verbs, at(11.0)),
        Outcome(name, Phase.WAVE, status, state, at(12.0), why),
    ]


def run_of(*stories: Sequence[Event]) -> Run:
    return fold([STARTED, TokenChosen(NEW, at(11.0)), *(event for story in stories for event in story)])


def final(*stories: Sequence[Event]) -> Run:
    return fold(
        [
            STARTED,
            TokenChosen(NEW, at(11.0)),
            *(event for story in stories for event in story),
            RunEnded(ExitCode.DONE, at(20.0)),
        ]
    )


def test_a_run_that_has_begun_knows_every_host_of_the_inventory() -> None:
    run = fold([STARTED])
    assert list(run.hosts) == ["queen", "hive1", "hive2"]
    assert {host.state for host in run.hosts.values()} == {State.UNCHANGED}
    assert run.left_out == ("hive2",)
    assert not run.is_open, "without a token there is nothing to continue"


def test_a_run_is_open_from_its_token_to_its_end() -> None:
    assert run_of().is_open
    assert not final().is_open


def test_what_a_host_had_first_is_what_it_had_before_the_run() -> None:
    looks = [
        Outcome("hive1", phase, Status.OK, State.UNCHANGED, at(11.0), seen=seen(held))
        for phase, held in ((Phase.LOOK, OLD), (Phase.WAVE, NEW))
    ]
    host = run_of(looks).hosts["hive1"]
    assert (host.was, host.now) == (OLD, NEW)


def test_only_what_can_change_a_host_has_touched_it() -> None:
    claimed = Intent("hive1", Phase.CLAIM, (Verb.HELLO, Verb.PROBE_WRITE), at(11.0))
    staged = Intent("queen", Phase.STAGE, (Verb.STAGE,), at(11.0))
    run = run_of([claimed, staged])
    assert {name for name, host in run.hosts.items() if host.touched} == {"queen"}


def test_why_a_host_failed_is_not_forgotten_when_it_is_put_back() -> None:
    back = Outcome("hive1", Phase.WAVE, Status.OK, State.ROLLED_BACK, at(13.0))
    host = run_of([*ended("hive1", State.FAILED, Trouble.NEW_REFUSED), back]).hosts["hive1"]
    assert (host.state, host.cause) == (State.ROLLED_BACK, Cause(Trouble.NEW_REFUSED))


def turned(name: str, clock: float) -> Outcome:
    """A turn that ends at `clock`: a restart of 2 s, healthy 0.25 s into a proof of 3 s, a last look of 0.5 s."""
    took = {Verb.SWAP: 0.1, Verb.RESTART: 2.0, Verb.PROVE: 3.0, Verb.OBSERVE: 0.5}
    results = tuple(Result(verb, True, seconds) for verb, seconds in took.items())
    proof = Proof({}, True, healthy_after=0.25)
    return Outcome(name, Phase.WAVE, Status.OK, State.PROVEN, at(clock), None, seen(NEW), proof, results=results)


def test_the_gap_of_a_host_begins_with_the_first_restart_and_ends_with_the_second_recovery() -> None:
    looks = [
        Outcome(name, Phase.LOOK, Status.OK, State.UNCHANGED, at(11), None, seen(OLD))
        for name in ("queen", "hive1", "hive2")
    ]
    run = run_of([*looks, turned("queen", 20.0), turned("hive1", 40.0)])
    queen = run.hosts["queen"]
    # The run began at 10. Out at 20 − 0.5 − 3 − 2, back at 20 − 0.5 − 3 + 0.25.
    assert run.gap(queen) == Gap(2.25, spans=((4.5, 6.75),))
    assert run.gap(run.hosts["hive1"]) == Gap(22.25, spans=((4.5, 26.75),))
    stays = run.gap(run.hosts["hive2"])
    assert stays == Gap(25.5, over=False, spans=((4.5, 30.0),)), "it stayed on the old token"
    assert queen.seconds == pytest.approx(5.6)


def test_a_rollback_and_a_retirement_are_remembered() -> None:
    assert not run_of().rolled_back
    assert run_of([PhaseStarted(Phase.ROLLBACK, (), at(12.0))]).rolled_back
    assert run_of([PhaseStarted(Phase.RETIRE, (), at(12.0))]).retiring


def test_the_reason_to_stop_is_kept() -> None:
    assert run_of([Stopped(Phase.WAVE, "canary failed (hive1)", at(12.0))]).stopped == "canary failed (hive1)"


def test_whoever_stays_behind_when_the_fleet_goes_on_owes() -> None:
    run = final(ended("queen", State.PROVEN), ended("hive1", State.ROLLED_BACK, Trouble.UNHEALTHY))
    assert [host.state for host in run.hosts.values()] == [State.PROVEN, State.OWES, State.OWES]
    assert run.debts == ("hive1", "hive2")


def test_nobody_owes_when_all_went_back() -> None:
    run = final(ended("queen", State.ROLLED_BACK), ended("hive1", State.ROLLED_BACK, Trouble.UNHEALTHY))
    assert run.debts == ()
    assert run.hosts["hive2"].state is State.UNCHANGED


ALL_PROVEN = [event for name in ("queen", "hive1", "hive2") for event in ended(name, State.PROVEN)]
BACK = ended("queen", State.ROLLED_BACK)
CODES = [
    ("every host proven", [ALL_PROVEN], ExitCode.DONE),
    ("nothing changed", [], ExitCode.ROLLED_BACK),
    ("all went back", [BACK, ended("hive1", State.ROLLED_BACK, Trouble.UNHEALTHY)], ExitCode.ROLLED_BACK),
    (
        "one was away and nobody was changed",
        [ended("hive1", State.UNREACHABLE, Trouble.NO_CONNECTION, touched=False)],
        ExitCode.ROLLED_BACK,
    ),
    ("one could not be put back", [BACK, ended("hive1", State.FAILED, Trouble.START_FAILED)], ExitCode.INCOMPLETE),
    ("one is unknown", [BACK, ended("hive1", State.UNKNOWN, Trouble.SILENT)], ExitCode.INCOMPLETE),
    ("one owes", [ended("queen", State.PROVEN), ended("hive1", State.PROVEN)], ExitCode.INCOMPLETE),
    ("one is healthy, not proven", [ALL_PROVEN, ended("hive2", State.HEALTHY)], ExitCode.INCOMPLETE),
    ("another run works there", [ended("queen", State.FAILED, Trouble.HOST_BUSY, touched=False)], ExitCode.LOCKED),
    ("a newer run was there", [ended("queen", State.FAILED, Trouble.SUPERSEDED)], ExitCode.LOCKED),
]


@pytest.mark.parametrize(("stories", "code"), [case[1:] for case in CODES], ids=[case[0] for case in CODES])
def test_what_an_end_means_to_the_shell(stories: list[list[Event]], code: ExitCode) -> None:
    assert exit_code(final(*stories)) is code


@given(st.lists(st.tuples(st.sampled_from(["queen", "hive1", "hive2"]), st.sampled_from(State)), max_size=8))
def test_done_is_said_only_when_every_host_is_proven(stories: list[tuple[str, State]]) -> None:
    run = final(*(ended(name, state) for name, state in stories))
    everywhere = all(host.state is State.PROVEN for host in run.hosts.values())
    assert (exit_code(run) is ExitCode.DONE) is everywhere
    assert run.hosts.keys() == {"queen", "hive1", "hive2"}, "one state a host, whatever happens"


# -- what was begun, and what a host may hold


def test_a_run_was_begun_once_it_has_a_token_or_could_not_go_on() -> None:
    assert not fold([STARTED]).was_begun
    assert run_of().was_begun
    assert not fold([STARTED, RunEnded(ExitCode.USAGE, at(12.0))]).was_begun, "the operator said no"
    assert fold([STARTED, RunEnded(ExitCode.ROLLED_BACK, at(12.0))]).was_begun


def met_by(run: str, changed: str = "", state: State = State.UNCHANGED) -> list[Event]:
    """A host that was told to stage, and whose own records name that run."""
    met = HostRecord(run=run, changed=Place(1, changed))
    told = Intent("hive1", Phase.STAGE, (Verb.STAGE,), at(11.0))
    return [told, Outcome("hive1", Phase.STAGE, Status.OK, state, at(12.0), seen=seen(OLD), met=met)]


def test_a_host_that_forgot_the_run_may_hold_its_token() -> None:
    """It was imaged anew, or its disk is an older copy: its word that it has the old token says nothing."""
    assert not run_of().may_be_held(NEW)
    assert not run_of(met_by("run-1")).may_be_held(NEW)
    assert not run_of(met_by("run-2", changed="run-1")).may_be_held(NEW)
    assert run_of(met_by("run-2")).may_be_held(NEW)
    assert run_of(met_by("run-1", state=State.EXCLUDED)).may_be_held(NEW), "the word of one that was cut out"


@pytest.mark.parametrize("state", [State.PROVEN, State.HEALTHY, State.FAILED, State.UNKNOWN])
def test_a_host_that_was_turned_or_is_lost_may_hold_the_token(state: State) -> None:
    assert run_of(met_by("run-1", state=state)).may_be_held(NEW)


def test_a_host_that_shows_the_token_holds_it() -> None:
    look = Outcome("hive1", Phase.LOOK, Status.OK, State.UNCHANGED, at(12.0), seen=seen(NEW))
    assert run_of([look]).may_be_held(NEW)
    assert not run_of([look]).may_be_held(OLD)


def test_the_token_that_a_run_leaves_is_its_own_or_the_one_from_before() -> None:
    looks = [
        Outcome(name, Phase.LOOK, Status.OK, State.UNCHANGED, at(11.0), seen=seen(OLD)) for name in ("queen", "hive1")
    ]
    back = PhaseStarted(Phase.ROLLBACK, ("queen",), at(13.0))
    assert run_of(looks).left_with == NEW
    assert run_of(looks, [back]).left_with == OLD
    other = replace(looks[1], seen=seen(NEW))
    assert run_of([looks[0], other], [back]).left_with is None, "they had two"
    lost = ended("hive1", State.UNKNOWN, Trouble.SILENT)
    assert run_of(looks, [back], lost).left_with is None, "one of them is behind"
    assert fold([STARTED, *looks, RunEnded(ExitCode.ROLLED_BACK, at(14.0))]).left_with == OLD


def test_one_host_alone_decides_for_no_run_but_the_queen_does() -> None:
    def said(*names: str) -> Run:
        return run_of(*(ended(name, State.FAILED, Trouble.SUPERSEDED) for name in names))

    assert not said("hive1").is_superseded
    assert said("queen").is_superseded
    assert said("hive1", "hive2").is_superseded
    assert said("queen").bears_out(Trouble.SUPERSEDED) and not said("queen").bears_out(Trouble.HOST_BUSY)


def test_the_newer_run_is_named_by_the_queen_or_by_most_hosts() -> None:
    def says(name: str, run: str) -> Outcome:
        return Outcome(name, Phase.WAVE, Status.FAILED, State.FAILED, at(12.0), Cause(Trouble.SUPERSEDED, run))

    assert run_of([says("hive1", "run-9")]).overtaken_by == ""
    assert run_of([says("hive1", "run-9"), says("hive2", "run-9")]).overtaken_by == "run-9"
    assert run_of([says("queen", "run-8"), says("hive1", "run-9"), says("hive2", "run-9")]).overtaken_by == "run-8"


def test_a_run_is_back_once_it_was_taken_back_and_no_host_is_behind() -> None:
    back = PhaseStarted(Phase.ROLLBACK, ("queen",), at(13.0))
    assert not run_of(BACK).is_back, "a host may go back by itself"
    assert run_of([back], BACK).is_back
    assert not run_of([back], BACK, ended("hive1", State.UNKNOWN, Trouble.SILENT)).is_back
    assert run_of([back], ended("hive1", State.UNREACHABLE, Trouble.NO_CONNECTION, touched=False)).is_back
