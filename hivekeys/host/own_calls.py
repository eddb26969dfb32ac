"""Notes the agent's own calls to the service, so that the census can leave them out.

Runs ON a host, in one text with agent.py. The services write every call to their audit trail, ours too, and v0.1.0 does
not record from where (llama-orch.md, "Audit record"). So who proves a token notes time, token (fp6), path and status of
its calls; a record that one of them explains is counted as ours, and each explains one record alone: what somebody else
did is never explained away by more calls than we made.
"""

import bisect
import hashlib
import json
import os

from hivekeys.host.state import STATE, State
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

    from hivekeys.host.agent import Agent
    from hivekeys.host.tls import Tls

CALLS = "calls"  # in /var/lib/hivekeys
MOST_CALLS = 2000  # the newest, that are kept: a rotation makes some twenty on a host
LONGEST = 30.0  # seconds that a call can take
CLOCK = 1.0  # seconds by which a record's time may lie before or behind our call
SLACKS = (0.002, 0.02, 0.2, CLOCK)  # the first is by how much times of calls are rounded
TURNED_AWAY = (401, 403)
NOT_RECORDED = ("", "0.0.0.0", "::")  # noqa: S104  what services write for an address that they do not know


class OwnCalls:
    """The calls of one agent, and those that others on this host have noted before it."""

    def __init__(self, agent: "Agent") -> None:
        self.agent = agent
        # begun, answered (seconds since the epoch), fp6, path, status; and how many, of calls that are noted together
        self.fresh = []  # type: list[list[Any]]

    def get(
        self,
        seconds: float,
        port: int,
        path: str,
        token: "Optional[str]",
        trusted: "Optional[frozenset[int]]",
        address: str,
        tls: "Optional[Tls]",
    ) -> "tuple[int, str]":
        """`System.get` within so many seconds, or what is left of the request; noted."""
        left, began = self.agent.deadline.left(seconds), self.agent.system.now()
        status, why = self.agent.system.get(port, path, token, left, trusted, address, tls)
        self.note(began, path, token, status)
        return status, why

    def note(self, began: float, path: str, token: "Optional[str]", status: int) -> None:
        """Notes one call that was answered. An accepted call without a token does not concern tokens."""
        if token is None and status not in TURNED_AWAY:
            return
        fp6 = hashlib.sha256(token.encode("ascii")).hexdigest()[:6] if token is not None else ""
        if "front" in self.agent.service and status in TURNED_AWAY:
            fp6 = ""  # nginx knows only the tokens that it lets in
        self.fresh.append([round(began, 3), round(self.agent.system.now(), 3), fp6, path.partition("?")[0], status])
        del self.fresh[:-MOST_CALLS]

    def keep(self) -> None:
        """Writes them down, where this agent may write; a disk that is full costs a few rows in a report."""
        state = self.agent.state
        if not self.fresh or state.lock is None or self.agent.deadline.is_alone():
            return
        try:
            state.keep(CALLS, json.dumps((sound(state.content(CALLS)) + self.fresh)[-MOST_CALLS:]))
        except (Refusal, OSError):
            return
        self.fresh = []

    def of_machine(self) -> "list[list[Any]]":
        """All that were noted on this machine: services beside each other write one trail."""
        try:
            units = ["", *os.listdir("%s/%s/beside" % (self.agent.root.rstrip("/"), STATE))]
        except OSError:
            units = [""]
        found = list(self.fresh)
        for unit in units:
            state = State(self.agent.root, self.agent.system)
            state.unit = unit
            try:
                found += sound(state.content(CALLS))
            except (Refusal, OSError):
                continue
        return found


def sound(text: str) -> "list[list[Any]]":
    """The calls that a file holds; those that are none are left out."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return [call for call in found if is_call(call)] if isinstance(found, list) else []


def is_call(found: "Any") -> bool:
    """True for what `OwnCalls.note` makes."""
    if not isinstance(found, list) or len(found) not in (5, 6) or not is_number(found[5:]):
        return False
    times = all(isinstance(at, (int, float)) for at in found[:2])
    return times and all(isinstance(text, str) for text in found[2:4]) and isinstance(found[4], int)


def is_number(found: "list[Any]") -> bool:
    """True for how many calls are noted together; an empty list is one call."""
    return not found or (isinstance(found[0], int) and 0 < found[0] <= MOST_CALLS)


class Explained:
    """Which records of a trail are our own calls: each explains one."""

    def __init__(self, calls: "list[list[Any]]", addresses: "tuple[str, ...]") -> None:
        self.addresses = NOT_RECORDED + addresses
        self.left = {}  # type: dict[tuple[str, str, bool], list[tuple[float, float]]]
        for began, answered, fp6, path, status, *many in calls:
            times = self.left.setdefault((fp6, path, status not in TURNED_AWAY), [])
            times.extend([(answered, began)] * (many[0] if many else 1))
        for times in self.left.values():
            times.sort()

    def takes(self, at: float, ok: bool, fp6: str, path: str, address: str) -> bool:
        """True for a record of such a call, at that time, from this host or an unknown address."""
        if address not in self.addresses and not address.startswith("127."):
            return False
        times = self.left.get((fp6, path.partition("?")[0], ok), [])
        for slack in SLACKS:  # first the call in whose time it lies: another may be beside it
            for place in range(bisect.bisect_left(times, (at - slack, 0.0)), len(times)):
                answered, began = times[place]
                if began - slack <= at:
                    del times[place]
                    return True
                if answered > at + slack + LONGEST:
                    break
        return False
