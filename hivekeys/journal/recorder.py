"""Records each event in the journal, then applies it to the run in memory.

Events of hosts that are at work at once are recorded at once: an event that comes while the disk is busy waits, and is
written with all others that wait. A disk takes a few hundred events a second one by one; a thousand hosts have more.
"""

import threading
import time
from collections.abc import Callable, Sequence

from hivekeys.journal.clock import Clock, Moment
from hivekeys.journal.events import Event
from hivekeys.journal.fold import advance
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run

Record = Callable[[Sequence[Event]], None]  # all of them are on the disk when it returns, in this order


class Recorder:
    """The run so far. An event that cannot be recorded raises, and does not happen; nothing happens after it."""

    def __init__(self, record: Record, clock: Clock = time, past: Run | None = None) -> None:
        self.clock = clock
        self.run = past or Run()
        self._record = record
        self._mutex = threading.Lock()  # of the next two
        self._waiting: list[Event] = []
        self._numbered = 0
        self._writing = threading.Lock()  # the thread that has it writes for all that wait
        self._written = 0
        self._broken: BaseException | None = None

    def record(self, event: Event) -> None:
        """Records an event, from any thread; returns when that is done."""
        with self._mutex:
            self._waiting.append(event)
            self._numbered += 1
            number = self._numbered
        with self._writing:
            if self._written < number:
                self._write()

    def _write(self) -> None:
        if self._broken:
            raise self._broken  # hosts that were waiting for their turn must not begin behind a gap in the record
        with self._mutex:
            events, self._waiting = self._waiting, []
        try:
            self._record(events)
        except BaseException as error:
            self._broken = error
            raise
        for event in events:
            self.run = advance(self.run, event)
        self._written += len(events)

    def host(self, name: str) -> HostRun:
        """One host's part in the run so far."""
        return self.run.hosts[name]

    def now(self) -> Moment:
        """The time now, on both clocks."""
        return Moment(self.clock.time(), self.clock.monotonic())
