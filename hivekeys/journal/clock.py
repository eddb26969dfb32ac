"""When something happened."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """`at` on the wall clock (epoch), `clock` on the bastion's monotonic one. Seconds."""

    at: float
    clock: float
