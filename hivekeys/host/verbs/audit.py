"""The agent's verb `audit`: who used which token, by the service's own audit records. Changes nothing.

Runs ON the host, as root, in one text with agent.py, when it is asked for. Records stay on the host: counts leave, and
the newest few that were asked for. Files are read newest first, plain ones from their end, so what is cut by a limit is
always the oldest. One block of a file is in memory at a time, and so many groups of counts; a file may have any size,
and anybody's text in it.
"""

import errno
import heapq
import json
import os
import re

from hivekeys.host.agent import Agent, verb
from hivekeys.host.own_calls import NOT_RECORDED, Explained
from hivekeys.host.paths import open_directory, read_limited
from hivekeys.host.trail import (
    CHAIN_BYTES,
    CHAIN_SECONDS,
    Budget,
    Spent,
    audit_files,
    audit_folder,
    backwards,
    chain_breaks,
    day_of,
    forwards,
    open_file,
    unpacked,
)

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

    from hivekeys.host.own_calls import Key

GROUPS = 1000  # counts that are kept apart; what comes after is counted in larger heaps
TEXT = 200  # characters of a path, an address, a service's name
PLACES = 5  # broken lines whose place is sent
MAYBE_OWN = 20000  # records that are held until it can be told which of them are our own calls
FILES = 10000  # names of the audit directory that are looked at
SLACK = 300.0  # seconds by which records in a file may be out of order: services buffer
DAY = 86400.0
# Both vocabularies: the services' own and the guide's (llama-orch.md, "Audit files").
SUCCESS = ("auth_success", "authentication_success")
FAILURE = ("auth_failure", "authentication_failure", "authentication_failed")
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)?")
TOOK = re.compile(r"\d{1,9}\.\d{3}")  # of a front's record: nginx.py
BY_FINGERPRINT = re.compile(r"token:([0-9a-f]{6})")


@verb("unlocked")
def audit(
    agent: "Agent",
    *,
    since: "Optional[dict[str, Any]]" = None,
    until: "Optional[dict[str, Any]]" = None,
    tokens: "tuple[str, ...]" = (),
    failed: bool = False,
    records: int = 0,
    replaced: "Optional[float]" = None,
    fresh: "Optional[float]" = None,
    size: int = 1 << 32,
    seconds: float = 60.0,
    chain: bool = True,
) -> "tuple[bool, dict[str, Any]]":
    """What the trail tells: counts in groups, the newest `records`, breaks of the chain, and how far it was read.

    `since` and `until`: {"seconds", "before_now"}, an epoch or an age by this host's clock. `tokens`: fp6 to keep.
    `replaced`: when the old token was; what came after is counted apart, with `fresh` only if it is not older than
    so many seconds. `size` and `seconds`: the most that is read. Our own calls are told by their number alone (`own`).
    """
    now = agent.system.now()
    if fresh is not None:
        replaced = max(replaced or 0.0, now - fresh)
    agent.slots()  # the tokens are known from now on, and taken out of every text that leaves
    environment = service_environment(agent)
    place = audit_folder(environment)
    if agent.meter:
        agent.meter.hold()
    own = Explained(agent.own_calls.of_machine(), ("::1", agent.service["address"]))
    count = Count(moment_of(since, now), moment_of(until, now), tokens, failed, records, replaced, own)
    facts = {"on": environment.get("LLORCH_AUDIT_MODE") == "local", "folder": agent.without_tokens(place)}  # type: dict[str, Any]
    facts.update(clock=now, found=False, breaks=[], chained=0, chain_cut="")
    try:
        folder = open_directory(agent.root, place)
    except OSError as error:
        if error.errno != errno.ENOENT:  # a link on the way, say: what lies behind it was not looked at
            count.unread.append("%s: %s" % (facts["folder"], error.strerror))
        facts.update(count.facts(agent))
        return False, facts
    try:
        names = os.listdir(folder)[:FILES]
        budget = Budget(size, min(seconds, max(agent.deadline.left() - 2.0, 0.0)), agent.system.monotonic)
        read_trail(count, folder, names, budget)
        facts.update(count.facts(agent), found=bool(audit_files(names)))
        if chain:
            budget = Budget(
                CHAIN_BYTES, min(CHAIN_SECONDS, max(agent.deadline.left() - 1.0, 0.0)), agent.system.monotonic
            )
            breaks, facts["chained"], facts["chain_cut"] = chain_breaks(folder, names, budget)
            facts["breaks"] = [clean(agent, text) for text in breaks]
    finally:
        os.close(folder)
    return False, facts


def service_environment(agent: "Agent") -> "dict[str, str]":
    """The unit's variables, and over them those of the running process: some units have theirs in a file."""
    unit = agent.unit.recent()
    environment = dict(agent.unit.audit_settings)
    try:
        fd = os.open("%s/proc/%d/environ" % (agent.root.rstrip("/"), unit["pid"]), os.O_RDONLY)
    except OSError:
        return environment
    try:
        pairs = (read_limited(fd, 1 << 20) or b"").decode("utf-8", "replace").split("\0")
    except OSError:
        pairs = []
    finally:
        os.close(fd)
    environment.update(pair.partition("=")[::2] for pair in pairs if pair.startswith("LLORCH_AUDIT_"))
    return environment


def moment_of(asked: "Optional[dict[str, Any]]", now: float) -> "Optional[float]":
    if asked is None:
        return None
    return now - float(asked["seconds"]) if asked["before_now"] else float(asked["seconds"])


def days_until(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date, as calendar.timegm counts them; to import that takes 3 ms on every host."""
    if month < 3:
        year, month = year - 1, month + 12
    return year * 365 + year // 4 - year // 100 + year // 400 + (month * 153 - 457) // 5 + day - 719469


def epoch_of(text: str) -> "Optional[float]":
    """Seconds since the epoch of a time as ISO 8601 has it, with Z, an offset, or none (then it is UTC)."""
    found = TIME.match(text)
    if not found:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction, zone = found.groups()[6:]
    if not year or not 1 <= month <= 12:
        return None
    at = ((days_until(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    if zone and zone != "Z":
        ahead = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        at += -ahead if zone[0] == "+" else ahead
    return at + float(fraction or 0)


class Count:
    """What was asked for, and what was found so far."""

    def __init__(
        self,
        since: "Optional[float]",
        until: "Optional[float]",
        tokens: "tuple[str, ...]",
        failed: bool,
        records: int,
        replaced: "Optional[float]",
        own: "Optional[Explained]" = None,
    ) -> None:
        self.explained = own or Explained([], ())
        self.maybe_own = []  # type: list[tuple[float, Key, str]]  # time, key, place
        self.since = since
        self.until = until
        self.tokens = frozenset(tokens)
        self.marks = tuple(token.encode() for token in tokens)
        self.failed = failed
        self.most = records
        self.replaced = replaced
        self.groups = {}  # type: dict[Key, list[float]]  # count, after, first, last
        self.newest = []  # type: list[tuple[float, int, Key, str]]  # a heap, oldest first
        self.files = self.size = self.lines = self.matched = self.broken = self.folded = self.own = 0
        self.places = []  # type: list[str]
        self.unread = []  # type: list[str]
        self.cut = ""

    def passes(self, line: bytes) -> bool:
        """False for a line that cannot be meant, told without reading it as JSON."""
        if self.marks and not any(mark in line for mark in self.marks):
            return False
        return b"_fail" in line if self.failed else b'"auth' in line

    def take(self, line: bytes, place: str, offset: int) -> None:
        """One whole line of a file."""
        self.lines += 1
        if not self.passes(line):
            if not (line.startswith(b"{") and line.rstrip().endswith(b"}")):
                self.break_at(place, offset)
            return
        try:
            record = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            self.break_at(place, offset)
            return
        found = event_of(record) if isinstance(record, dict) else None
        if found is None:
            return
        at, key = found
        if (self.failed and key[1]) or (self.tokens and key[2] not in self.tokens) or not self.is_within(at):
            return
        if not self.explained.may_be(at, *key[1:]):
            self.add(at, key, "%s @ %d" % (place, offset))
            return
        self.maybe_own.append((at, key, "%s @ %d" % (place, offset)))
        if len(self.maybe_own) == MAYBE_OWN:
            self.tell_own()

    def tell_own(self) -> None:
        """Counts those records that a call of ours may have made, and none did."""
        others = self.explained.others(self.maybe_own)
        self.own += len(self.maybe_own) - len(others)
        self.maybe_own = []
        for at, key, place in others:
            self.add(at, key, place)

    def is_within(self, at: float) -> bool:
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)

    def break_at(self, place: str, offset: int) -> None:
        self.broken += 1
        if len(self.places) < PLACES:
            self.places.append("%s @ %d" % (place, offset))

    def add(self, at: float, key: "Key", place: str) -> None:
        self.matched += 1
        if self.most:
            entry = (at, self.matched, key, place)
            if len(self.newest) < self.most:
                heapq.heappush(self.newest, entry)
            elif at > self.newest[0][0]:
                heapq.heapreplace(self.newest, entry)
        group = self.groups.get(key)
        if group is None:
            group = self.room_for(key, at)
        group[0] += 1
        group[1] += self.replaced is not None and at > self.replaced
        group[2] = min(group[2], at)
        group[3] = max(group[3], at)

    def room_for(self, key: "Key", at: float) -> "list[float]":
        """A new group; where there are too many already, one without path and address, then without a name."""
        service, ok, token, _, _ = key
        if len(self.groups) >= 2 * GROUPS:
            key = ("", ok, "", "", "")
        elif len(self.groups) >= GROUPS:
            key = (service, ok, token, "", "")
        self.folded += len(self.groups) >= GROUPS
        return self.groups.setdefault(key, [0, 0, at, at])

    def facts(self, agent: "Agent") -> "dict[str, Any]":
        """Everything, as it is sent."""
        self.tell_own()

        def named(key: "Key") -> "dict[str, Any]":
            service, ok, token, path, address = key
            texts = {"service": service, "path": path, "address": address}
            return dict({name: clean(agent, text) for name, text in texts.items()}, ok=ok, token=token)

        groups = [
            dict(named(key), count=int(count), after=int(after), first=first, last=last)
            for key, (count, after, first, last) in self.groups.items()
        ]
        newest = [dict(named(key), at=at, place=place) for at, _, key, place in sorted(self.newest, reverse=True)]
        facts = {"groups": groups, "newest": newest, "places": self.places, "unread": self.unread[:PLACES]}
        for name in ("files", "size", "lines", "matched", "broken", "folded", "own", "cut", "replaced"):
            facts[name] = getattr(self, name)
        return facts


def clean(agent: "Agent", text: str) -> str:
    """One line without control characters and without anything that looks like a token."""
    text = agent.without_tokens(text[: 4 * TEXT])
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:TEXT]


def event_of(record: "dict[str, Any]") -> "Optional[tuple[float, Key]]":
    """(time, (service, ok, fp6, path, address)) of a record about an authentication, None for any other."""
    event = record.get("event", record)
    if not isinstance(event, dict):
        return None
    kind = event.get("event_type")
    if kind not in SUCCESS and kind not in FAILURE:
        return None
    # The event's own time is when it was; the record's is when it was written down, and hashed.
    times = [epoch_of(str(each.get("timestamp"))) for each in (event, record)]
    at = next((time for time in times if time is not None), None)
    if at is None:
        return None
    took = record.get("seconds")
    if isinstance(took, str) and TOOK.fullmatch(took):
        at -= float(took)  # nginx writes a request down when it ends; what counts is when it was let in
    actor = event.get("actor")
    actor = actor if isinstance(actor, dict) else {}
    named = BY_FINGERPRINT.match(str(actor.get("user_id") or event.get("attempted_user") or ""))
    service = str(record.get("service_id") or event.get("service_id") or "")
    path, address = str(event.get("path") or ""), str(actor.get("ip") or event.get("ip") or "")
    token, address = named.group(1) if named else "", "" if address in NOT_RECORDED else address
    return at, (service[: 4 * TEXT], kind in SUCCESS, token, path[: 4 * TEXT], address[: 4 * TEXT])


# -- the files


def read_trail(count: Count, folder: int, names: "list[str]", budget: "Budget") -> None:
    """Every file that can hold what was asked for, newest first, until a limit is reached."""
    files = audit_files(names)
    today = day_of(files[0]) if files else ""
    for name in files:
        if not may_hold(count, name):
            continue
        try:
            count_file(count, folder, name, budget, growing=day_of(name) == today)
            count.files += 1
        except Spent as limit:
            count.cut = str(limit)
            return
        except ValueError as error:
            count.unread.append("%s %s" % (name, error))
        except OSError as error:
            count.unread.append("%s: %s" % (name, error.strerror or "cannot be unpacked"))


def may_hold(count: Count, name: str) -> bool:
    """Whether a file of this day can hold times that were asked for; a day to spare, for what ran over midnight."""
    begins = epoch_of(day_of(name) + "T00:00:00Z")
    if begins is None:
        return True
    early = count.since is not None and begins + 2 * DAY < count.since
    late = count.until is not None and begins - DAY > count.until
    return not (early or late)


def count_file(count: Count, folder: int, name: str, budget: "Budget", growing: bool) -> None:
    """Counts one file. A last line without an end is not an error."""
    with open_file(folder, name) as file:
        whole = os.fstat(file.fileno()).st_size
        packed = name.endswith(".gz")
        for begin, lines, size in forwards(unpacked(file)) if packed else backwards(file, whole):
            budget.spend(size)
            count.size += size
            if lines is None:
                count.lines += 1
                count.break_at(name, begin)
                continue
            offset = begin
            for line in lines:
                end = offset + len(line)
                if line and not (growing and end == whole and not line.endswith(b"}")):
                    count.take(line, name, offset)
                offset = end + 1
            if not packed and is_before(count, lines):
                return


def is_before(count: Count, lines: "list[bytes]") -> bool:
    """True when all that stands before these lines is older than what was asked for."""
    last = next((line for line in reversed(lines) if line), b"")
    found = TIME.search(last.decode("utf-8", "replace")) if count.since is not None else None
    at = epoch_of(found.group()) if found else None
    return at is not None and count.since is not None and at < count.since - SLACK
