"""Looks up where hosts are, several at once; a host whose name is not answered holds up no other.

The resolver and `ssh -G` know no deadline that suits everybody, so a thread that one host holds up is left to it.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.settings import Settings
from hivekeys.ssh.stream import watchdog

THREADS = 8  # at work at once, not counting those that are held up
HELD_UP = 0.25  # seconds after which a thread counts as held up, and another one goes on with the rest

Address = tuple[socket.AddressFamily, Any]  # the second part's shape depends on the family


def numeric(settings: Settings) -> list[Address] | Cause:
    """The address of a host that is named by it. Asks nobody."""
    return _look_up(settings, socket.AI_NUMERICHOST)


def resolved(settings: Settings) -> list[Address] | Cause:
    """The addresses of a host, for as long as the resolver takes."""
    return _look_up(settings, 0)


def unanswered(settings: Settings, timeout: float) -> Cause:
    """What it means when the resolver has not answered in time."""
    return Cause(Trouble.NAME_UNKNOWN, f"{settings.hostname}: no answer from the resolver within {timeout:g} s")


def _look_up(settings: Settings, flags: int) -> list[Address] | Cause:
    try:
        answers = socket.getaddrinfo(settings.hostname, settings.port, settings.family, socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA does not allow
        words = getattr(error, "strerror", None) or str(error)
        return Cause(Trouble.NAME_UNKNOWN, f"{settings.hostname}: {words}")
    return [(family, address) for family, _, _, _, address in answers]


class LookUps:
    """Jobs in the order in which they came, in threads that begin with the first and end with the last."""

    def __init__(self) -> None:
        self._jobs: deque[Callable[[], None]] = deque()
        self._at_work: set[threading.Thread] = set()
        self._mutex = threading.Lock()  # of both

    def add(self, job: Callable[[], None]) -> None:
        """Has a job done, which raises nothing; returns at once."""
        with self._mutex:
            self._jobs.append(job)
            self._begin()

    def clear(self) -> None:
        """Forgets what was not begun."""
        with self._mutex:
            self._jobs.clear()

    def _begin(self) -> None:
        if self._jobs and len(self._at_work) < THREADS:
            thread = threading.Thread(target=self._work, name="look up", daemon=True)
            self._at_work.add(thread)
            thread.start()

    def _work(self) -> None:
        this = threading.current_thread()
        while True:
            with self._mutex:
                if this not in self._at_work:
                    return
                if not self._jobs:
                    self._at_work.discard(this)
                    return
                job = self._jobs.popleft()
            with watchdog(time.monotonic() + HELD_UP, lambda: self._replace(this)):
                job()

    def _replace(self, thread: threading.Thread) -> None:
        """Another thread goes on with the rest; this one ends with its job."""
        with self._mutex:
            self._at_work.discard(thread)
            self._begin()
