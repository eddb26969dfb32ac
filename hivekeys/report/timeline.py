"""When each host was in which phase. Pure.

All times are seconds since the run began. Within a sitting (from a start or a resume to the next one) they follow the
bastion's monotonic clock; between two sittings, which may be two boots of the machine, only the wall clock can tell.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from hivekeys.journal.downtime import moments
from hivekeys.journal.events import (
    Approved,
    Event,
    FellBack,
    Intent,
    OperatorAnswered,
    Outcome,
    OverlapBegan,
    Paused,
    Phase,
    PhaseStarted,
    Resumed,
    Retried,
    RunEnded,
    RunStarted,
    Status,
    Stopped,
    Waiting,
)
from hivekeys.journal.fold import fold
from hivekeys.journal.run import Run
from hivekeys.journal.sittings import Times
from hivekeys.report.words import stop_line
from hivekeys.text.names import fold_names


@dataclass(frozen=True)
class Span:
    """From `begin` to `end`."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class Work:
    """One host in one phase. `status` is None when the run was cut off before the host answered."""

    phase: Phase
    span: Span
    status: Status | None
    down: Span | None = None  # its service was being restarted: from the stop until it was healthy


@dataclass(frozen=True)
class Band:
    """One phase of the run, from its start to the last answer in it."""

    phase: Phase
    title: str
    span: Span
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """Something that happened to the run as a whole, in words."""

    at: float
    what: str


@dataclass(frozen=True)
class Timeline:
    """Where the time of a run went."""

    seconds: float = 0.0
    bands: tuple[Band, ...] = ()
    work: dict[str, tuple[Work, ...]] = field(default_factory=dict)
    gaps: dict[str, tuple[Span, ...]] = field(default_factory=dict)  # of clients between this host and the queen
    turns: tuple[Turn, ...] = ()

    def idle(self, longest: float) -> tuple[Span, ...]:
        """Spans longer than that in which no host had anything to do: an operator thought, a pause, the run was cut."""
        busy = sorted((work.span for works in self.work.values() for work in works), key=lambda span: span.begin)
        waits, until = [], 0.0
        for span in (*busy, Span(self.seconds, self.seconds)):
            if span.begin - until > longest:
                waits.append(Span(until, span.begin))
            until = max(until, span.end)
        return tuple(waits)


def timeline(events: Sequence[Event]) -> Timeline:
    """The timeline of a run, finished or not."""
    drawing = _Drawing()
    for event in events:
        if not (isinstance(event, Approved) and event.afterwards):
            drawing.add(event)
    return drawing.done(fold(events))


class _Drawing:
    """The events so far."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._times, self._now = Times(), 0.0
        self._bands: list[Band] = []
        self._work: dict[str, list[Work]] = defaultdict(list)
        self._begun: dict[str, tuple[Phase, float]] = {}  # hosts that were sent something and have not answered
        self._turns: list[Turn] = []

    def add(self, event: Event) -> None:
        at = self._place(event)
        match event:
            case PhaseStarted():
                self._bands.append(Band(event.phase, event.title or event.phase.value, Span(at, at), event.hosts))
            case Intent():
                self._begun[event.host] = (event.phase, at)
            case Outcome():
                self._answered(event, at)
            case _:
                self._turns += [Turn(at, words) for words in _turn(event)]
        self._now = max(self._now, at)

    def done(self, run: Run) -> Timeline:
        self._cut_off(self._now)
        found = ((name, run.gap(host)) for name, host in run.hosts.items())
        gaps = {name: tuple(Span(*span) for span in gap.spans) for name, gap in found if gap and gap.spans}
        work = {name: tuple(found) for name, found in self._work.items()}
        return Timeline(self._now, tuple(self._bands), work, gaps, tuple(self._turns))

    def _place(self, event: Event) -> float:
        """Seconds since the run began."""
        if self._began is None:
            self._began, self._times = event.when.at, Times(event.when.clock)
        elif isinstance(event, Resumed):
            self._cut_off(self._now)
            self._times = self._times.resumed(event.when, self._began)
        self._times = self._times.after(event.when)
        return self._times.elapsed

    def _answered(self, outcome: Outcome, at: float) -> None:
        phase, begin = self._begun.pop(outcome.host, (None, at))
        if phase is not outcome.phase:  # it was only looked at: no intent is written for that
            of_phase = (band for band in reversed(self._bands) if band.phase is outcome.phase)
            floor = next((band.span.begin for band in of_phase if outcome.host in band.hosts), 0.0)
            worked = sum(step.seconds for step in outcome.steps)
            silent = outcome.status is not Status.OK and not outcome.steps
            begin = floor if silent else max(floor, at - worked)
        left, back, _ = moments(outcome)
        down = None
        if left is not None and back is not None:
            down = Span(self._times.place(left), self._times.place(back))
        self._work[outcome.host].append(Work(outcome.phase, Span(begin, at), outcome.status, down))
        if self._bands and self._bands[-1].phase is outcome.phase:
            self._bands[-1] = replace(self._bands[-1], span=Span(self._bands[-1].span.begin, at))

    def _cut_off(self, at: float) -> None:
        """Ends the work of hosts that were sent something and did not answer: they never will."""
        for host, (phase, begin) in self._begun.items():
            self._work[host].append(Work(phase, Span(begin, at), None))
        self._begun.clear()


def _turn(event: Event) -> Iterator[str]:
    """What turned the run, in words."""
    match event:
        case RunStarted() | Resumed() | Approved():
            yield _by(event)
        case Retried():
            yield f"attempt {event.attempt}: {fold_names(event.hosts)}"
        case Waiting():
            yield f"waiting for the lock of {event.host}: {event.cause.detail}"
        case OverlapBegan() | FellBack():
            yield _passes(event)
        case Stopped():
            yield stop_line(event)
        case Paused():
            yield "interrupted"
        case OperatorAnswered():
            yield f"the operator was asked, and said {'yes' if event.yes else 'no'}"
        case RunEnded():
            yield f"ended, exit code {int(event.code)}"


def _by(event: RunStarted | Resumed | Approved) -> str:
    """Who begins, goes on, or has approved it."""
    if isinstance(event, Approved):
        return f"approved by {', '.join(event.persons)}"
    return f"{'begun' if isinstance(event, RunStarted) else 'resumed'} by {event.who}"


def _passes(event: OverlapBegan | FellBack) -> str:
    """What became of the passes."""
    if isinstance(event, FellBack):
        return f"one token at a time: {event.why}"
    return "both tokens are accepted: clients have time to change"


def merged(spans: Iterable[Span], apart: float = 0.0) -> list[Span]:
    """The spans joined where they touch, or are less than that apart."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.begin, one.end)):
        if joined and span.begin - joined[-1].end <= apart:
            joined[-1] = Span(joined[-1].begin, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined
