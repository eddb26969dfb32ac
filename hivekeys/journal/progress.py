"""The progress of a run for its live view: phases, hosts at work, failures, expected end.

`after_event` is the only way from events to what is drawn. Pure.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any

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
from hivekeys.journal.persistent import PersistentMap
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause


class Direction(Enum):
    """What a run does: it only looks, it brings a token, or it is rolled back."""

    LOOK = "look"
    FORWARD = "forward"
    BACK = "back"


@dataclass(frozen=True)
class PhaseProgress:
    """A phase that has begun, at `begun` on the bastion's monotonic clock; so many hosts have `failed` in it.

    `number`: which of all phases it is. `thought`: seconds since then that an operator took to answer. They count for
    no phase.
    """

    phase: Phase
    title: str
    hosts: tuple[str, ...]
    begun: float
    number: int = 0
    failed: int = 0
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
class HostProgress:
    """One host: what it is at work on, and what it failed of since it came through last.

    And the numbers of the last phases that it was asked, has answered and has failed in.
    """

    at_work: InFlight | None = None
    trouble: Cause | None = None
    asked: int = 0
    answered: int = 0
    failed: int = 0
    straggles: bool = False


IDLE = HostProgress()


@dataclass(frozen=True)
class Progress:
    """`width`: how many hosts may be at work at once; `begun`: how many phases have begun, in all attempts."""

    run: Run = field(default_factory=Run)
    direction: Direction = Direction.FORWARD
    width: int = 32
    phases: tuple[PhaseProgress, ...] = ()
    begun: int = 0
    hosts: PersistentMap[HostProgress] = field(default_factory=PersistentMap)
    is_over: bool = False

    @cached_property  # a picture asks more than once
    def in_flight(self) -> dict[str, InFlight]:
        """What hosts at work are at work on; the longest at it come first."""
        flights = {} if self.is_over else {name: host.at_work for name, host in self.hosts.items() if host.at_work}
        return dict(sorted(flights.items(), key=lambda item: item[1].since))

    @cached_property
    def troubles(self) -> dict[str, Cause]:
        """Why hosts failed that have not come through since."""
        return {name: host.trouble for name, host in self.hosts.items() if host.trouble}

    @cached_property
    def through(self) -> frozenset[str]:
        """The hosts that have answered in the last phase."""
        last = self.begun or None
        return frozenset(name for name, host in self.hosts.items() if host.asked == host.answered == last)

    @cached_property
    def stragglers(self) -> frozenset[str]:
        """Those that have not answered in an earlier one: the others went on without them."""
        return frozenset(name for name, host in self.hosts.items() if host.straggles)

    @property
    def brings_token(self) -> bool:
        """False for a look alone, and for upkeep."""
        return self.direction is not Direction.LOOK and self.run.brings_token

    @property
    def phase(self) -> PhaseProgress | None:
        """The phase that the run is in."""
        return self.phases[-1] if self.phases else None

    @cached_property
    def left(self) -> tuple[str, ...]:
        """The hosts of this phase that have not answered."""
        through = self.through
        return tuple(name for name in self.phase.hosts if name not in through) if self.phase else ()

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


def after_event(progress: Progress, event: Event, run: Run) -> Progress:
    """The progress after one more event; `run`: the run that has it."""
    progress = _having_thought(replace(progress, run=run), progress.run.times.thought)
    match event:
        case RunStarted() | Resumed():
            return replace(progress, phases=(), hosts=PersistentMap(dict.fromkeys(run.hosts, IDLE)), is_over=False)
        case Retried():
            return replace(progress, phases=())
        case PhaseStarted():
            return _in_phase(progress, event)
        case Intent():
            steps = " ".join(verb.value for verb in event.verbs).replace("_", " ")
            return _having(progress, event.host, at_work=InFlight(steps, event.when.clock))
        case Waiting():
            flight = InFlight(f"waits at most {event.seconds:.0f} s for {holder_of(event)}", event.when.clock)
            return _having(progress, event.host, at_work=flight)
        case Outcome():
            return _answered(progress, event)
        case Paused() | RunEnded():
            return replace(progress, is_over=True)
        case _:
            return progress


def _having(progress: Progress, name: str, **changes: Any) -> Progress:
    host = replace(progress.hosts.get(name, IDLE), **changes)
    return replace(progress, hosts=progress.hosts.having(name, host))


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
    current, number, straggling = progress.phase, progress.begun, set[str]()
    if current and (current.phase, current.title) == (event.phase, event.title):
        more = replace(current, hosts=tuple(dict.fromkeys((*current.hosts, *event.hosts))))
        phases = (*progress.phases[:-1], more)
    else:
        number += 1
        begun = PhaseProgress(event.phase, event.title or event.phase.value, event.hosts, event.when.clock, number)
        phases = (*progress.phases, begun)
        straggling = set(progress.left) - set(event.hosts)
    hosts = progress.hosts
    for name in straggling:
        hosts = hosts.having(name, replace(hosts[name], straggles=True))
    for name in event.hosts:
        hosts = hosts.having(name, replace(hosts.get(name, IDLE), asked=number, straggles=False))
    return replace(progress, phases=phases, begun=number, hosts=hosts)


def _answered(progress: Progress, outcome: Outcome) -> Progress:
    host, current, phases = progress.hosts.get(outcome.host, IDLE), progress.phase, progress.phases
    if current and current.phase is outcome.phase and host.asked == current.number:
        has_failed = outcome.status is not Status.OK
        if has_failed and host.failed != current.number:
            phases = (*phases[:-1], replace(current, failed=current.failed + 1))
        host = replace(host, answered=current.number, failed=current.number if has_failed else host.failed)
    trouble = outcome.cause or (None if outcome.state in TURNED else host.trouble)
    host = replace(host, trouble=trouble, at_work=None, straggles=False)
    return replace(progress, phases=phases, hosts=progress.hosts.having(outcome.host, host))


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
