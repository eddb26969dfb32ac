"""Splits the time of a run into work, interruptions and waiting for the operator. Pure.

A sitting is from a start or a resume to the next one. Within it time is the bastion's monotonic clock's; between two,
which may be two boots of the machine, only the wall clock can tell. All times are seconds.
"""

from dataclasses import dataclass, replace

from hivekeys.journal.clock import Moment
from hivekeys.journal.events import OperatorAnswered, OperatorAsked


@dataclass(frozen=True)
class Times:
    """`elapsed`: since the run began, at its last event; `seconds`: of these at work. `offset` and `spent` are the same
    at the begin of this sitting, which was at `clock` (monotonic).
    """

    clock: float = 0.0
    offset: float = 0.0
    elapsed: float = 0.0
    spent: float = 0.0
    seconds: float = 0.0
    thought: float = 0.0  # seconds of this sitting that an operator took to answer
    asked: float | None = None  # since when the operator is being asked (monotonic)

    def place(self, clock: float) -> float:
        """Seconds since the run began at which that was, in this sitting."""
        return self.offset + max(0.0, clock - self.clock)

    def worked(self, clock: float) -> float:
        """Seconds at work until then, in all sittings; an operator's time to answer does not count."""
        until = clock if self.asked is None else min(clock, self.asked)
        return self.spent + max(0.0, until - self.clock - self.thought)

    def after(self, moment: Moment) -> "Times":
        """After an event at that moment of this sitting."""
        return replace(self, elapsed=self.place(moment.clock), seconds=self.worked(moment.clock))

    def at_question(self, event: OperatorAsked | OperatorAnswered) -> "Times":
        """After an operator was asked, or has answered."""
        now = event.when.clock
        if isinstance(event, OperatorAsked):
            return replace(self, asked=now)
        since = now if self.asked is None else self.asked
        return replace(self, asked=None, thought=self.thought + now - since)

    def resumed(self, moment: Moment, began: float) -> "Times":
        """At the begin of a new sitting; `began`: of the run, by the wall clock.

        A wall clock that was put back meanwhile must not turn time round.
        """
        offset = max(self.elapsed, moment.at - began)
        return Times(moment.clock, offset, offset, self.seconds, self.seconds)


BEGUN = Times()
