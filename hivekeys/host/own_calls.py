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
    from typing import Any, Iterator, Optional

    from hivekeys.host.agent import Agent
    from hivekeys.host.tls import Tls

    Key = tuple[str, bool, str, str, str]  # service, whether it was let in, fp6, path, address

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

    def keep(self, leaves: bool = False) -> None:
        """Writes them down, where this agent may write; a disk that is full costs a few rows in a report.

        Without a bastion only if the agent `leaves`: until its process ends it has the lock.
        """
        state = self.agent.state
        if not self.fresh or state.lock is None or (self.agent.deadline.is_alone() and not leaves):
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
    """Which records of a trail are our own calls: each call explains one."""

    def __init__(self, calls: "list[list[Any]]", addresses: "tuple[str, ...]") -> None:
        self.addresses = NOT_RECORDED + addresses
        self.calls = {}  # type: dict[tuple[str, str, bool], Calls]  # by fp6, path, and whether they were let in
        for began, answered, fp6, path, status, *many in calls:
            alike = self.calls.setdefault(kind_of(status not in TURNED_AWAY, fp6, path), Calls())
            alike.times.append([answered, began, many[0] if many else 1])
        for each in self.calls.values():
            each.times.sort()

    def may_be(self, at: float, ok: bool, fp6: str, path: str, address: str) -> bool:
        """True where a call of ours may have made the record: at that time, from this host or an unknown address."""
        if address not in self.addresses and not address.startswith("127."):
            return False
        alike = self.calls.get(kind_of(ok, fp6, path))
        return alike is not None and any(True for _ in alike.near(at, CLOCK))

    def others(self, records: "list[tuple[float, Key, str]]") -> "list[tuple[float, Key, str]]":
        """Those of the records (time, key, place) that no call explains; a call explains no record another time."""
        kinds = {}  # type: dict[tuple[str, str, bool], list[tuple[float, Key, str]]]
        for record in records:
            _, ok, fp6, path, _ = record[1]
            kinds.setdefault(kind_of(ok, fp6, path), []).append(record)
        left = []
        for kind, alike in kinds.items():
            ours = self.calls[kind].explain([at for at, _, _ in alike])
            left += [record for number, record in enumerate(alike) if number not in ours]
        return left


def kind_of(ok: bool, fp6: str, path: str) -> "tuple[str, str, bool]":
    """What records and calls must have in common."""
    return fp6, path.partition("?")[0], ok


class Calls:
    """Our calls with one token, to one path, with one outcome."""

    def __init__(self) -> None:
        self.times = []  # type: list[list[Any]]  # answered, begun, and how many: in order

    def near(self, at: float, slack: float) -> "Iterator[int]":
        """The places of the calls that were under way at that time, or so many seconds before or behind it."""
        for place in range(bisect.bisect_left(self.times, [at - slack]), len(self.times)):
            answered, began, _ = self.times[place]
            if began - slack <= at:
                yield place
            elif answered > at + slack + LONGEST:
                return

    def explain(self, times: "list[float]") -> "set[int]":
        """Which of the records of these times are ours: as many as can be, and those that lie nearest to a call.

        A record that is explained stays so; its call may become another, to make room (Kuhn's matching).
        """
        by = {}  # type: dict[int, int]  # record -> the call that explains it
        held = {}  # type: dict[int, set[int]]  # the other way round
        for slack in SLACKS:
            full = set()  # type: set[int]  # calls that cannot make room, however others are moved
            for record in range(len(times)):
                if record not in by:
                    self.place(record, times, slack, by, held, full)
        for place, records in held.items():
            self.times[place][2] -= len(records)
        return set(by)

    def place(
        self,
        record: int,
        times: "list[float]",
        slack: float,
        by: "dict[int, int]",
        held: "dict[int, set[int]]",
        full: "set[int]",
    ) -> None:
        """Finds a call for a record, for which others may move to calls of their own that are near."""
        wanted = {}  # type: dict[int, int]  # call -> the record that would move to it
        waiting = [record]
        for one in waiting:
            for place in self.near(times[one], slack):
                if place in wanted or place in full:
                    continue
                wanted[place] = one
                if len(held.setdefault(place, set())) < self.times[place][2]:
                    self.move(place, wanted, by, held)
                    return
                waiting.extend(held[place])
        full.update(wanted)

    def move(self, place: int, wanted: "dict[int, int]", by: "dict[int, int]", held: "dict[int, set[int]]") -> None:
        """The record that wants this call moves to it, the next to the call that it has left, and so on."""
        while True:
            one = wanted[place]
            before = by.get(one)
            by[one] = place
            held[place].add(one)
            if before is None:
                return
            held[before].remove(one)
            place = before
