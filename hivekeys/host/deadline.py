"""How long a request may take on a host, and whether its bastion still waits for the answer.

Runs ON a host, in one text with agent.py.
"""

import threading

from hivekeys.host.system import Refusal, System

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Optional


class Deadline:
    """The deadline of the request in hand, and the lease of the line that it came on."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.gone = threading.Event()  # no bastion waits for an answer any more: begin nothing, wait for nothing
        self.farewell = "no bastion waits for the answer"  # why it leaves
        self.lease = float("inf")  # until when our bastion was heard to be there (serving.py), on the monotonic clock
        self.end = 0.0
        self.called_off = False  # the operator ended the run: no wait for the end of work is worth going on with

    def left(self, most: "Optional[float]" = None) -> float:
        """Seconds until this request's deadline, at most `most`, never negative."""
        rest = max(self.end - self.system.monotonic(), 0.0)
        return rest if most is None else min(rest, most)

    def is_alone(self) -> bool:
        """True once no bastion waits for an answer: the line has ended, or its lease has.

        The clock is asked, and no timer: it has gone on while this process was frozen.
        """
        return self.gone.is_set() or self.system.monotonic() >= self.lease

    def go_on(self) -> None:
        """Refuses when no bastion waits for the outcome any more: called before each step, write and command."""
        if self.is_alone():
            raise Refusal("line-broken", self.farewell)

    def pause(self, seconds: float) -> None:
        """Sleeps, unless no bastion waits for the outcome any more."""
        self.go_on()
        self.system.sleep(seconds)
