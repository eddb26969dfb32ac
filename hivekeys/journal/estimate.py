"""Estimates how long a run will take, from the last runs or from what it must wait for. Pure.

All times are seconds at work; the time that an operator takes to answer does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.journal.events import (
    PASSES,
    TURNS,
    Approved,
    Event,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    Phase,
    PhaseStarted,
    Resumed,
    RunEnded,
    RunStarted,
)

ENOUGH = 3  # runs of the past that tell how long the next one takes


@dataclass(frozen=True)
class RunTimes:
    """Seconds that a run took for its waves, the number of waves, and seconds for the rest after the look."""

    waves: int
    turning: float
    rest: float

    def of(self, waves: int) -> float:
        """Seconds that so many waves would have taken."""
        return self.rest + self.turning / self.waves * waves


def run_times(events: Sequence[Event], task: str) -> RunTimes | None:
    """The pace of a run of this kind that came through in one sitting; None for any other."""
    events = [event for event in events if not isinstance(event, Approved)]  # it may be approved long afterwards
    begun, ended = events[:1], events[-1:]
    if not all(isinstance(event, RunStarted) and event.task == task for event in begun):
        return None
    if not all(isinstance(event, RunEnded) and event.code is ExitCode.DONE for event in ended):
        return None
    if any(isinstance(event, Resumed) for event in events):
        return None
    after = next((at for at, event in enumerate(events) if _begins(event, Phase.CLAIM)), len(events))
    spans = _turns(events[after:])
    if not spans:
        return None
    total = events[-1].when.clock - events[after].when.clock - _thought(events[after:])
    return RunTimes(len(spans), sum(spans), max(0.0, total - sum(spans)))


def likely(paces: Sequence[RunTimes], waves: int) -> float:
    """Seconds that the next run is likely to take: the median of these."""
    return median(pace.of(waves) for pace in paces)


def at_least(policy: Policy, waves: int, *, revokes: bool = False) -> float:
    """What a run waits for in any case: services must stay up, in each wave; in a revocation while caches expire."""
    return max(policy.stable_seconds, policy.revocation_recheck) if revokes else policy.stable_seconds * waves


def _begins(event: Event, *phases: Phase) -> bool:
    return isinstance(event, PhaseStarted) and event.phase in phases


def _turns(events: Sequence[Event]) -> list[float]:
    """Of each wave the seconds until the last of its hosts had answered."""
    spans: list[float] = []
    since, last = None, ""
    for event in events:
        if isinstance(event, PhaseStarted):
            goes_on = since is not None and event.title == last  # its hosts were turned, and are watched now
            since, last = since if goes_on else event.when.clock, event.title
            since = since if event.phase in (*TURNS, *PASSES) else None
            spans += [0.0] if since is not None and not goes_on else []
        elif isinstance(event, Outcome) and since is not None:
            spans[-1] = event.when.clock - since
    return spans


def _thought(events: Sequence[Event]) -> float:
    asked = sum(event.when.clock for event in events if isinstance(event, OperatorAsked))
    return sum(event.when.clock for event in events if isinstance(event, OperatorAnswered)) - asked
