"""Ends calls that have no time-out of their own: one thread for all lines.

A thread for each deadline would be simpler, and cost more than the request that it guards.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Deadline:
    until: float  # monotonic
    abort: Callable[[], None]


class Deadlines:
    """Safe for many threads. Its own begins with the first deadline, and stays."""

    def __init__(self) -> None:
        self._live: set[_Deadline] = set()
        self._changed = threading.Condition()
        self._wakes = -math.inf  # when the thread looks again; before it has begun, it need not be woken
        self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)

    @contextlib.contextmanager
    def watch(self, until: float, abort: Callable[[], None]) -> Iterator[None]:
        """Calls `abort`, from a thread of its own, if the block is still running at `until` (monotonic)."""
        deadline = _Deadline(until, abort)
        with self._changed:
            self._live.add(deadline)
            if self._thread.ident is None:
                self._thread.start()
            elif until < self._wakes:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._live.discard(deadline)

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in [deadline for deadline in self._live if deadline.until <= now]:
                    self._live.discard(deadline)
                    # It may wait for what it ends: that must not hold up the next one.
                    threading.Thread(target=deadline.abort, name="deadline", daemon=True).start()
                self._wakes = min((deadline.until for deadline in self._live), default=math.inf)
                self._changed.wait(None if self._wakes == math.inf else max(0.0, self._wakes - now))
