"""Measures how long each host still accepted a leaked token after the revocation began. Pure."""

import math
from dataclasses import dataclass
from statistics import median

from hivekeys.journal.events import State
from hivekeys.journal.hostrun import is_double
from hivekeys.journal.run import Run


@dataclass(frozen=True)
class Exposure:
    """`closed`: seconds until a host was seen to refuse every old token; all others are in `fenced` or `open`."""

    closed: dict[str, float]
    fenced: tuple[str, ...]  # their services were stopped: they accept no call
    open: tuple[str, ...]  # as far as is known, they still accept it

    @property
    def median(self) -> float | None:
        """Seconds; None while no host refuses it."""
        return median(self.closed.values()) if self.closed else None

    @property
    def p95(self) -> float | None:
        """Seconds within which 95 of a hundred of the closed hosts refused it (nearest rank)."""
        ranked = sorted(self.closed.values())
        return ranked[math.ceil(0.95 * len(ranked)) - 1] if ranked else None

    @property
    def longest(self) -> float | None:
        """Seconds until the last of the closed hosts refused it."""
        return max(self.closed.values(), default=None)


def exposure_of(run: Run) -> Exposure:
    """The exposure of every host of a run that accepts tokens, by what the hosts showed."""
    hosts = run.services
    believed = [host for host in run.counted if not is_double(host)]  # what an excluded host showed is no evidence
    refused = {host.name: host.refused for host in believed if host.refused is not None}
    closed = {name: max(0.0, since - run.started) for name, since in refused.items()}
    rest = [host for host in hosts if host.name not in closed]
    fenced = tuple(host.name for host in rest if host.state is State.FENCED)
    return Exposure(closed, fenced, tuple(host.name for host in rest if host.state is not State.FENCED))
