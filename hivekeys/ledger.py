"""What a run knows of itself while it goes on: every event is recorded first, then counted."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from hivekeys.model import Event
from hivekeys.moment import Moment
from hivekeys.run import HostRun, Run, advance

Record = Callable[[Event], None]


class Clock(Protocol):
    """Where time comes from: the `time` module, or a test's own."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


class Ledger:
    """The run so far. What cannot be recorded raises, and does not happen: nor does anything after it."""

    def __init__(self, record: Record, clock: Clock = time, past: Run | None = None) -> None:
        self.clock = clock
        self.run = past or Run()
        self._record = record
        self._mutex = threading.Lock()
        self._broken: BaseException | None = None

    def tell(self, event: Event) -> None:
        """Records an event, from any thread."""
        with self._mutex:
            if self._broken:
                raise self._broken  # hosts that were waiting for their turn must not begin behind a gap in the record
            try:
                self._record(event)
            except BaseException as error:
                self._broken = error
                raise
            self.run = advance(self.run, event)

    def host(self, name: str) -> HostRun:
        """One host's part in the run so far."""
        return self.run.hosts[name]

    def now(self) -> Moment:
        """This moment on both clocks."""
        return Moment(self.clock.time(), self.clock.monotonic())
