"""The course of a run, without a host: from every state in which it can be cut off, it comes to an end."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Fleet, Order, Policy
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import (
    TURNS,
    CensusTaken,
    Claimed,
    Event,
    Intent,
    Outcome,
    Phase,
    PhaseStarted,
    Resumed,
    Retried,
    RunEnded,
    RunStarted,
    State,
    Status,
    Stopped,
    TokenChosen,
    TokensRevoked,
)
from hivekeys.journal.fold import advance, fold
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import REVOKE, ROTATE, Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.verbs import Verb
from hivekeys.rotation.course import is_open, next_move
from hivekeys.rotation.moves import RECONCILE, REVOCATION, ROTATION, Act, Census, Do, End, Here, Move, Plan, Rest, Stop
from hivekeys.rotation.steps import Part
from hivekeys.rotation.waves import plan as planned
from hivekeys.token import Fingerprint
from tests.builders.recorded import NEW, OLD, fleet_of
from tests.builders.seen import seen

NOW = Moment(1_790_000_000.0, 5000.0)
MOST = 120  # moves of one sitting: far more than any of these fleets needs
TOLD = {
    Phase.CLAIM: Verb.PROBE_WRITE,
    Phase.STAGE: Verb.STAGE,
    Phase.RETIRE: Verb.RETIRE,
    Phase.FENCE: Verb.FENCE,
    **dict.fromkeys((*TURNS, Phase.ROLLBACK), Verb.RESTART),
}
Failures = Mapping[tuple[str, Phase], int]  # so often a host fails in a phase


@dataclass
class Paper:
    """A fleet on paper: every move becomes the events that its hosts would tell."""

    fleet: Fleet
    plan: Plan
    failures: Failures = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    holds: bool = False
    recalled: bool = False
    rested: bool = False
    back: frozenset[str] = frozenset()  # hosts that were left behind in a phase, and came back

    def __post_init__(self) -> None:
        self.left = dict(self.failures)
        self._run, self._counted = Run(), 0
        self.waves = planned(self.fleet.hosts, self.fleet.policy)
        self.names = tuple(host.name for host in self.fleet.hosts)
        self.order = tuple((wave.phase, tuple(host.name for host in wave.hosts)) for wave in self.waves)

    @property
    def run(self) -> Run:
        """What the events tell so far; each is counted once."""
        while self._counted < len(self.events):
            self._run = advance(self._run, self.events[self._counted])
            self._counted += 1
        return self._run

    def begin(self, fence: bool = False) -> "Paper":
        task = REVOKE if self.plan.revokes else ROTATE
        begun = RunStarted("run-1", "paper", "ann", "", self.names, self.order, (), NOW, task, fence=fence)
        self.events.append(begun)
        return self

    def goes_on(self) -> None:
        """Until there is nothing more to do in this sitting."""
        for _ in range(MOST):
            facts = (self.fleet, self.waves, self.names)
            here = Here(*facts, False, self.holds, self.recalled, self.rested, back=self.back)
            move = next_move(self.run, self.plan, here)
            self.moves.append(move)
            if isinstance(move, End) or move is Act.WAIT:
                return
            for event in self._carried_out(move):
                self.events.append(event)
        pytest.fail(f"it does not end: {self.moves[-6:]}")

    def _carried_out(self, move: Move) -> Iterator[Event]:
        match move:
            case Do():
                yield from self._done(move)
                self.rested = move.phase in (Phase.SETTLE, Phase.FENCE, Phase.RETIRE)
            case Stop():
                yield Stopped(move.phase, move.why, NOW)
            case Census():
                yield CensusTaken((), (), False, NOW)
            case Rest():
                self.rested = True
            case Act.BRING:
                yield from self._token()
            case Act.READ_TOKENS:
                self.recalled, self.holds = True, any(host.now == NEW for host in self.run.hosts.values())
            case Act.RETRY:
                here = tuple(host.name for host in self.run.hosts.values() if is_open(host, self.plan))
                self.back = frozenset()
                yield Retried(self.run.attempt + 1, here, NOW)

    def _token(self) -> Iterator[Event]:
        if not self.run.epoch:
            yield Claimed(1, NOW)
        yield TokenChosen(NEW, NOW)
        self.holds = True

    def _done(self, move: Do) -> Iterator[Event]:
        if self.plan.revokes and move.phase is Phase.STAGE:
            yield from () if self.run.want else self._token()
            yield from () if self.run.revoked else [TokensRevoked((OLD,), NOW, (), True)]
        yield PhaseStarted(move.phase, move.hosts, NOW, move.title or move.phase.value)
        for name in move.hosts:
            host = self.run.hosts[name]
            if move.phase in TOLD:
                yield Intent(name, move.phase, (TOLD[move.phase],), NOW)
            yield self._outcome(host, move.phase)

    def _outcome(self, host: HostRun, phase: Phase) -> Outcome:
        holds = host.now or OLD
        if self.left.get((host.name, phase), 0):
            self.left[host.name, phase] -= 1
            cause = Cause(Trouble.WRITE_FAILED, "it fails")
            return Outcome(host.name, phase, Status.FAILED, State.FAILED, NOW, cause, seen(holds))
        if phase in TURNS or phase is Phase.SETTLE:
            return self._well(host, phase, State.PROVEN, NEW)
        if phase is Phase.ROLLBACK:
            return self._well(host, phase, State.ROLLED_BACK if host.turned else State.UNCHANGED, OLD)
        if phase is Phase.FENCE:
            return self._well(host, phase, State.FENCED, holds)
        if phase is Phase.LOOK and holds == NEW and host.state not in (State.PROVEN, State.HEALTHY):
            return self._well(host, phase, State.UNKNOWN, NEW)
        if phase is Phase.LOOK and holds == OLD:
            return self._well(host, phase, State.UNCHANGED, OLD)
        return self._well(host, phase, host.state, holds)

    def _well(self, host: HostRun, phase: Phase, state: State, holds: Fingerprint) -> Outcome:
        previous = OLD if holds == NEW and phase is not Phase.RETIRE else None
        return Outcome(host.name, phase, Status.OK, state, NOW, None, seen(holds, previous=previous))

    def resumed(self, events: list[Event], plan: Plan) -> "Paper":
        """Another bastion process, which knows of that run what was written down until then."""
        later = replace(self, plan=plan, failures={}, events=list(events), moves=[], holds=False, recalled=False)
        later.rested = False
        later.events.append(Resumed("ann", self.names, self.order, (), NOW, fence=False))
        return later

    @property
    def phases(self) -> list[Phase]:
        return [move.phase for move in self.moves if isinstance(move, Do)]

    def tokens(self) -> set[Fingerprint | None]:
        return {host.now for host in self.run.hosts.values()}


def is_sound(paper: Paper) -> None:
    """What must hold of all moves of a sitting, whatever fails."""
    phases = paper.phases
    for move in paper.moves:
        if isinstance(move, Do):
            assert move.hosts and len(set(move.hosts)) == len(move.hosts) <= len(paper.names)
    claims = [move for move in paper.moves if isinstance(move, Do) and move.phase is Phase.CLAIM]
    assert all(len(claims[0].hosts) == 1 for _ in claims[:1]), "the first lock is taken alone"
    if paper.plan.revokes:
        assert Phase.ROLLBACK not in phases, "a revocation only goes forward"
    else:
        assert not {Phase.ROLLBACK, Phase.RETIRE} <= set(phases), "what was retired has no way back"
        retires = Phase.RETIRE in phases
        assert not retires or paper.tokens() == {NEW}
    turned = [phases.index(phase) for phase in TURNS if phase in phases]
    if turned and Phase.STAGE in phases:
        assert phases.index(Phase.STAGE) < min(turned), "nothing turns before all hold the token"


def fleet(hives: int, order: Order = Order.QUEEN_FIRST, canary: int = 1, budget: int = 0, width: int = 32) -> Fleet:
    policy = Policy(order=order, canary=canary, batch=Amount(2), max_failures=Amount(budget), width=width)
    return replace(fleet_of(hives), policy=policy)


WIDTHS = st.sampled_from([1, 32])
FLEETS = st.builds(fleet, st.integers(0, 4), st.sampled_from(Order), st.integers(0, 2), st.integers(0, 2), WIDTHS)
SPOTS = st.tuples(st.sampled_from(["queen", "hive1", "hive2", "hive3"]), st.sampled_from(Phase))
FAILURES = st.dictionaries(SPOTS, st.integers(1, 3), max_size=3)


# -- a quiet day


def test_a_rotation_goes_through_its_phases_in_order() -> None:
    paper = Paper(fleet(4), replace(ROTATION, census=True)).begin()
    paper.goes_on()
    assert paper.phases == [
        Phase.LOOK,
        Phase.CLAIM,
        Phase.CLAIM,
        Phase.STAGE,
        Phase.QUEEN,
        Phase.CANARY,
        Phase.WAVE,
        Phase.WAVE,
        Phase.SETTLE,
        Phase.RETIRE,
    ]
    assert [type(move) for move in paper.moves if not isinstance(move, Do | Act)] == [Rest, Rest, Rest, Census, End]
    assert paper.tokens() == {NEW}


def test_a_wave_with_more_hosts_than_may_be_at_work_is_turned_as_a_whole_and_then_watched_as_a_whole() -> None:
    paper = Paper(fleet(4, width=1), ROTATION).begin()
    paper.goes_on()
    waves = [move for move in paper.moves if isinstance(move, Do | Rest)][4:-2]
    assert [(move.hosts, move.part) if isinstance(move, Do) else None for move in waves] == [
        (("queen",), Part.WHOLE),
        None,
        (("hive1",), Part.WHOLE),
        None,
        (("hive2", "hive3"), Part.TURN),
        (("hive2", "hive3"), Part.WATCH),
        None,
        (("hive4",), Part.WHOLE),
    ]


def test_what_fails_as_a_wave_turns_takes_the_fleet_back_before_anything_is_watched() -> None:
    paper = Paper(fleet(4, width=1), ROTATION, {("hive3", Phase.WAVE): 1}).begin()
    paper.goes_on()
    assert not any(isinstance(move, Do) and move.part is Part.WATCH for move in paper.moves)
    assert paper.tokens() == {OLD}


def test_a_revocation_goes_the_same_way_and_asks_who_used_the_old_token_when_all_is_done() -> None:
    paper = Paper(fleet(4, canary=0), replace(REVOCATION, census=True)).begin()
    paper.goes_on()
    assert paper.phases == [
        Phase.LOOK,
        Phase.CLAIM,
        Phase.CLAIM,
        Phase.STAGE,
        Phase.QUEEN,
        Phase.WAVE,
        Phase.WAVE,
        Phase.SETTLE,
        Phase.RETIRE,
    ]
    assert isinstance(paper.moves[-2], Census)


def test_a_host_that_fails_its_turn_takes_the_fleet_back_in_a_rotation_and_is_tried_again_in_a_revocation() -> None:
    ill = {("hive2", Phase.WAVE): 1}
    rotation = Paper(fleet(4), ROTATION, ill).begin()
    rotation.goes_on()
    assert rotation.tokens() == {OLD} and rotation.phases[-1] is Phase.ROLLBACK
    revocation = Paper(fleet(4), REVOCATION, ill).begin()
    revocation.goes_on()
    assert revocation.tokens() == {NEW} and Act.RETRY in revocation.moves


def test_a_host_that_was_left_behind_begins_anew_from_the_look_when_the_others_are_through() -> None:
    paper = Paper(fleet(3, canary=0), REVOCATION, back=frozenset({"hive2"})).begin()
    paper.goes_on()
    again = paper.moves.index(Act.RETRY)
    before = [move for move in paper.moves[:again] if isinstance(move, Do)]
    assert all("hive2" not in move.hosts for move in before), "it goes on from no phase that it was left behind in"
    assert paper.moves[again + 1] == Do(Phase.LOOK, ("hive2",))
    assert paper.tokens() == {NEW}


def test_a_host_that_is_given_up_is_fenced_where_that_was_asked_for() -> None:
    paper = Paper(fleet(2), REVOCATION, {("hive2", Phase.WAVE): 9}).begin(fence=True)
    paper.goes_on()
    assert paper.run.hosts["hive2"].state is State.FENCED
    assert paper.phases.count(Phase.FENCE) == 1
    assert paper.phases.index(Phase.FENCE) < paper.phases.index(Phase.SETTLE), "before caches are waited for"


# -- whatever fails


@given(FLEETS, FAILURES)
@settings(max_examples=100, deadline=None)
def test_a_rotation_ends_whatever_fails_and_never_retires_what_somebody_needs(shape: Fleet, ill: Failures) -> None:
    paper = Paper(shape, ROTATION, ill).begin()
    paper.goes_on()
    is_sound(paper)


@given(FLEETS, FAILURES)
@settings(max_examples=100, deadline=None)
def test_a_revocation_ends_whatever_fails_and_tries_no_host_more_often_than_it_may(shape: Fleet, ill: Failures) -> None:
    paper = Paper(shape, REVOCATION, ill).begin()
    paper.goes_on()
    is_sound(paper)
    assert all(host.tries <= REVOCATION.attempts for host in paper.run.hosts.values())


# -- cut off anywhere


@pytest.mark.parametrize("task", [ROTATE, REVOKE])
@pytest.mark.parametrize("ill", [{}, {("hive2", Phase.WAVE): 1}, {("queen", Phase.QUEEN): 1}], ids=str)
@pytest.mark.parametrize(("hives", "width"), [(1, 32), (3, 32), (3, 1)])
def test_cut_off_behind_any_event_it_is_finished_by_the_next_sitting(
    task: str, ill: Failures, hives: int, width: int
) -> None:
    plan = REVOCATION if task == REVOKE else ROTATION
    whole = Paper(fleet(hives, width=width), plan, ill).begin()
    whole.goes_on()
    for cut in range(1, len(whole.events) + 1):
        known = fold(whole.events[:cut])
        if known.want is None:
            continue  # nothing to take up: a new run begins
        later = whole.resumed(whole.events[:cut], RECONCILE if known.retiring and task == ROTATE else plan)
        later.goes_on()
        is_sound(later)
        assert len(later.tokens()) == 1, (cut, later.moves)
        assert later.tokens() == ({OLD} if known.stopped and task == ROTATE else later.tokens())


@pytest.mark.parametrize(("hives", "width"), [(1, 32), (3, 32), (3, 1)])
def test_cut_off_before_anything_is_retired_it_can_be_taken_back(hives: int, width: int) -> None:
    whole = Paper(fleet(hives, width=width), ROTATION).begin()
    whole.goes_on()
    for cut in range(1, len(whole.events) + 1):
        known = fold(whole.events[:cut])
        if known.want is None or known.retiring:
            continue
        later = whole.resumed(whole.events[:cut], replace(ROTATION, back=True))
        later.goes_on()
        assert later.tokens() <= {OLD, None}, (cut, later.moves)
        assert later.run.stopped == "the operator asked to roll back"


def test_a_run_that_has_ended_is_finished_where_a_host_owes_its_token() -> None:
    paper = Paper(fleet(3, budget=1), ROTATION, {("hive3", Phase.STAGE): 1}).begin()
    paper.goes_on()
    assert paper.run.hosts["hive3"].now == OLD
    paper.events.append(RunEnded(ExitCode.INCOMPLETE, NOW))
    later = paper.resumed(paper.events, RECONCILE)
    later.goes_on()
    assert later.tokens() == {NEW} and later.phases[-1] is Phase.RETIRE


# -- what ends a sitting at once


def test_interrupted_or_overtaken_nothing_more_is_begun() -> None:
    paper = Paper(fleet(3), ROTATION).begin()
    here = Here(paper.fleet, paper.waves, paper.names, interrupted=True)
    assert next_move(paper.run, ROTATION, here) == End()
    newer = Outcome("queen", Phase.LOOK, Status.FAILED, State.FAILED, NOW, Cause(Trouble.SUPERSEDED, "run run-2"))
    paper.events.append(newer)
    assert next_move(paper.run, ROTATION, replace(here, interrupted=False)) == End()


@pytest.mark.parametrize("plan", [ROTATION, REVOCATION], ids=["rotation", "revocation"])
def test_of_two_runs_the_one_that_does_not_get_the_queen_stops(plan: Plan) -> None:
    paper = Paper(fleet(3), plan).begin()
    held = Cause(Trouble.HOST_BUSY, "run run-2")

    def _outcome(host: HostRun, phase: Phase) -> Outcome:
        if phase is Phase.CLAIM:
            return Outcome(host.name, phase, Status.FAILED, State.FAILED, NOW, held)
        return Paper._outcome(paper, host, phase)

    paper._outcome = _outcome  # type: ignore[method-assign]  # this fleet's hosts are another run's
    paper.goes_on()
    assert paper.phases == [Phase.LOOK, Phase.CLAIM]


def test_a_journal_from_before_the_run_was_finished_takes_nobody_back() -> None:
    whole = Paper(fleet(3), ROTATION).begin()
    whole.goes_on()
    first_turn = next(at for at, event in enumerate(whole.events) if getattr(event, "phase", None) is Phase.QUEEN)
    later = whole.resumed(whole.events[:first_turn], replace(ROTATION, back=True))
    finished = {name: seen(NEW) for name in later.names}

    def _outcome(host: HostRun, phase: Phase) -> Outcome:
        return Outcome(host.name, phase, Status.OK, State.UNKNOWN, NOW, None, finished[host.name])

    later._outcome = _outcome  # type: ignore[method-assign]  # the fleet went on without this journal
    later.goes_on()
    assert later.moves[-1] == End(later.names)
    assert Phase.ROLLBACK not in later.phases
