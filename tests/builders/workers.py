"""Workers in threads of this process, each at the other end of a real socket pair."""

import contextlib
import socket
import threading
from collections.abc import Sequence

from hivekeys.fleet import Fleet, Host
from hivekeys.protocol.causes import Cause
from hivekeys.rotation.shards.link import Link, LinkLostError
from hivekeys.rotation.shards.messages import Begin
from hivekeys.rotation.shards.remote import Beside, RemoteShard
from hivekeys.rotation.shards.worker import Worker
from hivekeys.ssh.line import Dialer, Line
from tests.inprocess import KEY, InProcessDialer, InProcessFleet, InProcessLine, OwnClock


class _Dialer(InProcessDialer):
    """Knows its lines, which end when the worker's process does."""

    def __init__(self, fleet: InProcessFleet) -> None:
        super().__init__(fleet)
        self.lines: list[Line] = []

    def dial(self, host: Host) -> InProcessLine | Cause:
        line = super().dial(host)
        if isinstance(line, InProcessLine):
            self.lines.append(line)
        return line


class Workers:
    """So many workers for some hosts of a fleet. `started` counts also those that took the place of a dead one."""

    def __init__(
        self, simulated: InProcessFleet, fleet: Fleet, hosts: Sequence[Host], clock: OwnClock, count: int
    ) -> None:
        self._simulated = simulated
        self._clock = clock
        self._ends: list[Link] = []
        parts = [hosts[number::count] for number in range(count)]
        self.shards = [RemoteShard(fleet, part, self._start, Beside(key=KEY)) for part in parts if part]

    @property
    def started(self) -> int:
        """How many have been started so far."""
        return len(self._ends)

    def kill(self, number: int) -> None:
        """Ends the worker that was started so many others after the first."""
        self._ends[number].close()

    def _start(self) -> Link:
        ours, theirs = socket.socketpair()
        link, dialer = Link(theirs), _Dialer(self._simulated)
        self._ends.append(link)

        def dialer_of(_: Begin) -> Dialer:
            return dialer

        def serve() -> None:
            with contextlib.suppress(LinkLostError):
                Worker(link, dialer_of, self._clock).serve()
            for line in dialer.lines:
                line.close()
            link.close()

        threading.Thread(target=serve, name="worker", daemon=True).start()
        return Link(ours)
