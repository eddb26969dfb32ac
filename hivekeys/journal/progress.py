"""The progress of a run for its live view: phases, hosts at work, failures, expected end.

`heard` is the only way from events to what is drawn. Pure.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum

from hivekeys.journal.events import (
    ENDING,
    PASSES,
    PREPARING,
    TURNED,
    TURNS,
    Event,
    Intent,
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
    Waiting,
)
from hivekeys.journal.fold import advance
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause


class Direction(Enum):
    """What a run does: it only looks, it brings a token, or it is rolled back."""

    LOOK = "look"
    FORWARD = "forward"
    BACK = "back"


@dataclass(frozen=True)
class PhaseProgress:
    """A phase that has begun, at `begun` on the bastion's monotonic clock; `failed` are the hosts that failed.

    `thought`: seconds since then that an operator took to answer. They count for no phase.
    """

    phase: Phase
    title: str
    hosts: tuple[str, ...]
    begun: float
    failed: frozenset[str] = frozenset()
    thought: float = 0.0

    def took(self, until: float) -> float:
        """Seconds of the phase until then (monotonic)."""
        return until - self.begun - self.thought


@dataclass(frozen=True)
class InFlight:
    """What a host was sent, and when (monotonic)."""

    steps: str
    since: float


@dataclass(frozen=True)
class Progress:
    """`width`: how many hosts may be at work at once. `through` are the hosts that have answered in the last phase.

    `stragglers` are those that have not answered in an earlier one: the others went on without them.
    """

    run: Run = field(default_factory=Run)
    direction: Direction = Direction.FORWARD
    width: int = 32
    phases: tuple[PhaseProgress, ...] = ()
    through: frozenset[str] = frozenset()
    stragglers: frozenset[str] = frozenset()
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    troubles: dict[str, Cause] = field(default_factory=dict)  # of hosts that have not come through since
    is_over: bool = False

    @property
    def brings_token(self) -> bool:
        """False for a look alone, and for upkeep."""
        return self.direction is not Direction.LOOK and self.run.brings_token

    @property
    def phase(self) -> PhaseProgress | None:
        """The phase that the run is in."""
        return self.phases[-1] if self.phases else None

    @property
    def left(self) -> tuple[str, ...]:
        """The hosts of this phase that have not answered."""
        return tuple(name for name in self.phase.hosts if name not in self.through) if self.phase else ()

    @property
    def remaining(self) -> tuple[tuple[Phase, str, int], ...]:
        """The phases to come, as far as they are known: phase, title, number of hosts."""
        if self.run.code is not None or not self.run.brings_token:
            return ()
        if self.direction is not Direction.FORWARD or self.run.stopped:
            return self._ahead_of_no_change()
        course = tuple(_course(self.run))
        here = self.phase.title if self.phase else ""
        titles = [title for _, title, _ in course]
        return course[titles.index(here) + 1 :] if here in titles else course

    def _ahead_of_no_change(self) -> tuple[tuple[Phase, str, int], ...]:
        if self.direction is Direction.LOOK or self.run.rolled_back:
            return ()
        hosts = self.run.hosts.values()
        used = sum(self.run.passes and host.now == self.run.want for host in hosts)
        first = ((Phase.REUSE, "reuse", used),) if used else ()
        return (*first, (Phase.ROLLBACK, "rollback", sum(host.touched for host in hosts)))


def after_event(progress: Progress, event: Event) -> Progress:
    """The progress after one more event."""
    before = progress.run.times.thought
    progress = _having_thought(replace(progress, run=advance(progress.run, event)), before)
    match event:
        case RunStarted() | Resumed():
            return replace(progress, phases=(), stragglers=frozenset(), troubles={}, in_flight={}, is_over=False)
        case Retried():
            return replace(progress, phases=())
        case PhaseStarted():
            return _in_phase(progress, event)
        case Intent():
            steps = " ".join(verb.value for verb in event.verbs).replace("_", " ")
            return replace(progress, in_flight={**progress.in_flight, event.host: InFlight(steps, event.when.clock)})
        case Waiting():
            flight = InFlight(f"waits at most {event.seconds:.0f} s for {holder_of(event)}", event.when.clock)
            return replace(progress, in_flight={**progress.in_flight, event.host: flight})
        case Outcome():
            return _answered(progress, event)
        case Paused() | RunEnded():
            return replace(progress, in_flight={}, is_over=True)
        case _:
            return progress


def _having_thought(progress: Progress, before: float) -> Progress:
    """The progress without the seconds that the operator took to answer."""
    more = progress.run.times.thought - before
    if progress.phase is None or more <= 0:
        return progress
    return replace(
        progress, phases=(*progress.phases[:-1], replace(progress.phase, thought=progress.phase.thought + more))
    )


def holder_of(event: Waiting) -> str:
    """The run whose lock is waited for, without its time: "run R of ann@bastion"."""
    return event.cause.detail.partition(", at work")[0]


def _in_phase(progress: Progress, event: PhaseStarted) -> Progress:
    """A phase that continues with other hosts counts as one: the first host is claimed alone."""
    current = progress.phase
    if current and (current.phase, current.title) == (event.phase, event.title):
        more = replace(current, hosts=tuple(dict.fromkeys((*current.hosts, *event.hosts))))
        return replace(progress, phases=(*progress.phases[:-1], more))
    begun = PhaseProgress(event.phase, event.title or event.phase.value, event.hosts, event.when.clock)
    stragglers = progress.stragglers.union(progress.left).difference(event.hosts)
    return replace(progress, phases=(*progress.phases, begun), through=frozenset(), stragglers=stragglers)


def _answered(progress: Progress, outcome: Outcome) -> Progress:
    name, current, phases, through = outcome.host, progress.phase, progress.phases, progress.through
    if current and current.phase is outcome.phase and name in current.hosts:
        through |= {name}
        if outcome.status is not Status.OK:
            phases = (*phases[:-1], replace(current, failed=current.failed | {name}))
    troubles = {other: cause for other, cause in progress.troubles.items() if other != name}
    cause = outcome.cause or (None if outcome.state in TURNED else progress.troubles.get(name))
    if cause:
        troubles[name] = cause
    in_flight = {other: flight for other, flight in progress.in_flight.items() if other != name}
    stragglers = progress.stragglers - {name}
    return replace(
        progress, phases=phases, through=through, stragglers=stragglers, troubles=troubles, in_flight=in_flight
    )


def _course(run: Run) -> Iterator[tuple[Phase, str, int]]:
    """All phases of a run that goes well, in order."""
    total = sum(len(names) for _, names in run.waves)
    yield from ((phase, phase.value, total) for phase in PREPARING)
    if not run.passes:
        yield from _waves(run)
        yield from ((phase, phase.value, total) for phase in ENDING)
        return
    for phase in PASSES:
        planned = [wave for wave in _waves(run) if phase is Phase.USE or wave[0] is not Phase.CLIENTS]
        yield from ((phase, f"{phase.value}, {title}", hosts) for _, title, hosts in planned)
        settled = sum(hosts for turn, _, hosts in _waves(run) if phase is not Phase.ACCEPT or turn is not Phase.CLIENTS)
        yield (Phase.SETTLE, "settle", settled) if phase is Phase.USE else (phase, f"{phase.value}, settled", settled)
    yield Phase.RETIRE, Phase.RETIRE.value, total


def _waves(run: Run) -> Iterator[tuple[Phase, str, int]]:
    number, waves = 0, sum(phase is Phase.WAVE for phase, _ in run.waves)
    for phase, names in run.waves:
        number += phase is Phase.WAVE
        yield phase, f"wave {number} of {waves}" if phase is Phase.WAVE else phase.value, len(names)


def counts(progress: Progress) -> dict[str, int]:
    """So many hosts in each state; those that wait for their turn are "waiting".

    A run that brings no token changes no state: its hosts are "through" or not.
    """
    if not progress.brings_token:
        failed = len(progress.troubles.keys() & progress.through)
        return {"through": len(progress.through) - failed, "waiting": len(progress.left), "failed": failed}
    found: dict[str, int] = defaultdict(int, dict.fromkeys(("proven", "waiting", "failed", "unreachable"), 0))
    left_out = set(progress.run.left_out)
    for name, host in progress.run.hosts.items():
        waits = host.state is State.UNCHANGED and not progress.is_over
        found["left out" if name in left_out and waits else "waiting" if waits else host.state.value] += 1
    return dict(found)


def to_go(progress: Progress, clock: float) -> float | None:
    """Seconds until the end, by the pace of the waves so far; None until the first is over, and on the way back.

    None also where a revocation will try hosts again: how long they will take is not known.
    """
    turned = [
        (current, after.begun)
        for current, after in zip(progress.phases, progress.phases[1:], strict=False)
        if current.phase in (*TURNS, *PASSES)
    ]
    tries = progress.run.is_revocation and (progress.stragglers or progress.troubles)
    if not turned or progress.is_over or progress.run.stopped or tries or progress.phase is None:
        return None
    rounds = sum(_rounds(len(current.hosts), progress.width) for current, _ in turned)
    pace = sum(current.took(end) for current, end in turned) / rounds

    def seconds(phase: Phase, hosts: int) -> float:
        """Seconds that a phase to come will take: the last look like the first, and retiring like staging."""
        like = {Phase.SETTLE: Phase.LOOK, Phase.RETIRE: Phase.STAGE}.get(phase)
        known = [
            current.took(after.begun)
            for current, after in zip(progress.phases, progress.phases[1:], strict=False)
            if current.phase is like
        ]
        return known[-1] if known else pace * _rounds(hosts, progress.width)

    here = seconds(progress.phase.phase, len(progress.phase.hosts)) - in_phase(progress, clock)
    return max(0.0, here) + sum(seconds(phase, hosts) for phase, _, hosts in progress.remaining)


def in_phase(progress: Progress, clock: float) -> float:
    """Seconds that the phase has lasted until then (monotonic), without those in which an operator thinks."""
    asked = progress.run.times.asked
    return progress.phase.took(clock if asked is None else min(clock, asked)) if progress.phase else 0.0


def _rounds(hosts: int, width: int) -> int:
    """How many rounds a wave needs: it takes longer once it has more hosts than may be at work at once."""
    return max(1, math.ceil(hosts / width))
