"""The agent's verb `accesses`: who opened the token file, as auditd noted it. Changes nothing.

Runs ON the host, as root, in one text with agent.py. ausearch(8) finds the events (`-k secret-access`); its output is
read as it comes and no more is kept than counts and the newest few. An event is several lines with one serial number;
what is needed of each is `name=value`, plain, quoted, or in hex.
"""

import collections
import os
import pwd
import re
import select
import signal
import time

from hivekeys.host.agent import Agent, verb
from hivekeys.host.system import Refusal, started
from hivekeys.host.verbs.audit import clean, moment_of
from hivekeys.host.verbs.inspect import audit_watch

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Iterator, Optional

OUTPUT = 256 << 20  # bytes of ausearch's output that are read
READERS = 200  # different readers that are kept apart
SERIAL = re.compile(rb"msg=audit\((\d+\.\d+):(\d+)\)")
FIELD = re.compile(rb'\b(\w+)=("[^"]*"|[^\s\x1d]*)')
QUOTED = (b"comm", b"exe", b"name", b"proctitle")  # in hex unless they are in quotes
NOBODY = 4294967295  # "unset": no login led to it
# hivekeys.ssh.bootstrap, "_IN_PYTHON": how every agent is started. Anybody could call himself so: it says "probably".
OWN_TITLES = (b"\0-c\0import sys; i = sys.stdin.buffer; exec(", b"\0/usr/local/lib/hivekeys/agent")


@verb("unlocked")
def accesses(
    agent: "Agent",
    *,
    since: "Optional[dict[str, Any]]" = None,
    until: "Optional[dict[str, Any]]" = None,
    failed: bool = False,
    records: int = 0,
    seconds: float = 60.0,
) -> "tuple[bool, dict[str, Any]]":
    """Who opened the token file, in groups, and the newest `records` one by one; `failed`: only who could not."""
    now = agent.system.now()
    begin, end = moment_of(since, now), moment_of(until, now)
    readers = Readers(agent, failed, records)
    cut = ""
    deadline = agent.system.monotonic() + min(seconds, max(agent.deadline.left() - 2.0, 0.0))
    try:
        for event in events(search(agent, begin, deadline)):
            if (begin is None or event["at"] >= begin) and (end is None or event["at"] <= end):
                readers.take(event)
    except EOFError as limit:
        cut = str(limit)
    facts = {"watched": bool(audit_watch(agent)), "clock": now, "cut": cut, "folded": readers.folded}
    return False, dict(facts, readers=readers.rows(), newest=list(readers.newest)[::-1])


def search(agent: "Agent", begin: "Optional[float]", deadline: float) -> "Iterator[bytes]":
    """Every line of what ausearch finds. Raises EOFError at a limit, Refusal where there is no ausearch."""
    argv = ["ausearch", "--input-logs", "-k", "secret-access", "--format", "raw"]
    if begin is not None:  # to the minute before: the exact time is looked at later
        # The date in the way of LC_TIME, which is C here (hivekeys.host.system, "QUIET_ENV"): two digits for the year.
        day, hour = time.strftime("%m/%d/%y %H:%M:%S", time.localtime(max(begin - 60.0, 0.0))).split()
        argv += ["--start", day, hour]
    try:
        process = started(argv)
    except OSError as error:
        raise Refusal("auditd-missing", "ausearch: %s" % error.strerror) from None
    assert process.stdout  # noqa: S101  for the type checker
    complaint = ""
    try:
        for line in lines_from(agent, process.stdout.fileno(), deadline):
            complaint = complaint if SERIAL.search(line) else line.decode("utf-8", "replace").strip()
            yield line
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
    # Status 1 means both: a mistake, and that nothing was found.
    if process.returncode and (process.returncode != 1 or complaint not in ("", "<no matches>")):
        raise Refusal("auditd-unusable", complaint or "ausearch ended with status %d" % process.returncode)


def lines_from(agent: "Agent", fd: int, deadline: float) -> "Iterator[bytes]":
    rest, size = b"", 0
    while True:
        if not select.select([fd], [], [], max(deadline - agent.system.monotonic(), 0.0))[0]:
            raise EOFError("the time was up")
        block = os.read(fd, 1 << 16)
        if not block:
            break
        size += len(block)
        if size > OUTPUT or len(rest) > 1 << 20:
            raise EOFError("there is more than is read at once")
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line
    if rest:
        yield rest


def events(lines: "Iterator[bytes]") -> "Iterator[dict[str, Any]]":
    """What belongs together: the fields of an event's SYSCALL line, its files' names, and its time."""
    serial, event = b"", {}  # type: bytes, dict[str, Any]
    for line in lines:
        found = SERIAL.search(line)
        if not found:
            continue
        if found.group(2) != serial:
            if "syscall" in event and not event["config"]:
                yield event
            serial, event = found.group(2), {"at": float(found.group(1)), "names": [], "title": b"", "config": False}
        fields = fields_of(line)
        kind = fields.get(b"type", b"")
        if kind == b"SYSCALL":
            event["syscall"] = fields
        elif kind == b"PATH":
            event["names"].append(fields.get(b"name", b""))
        elif kind == b"PROCTITLE":
            event["title"] = fields.get(b"proctitle", b"")
        elif kind == b"CONFIG_CHANGE":  # the rule itself came or went
            event["config"] = True
    if "syscall" in event and not event["config"]:
        yield event


def fields_of(line: bytes) -> "dict[bytes, bytes]":
    """A line's fields; the first of a name counts, because auditd puts its own translations behind."""
    fields = {}  # type: dict[bytes, bytes]
    for name, text in FIELD.findall(line):
        is_hex = name in QUOTED and re.fullmatch(rb"(?:[0-9A-Fa-f]{2})+", text)
        fields.setdefault(name, bytes.fromhex(text.decode()) if is_hex else text.strip(b'"'))
    return fields


class Readers:
    """Who opened the file, so far."""

    def __init__(self, agent: "Agent", failed: bool, records: int) -> None:
        self.agent = agent
        self.failed = failed
        self.name = agent.secrets.active.encode()
        self.owner = account_named(agent.service["owner"])
        self.program = program_of_service(agent)
        self.groups = {}  # type: dict[tuple[str, str, str, str, bool], list[float]]  # count, first, last
        self.newest = collections.deque(maxlen=records)  # type: collections.deque[dict[str, Any]]
        self.folded = 0

    def take(self, event: "dict[str, Any]") -> None:
        fields, at = event["syscall"], event["at"]
        # A name below a directory's descriptor, as an agent opens it, is noted without its directory.
        if not any(os.path.basename(name) == self.name for name in event["names"]):
            return
        ok = fields.get(b"success") == b"yes"
        if self.failed and ok:
            return
        uid, login = number(fields.get(b"uid")), number(fields.get(b"auid"))
        exe = fields.get(b"exe", b"").decode("utf-8", "replace")
        who = (self.kind(event, uid, exe), account_of(uid), "" if login in (None, NOBODY) else account_of(login), exe)
        if self.newest.maxlen:
            self.newest.append(dict(self.named((*who, ok)), at=at, pid=number(fields.get(b"pid")) or 0))
        key = (*who, ok)
        if key not in self.groups and len(self.groups) >= READERS:
            self.folded += 1
            key = (who[0], "", "", "", ok)
        group = self.groups.setdefault(key, [0, at, at])
        group[0] += 1
        group[1], group[2] = min(group[1], at), max(group[2], at)

    def kind(self, event: "dict[str, Any]", uid: "Optional[int]", exe: str) -> str:
        """service, systemd (which copies credentials), hivekeys (probably), or other."""
        if self.program and (uid, exe) == (self.owner, self.program):
            return "service"
        if uid == 0 and os.path.basename(exe) in ("systemd", "systemd-executor"):
            return "systemd"
        return "hivekeys" if uid == 0 and any(own in event["title"] for own in OWN_TITLES) else "other"

    def named(self, key: "tuple[str, str, str, str, bool]") -> "dict[str, Any]":
        kind, who, login, exe, ok = key
        return {"kind": kind, "account": who, "login": login, "program": clean(self.agent, exe), "ok": ok}

    def rows(self) -> "list[dict[str, Any]]":
        return [
            dict(self.named(key), count=int(count), first=first, last=last)
            for key, (count, first, last) in self.groups.items()
        ]


def number(text: "Optional[bytes]") -> "Optional[int]":
    return int(text) if text and text.isdigit() else None


def account_of(uid: "Optional[int]") -> str:
    """An account's name where the host has one, else its number."""
    if uid is None:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def account_named(name: str) -> "Optional[int]":
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def program_of_service(agent: "Agent") -> str:
    """The program that the service's process runs, "" when it runs none."""
    try:
        return os.readlink("%s/proc/%d/exe" % (agent.root.rstrip("/"), agent.unit.look()["pid"]))
    except (OSError, Refusal):
        return ""
