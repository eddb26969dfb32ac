"""The bastion's clock, and a point in time by it. Pure."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Moment:
    """`at` on the wall clock (epoch), `clock` on the bastion's monotonic one. Seconds."""

    at: float
    clock: float


class Clock(Protocol):
    """The source of time: the `time` module, or a test's clock."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...
