"""Connections that wait for their hosts' turns. None waits for long: sshd closes it after LoginGraceTime.

And no address has two: many names of one address would use up its MaxStartups.
"""

import socket
import threading
import time
from dataclasses import dataclass

from hivekeys.protocol.causes import Cause
from hivekeys.ssh.addresses import Address
from hivekeys.ssh.settings import Settings

STANDS = 20.0  # seconds; LoginGraceTime is 120 unless it is set, and 30 on hosts that are hardened

Key = tuple[str, Settings]  # for whom, and by which settings
Place = tuple[Address, ...]


@dataclass(frozen=True)
class _Entry:
    outcome: socket.socket | Cause
    place: Place
    until: float  # monotonic

    def close(self) -> None:
        if isinstance(self.outcome, socket.socket):
            self.outcome.close()


class Standing:
    """What connecting has come to, until it is taken. Safe for many threads."""

    def __init__(self, seconds: float = STANDS) -> None:
        self._seconds = seconds
        self._entries: dict[Key, _Entry] = {}  # the oldest first
        self._places: set[Place] = set()
        self._mutex = threading.Lock()
        self._is_over = False

    def put(self, key: Key, outcome: socket.socket | Cause, place: Place) -> None:
        """The connection, or why there is none; instead of an earlier one for the same host."""
        entry = _Entry(outcome, place, time.monotonic() + self._seconds)
        with self._mutex:
            before = self._pop(key)
            if self._is_over:
                before = entry
            else:
                self._entries[key] = entry
                if isinstance(outcome, socket.socket):
                    self._places.add(place)
        if before:
            before.close()

    def take(self, key: Key) -> socket.socket | Cause | None:
        """What is there for this host; None if nothing is, or if the host has closed it meanwhile."""
        with self._mutex:
            entry = self._pop(key)
        if entry is None or entry.until <= time.monotonic():
            usable = False
        else:
            usable = not (isinstance(entry.outcome, socket.socket) and _is_closed(entry.outcome))
        if entry and not usable:
            entry.close()
        return entry.outcome if entry and usable else None

    def has(self, place: Place) -> bool:
        """True while a connection to these addresses waits to be taken."""
        with self._mutex:
            return place in self._places

    def expire(self) -> float | None:
        """Closes what has waited for too long; when (monotonic) the next will have, if there is one."""
        now = time.monotonic()
        while True:
            with self._mutex:
                key = next(iter(self._entries), None)
                if key is None or (until := self._entries[key].until) > now:
                    return None if key is None else until
                entry = self._pop(key)
            if entry:
                entry.close()

    def close(self) -> None:
        """Closes all, and all that come yet."""
        with self._mutex:
            self._is_over = True
            entries, self._entries = list(self._entries.values()), {}
            self._places.clear()
        for entry in entries:
            entry.close()

    def _pop(self, key: Key) -> _Entry | None:
        entry = self._entries.pop(key, None)
        if entry:
            self._places.discard(entry.place)
        return entry


def _is_closed(plug: socket.socket) -> bool:
    """True when the host has hung up: its time for a login was over, or it had too many of them."""
    try:
        return plug.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
