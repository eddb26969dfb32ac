"""A bastion's clock, which moves only when somebody sleeps."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .fleet import InProcessFleet


class OwnClock:
    """Time that passes only when somebody sleeps, on a bastion and on no host."""

    def __init__(self) -> None:
        self._now = 0.0
        self.ahead = 0.0  # seconds that the wall clock is ahead of what it was
        self._mutex = threading.Lock()

    def time(self) -> float:
        return 1_700_000_000.0 + self.ahead + self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float, /) -> None:
        with self._mutex:
            self._now += seconds


class SharedClock(OwnClock):
    """While the bastion waits, time passes on the hosts too."""

    def __init__(self, fleet: "InProcessFleet") -> None:
        super().__init__()
        self._fleet = fleet

    def sleep(self, seconds: float, /) -> None:
        super().sleep(seconds)
        self._fleet.advance(seconds)
