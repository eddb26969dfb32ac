"""Records each event in the journal, applies it to the run in memory, then tells who listens.

Events of hosts that are at work at once are recorded at once: an event that comes while the disk is busy waits, and is
written with all others that wait. A disk takes a few hundred events a second one by one; a thousand hosts have more.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hivekeys.journal.clock import Clock, Moment
from hivekeys.journal.events import Event
from hivekeys.journal.fold import advance
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run

Record = Callable[[Sequence[Event]], None]  # all of them are on the disk when it returns, in this order
Listen = Callable[[Event, Run], None]  # an event that is on the disk, and the run that has it


@dataclass(frozen=True)
class Broadcast:
    """Takes a run's events: they are written down, then the run has them, and then whoever listens gets each."""

    write: Record
    listen: Listen

    def __call__(self, events: Sequence[Event]) -> None:
        """Writes events down."""
        self.write(events)


class Recorder:
    """The run so far. An event that cannot be recorded raises, and does not happen; nothing happens after it."""

    def __init__(self, record: Record, clock: Clock = time, past: Run | None = None) -> None:
        self.clock = clock
        self.run = past or Run()
        self.listeners: list[Listen] = [record.listen] if isinstance(record, Broadcast) else []
        self._record = record
        self._mutex = threading.Lock()  # of the next two
        self._waiting: list[Event] = []
        self._numbered = 0
        self._writing = threading.Lock()  # the thread that has it writes for all that wait
        self._written = 0
        self._broken: BaseException | None = None

    def record(self, *events: Event) -> None:
        """Records events, from any thread; returns when that is done."""
        with self._mutex:
            self._waiting.extend(events)
            self._numbered += len(events)
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
            for event in events:
                self.apply(event)
        except BaseException as error:
            self._broken = error
            raise
        self._written += len(events)

    def apply(self, event: Event) -> None:
        """An event that is written down has happened."""
        self.run = advance(self.run, event)
        for listen in self.listeners:
            listen(event, self.run)

    def host(self, name: str) -> HostRun:
        """One host's part in the run so far."""
        return self.run.hosts[name]

    def now(self) -> Moment:
        """The time now, on both clocks."""
        return Moment(self.clock.time(), self.clock.monotonic())
