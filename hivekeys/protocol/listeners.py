"""Sockets and processes on a host that may accept an old token, and what they answered. Frozen values. Pure.

Promise 14: "refused" is said only of places that were asked with that token; what could not be asked is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.service import Service


@dataclass(frozen=True)
class Listener:
    """A TCP socket that listens, the process that holds it, and its answer to the old tokens.

    `answer`: refuses, takes, open (no token is needed), unasked (`why`), closed (no process listens).
    """

    address: str
    port: int
    pid: int
    comm: str
    answer: str
    path: str = ""
    why: str = ""

    def __str__(self) -> str:
        """Where it is, and whose."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        where = f"{address}:{self.port}" if self.port else "the host"
        return f"{where} ({self.comm}, pid {self.pid})" if self.pid else where


@dataclass(frozen=True)
class Survivor:
    """A process older than the service's, its age in seconds; `takes`: it was tried, and accepts an old token."""

    pid: int
    comm: str
    age: float
    ports: tuple[int, ...] = ()
    takes: bool = False

    def __str__(self) -> str:
        """Which process, how old, where it listens."""
        ports = f", port {' '.join(map(str, self.ports))}" if self.ports else ""
        return f"{self.comm} (pid {self.pid}, {self.age:.0f} s old{ports})"


@dataclass(frozen=True)
class Swept:
    """What every place on the host made of the old tokens (None: no copy was left to ask with), and who survived."""

    survivors: tuple[Survivor, ...]
    places: tuple[Listener, ...] | None = None


def still_trusted(
    places: Sequence[Listener] | None, survivors: Sequence[Survivor] | None, service: Service
) -> Cause | None:
    """What on the host still accepts an old token, or may and was not seen to refuse it; None if all refuse."""
    if survivors:
        does = "accepts the old token" if survivors[0].takes else "is not shown to refuse the old token"
        return Cause(Trouble.SURVIVOR, f"{survivors[0]} {does}{_more(survivors, 'processes')}")
    for place in places or ():
        if place.answer == "takes":
            return Cause(Trouble.OLD_ACCEPTED, f"{place} accepts it at {place.path}")
    open_ = unasked(places, service)
    return Cause(Trouble.PLACE_UNASKED, f"{open_[0]}: {open_[0].why}{_more(open_, 'places')}") if open_ else None


def unasked(places: Sequence[Listener] | None, service: Service) -> list[Listener]:
    """The places that could not be asked, without those that take no token by the inventory."""
    return [place for place in places or () if place.answer == "unasked" and place.port not in service.tokenless]


def _more(found: Sequence[object], what: str) -> str:
    return f"; and {len(found) - 1} more {what}" if len(found) > 1 else ""
