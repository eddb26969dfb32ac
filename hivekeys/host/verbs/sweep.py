"""The agent's verbs `sweep` and `end_survivors`: tries the old token at every socket that could accept it.

Runs ON the host, as root, in one text with agent.py, when a token was revoked or `fab verify` asks for it. A place is
a TCP socket that listens and belongs to the service's account or unit, or whatever else the inventory names. What is
said here is a fact; what is good or bad of it is for hivekeys.protocol.listeners to say. A token goes to no socket of
another account: only the service's own and root's hear it.
"""

import os
import pwd
import re
import signal

from hivekeys.host.agent import Agent, verb
from hivekeys.host.forms import is_token
from hivekeys.host.sockets import where_to_ask
from hivekeys.host.state import POLL_SECONDS
from hivekeys.host.system import Refusal, System
from hivekeys.host.tls import tls_of

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

MOST_PLACES = 64  # that are asked; a service with more is said to have some that were not
ASK_SECONDS = 2.0  # for one call: a place that is silent for so long cannot be tried
END_SECONDS = 5.0  # that a process may take when it is told to end
GONE_SECONDS = 2.0  # and when it is killed
REFUSING = (401, 403)
# What llama-orch's services ask a token for, whichever of them listens there (hivekeys.fleet).
GUARDED = ("/v2/workers/list", "/api/v1/nodes", "/v1/workers/list", "/api/v1/workers")
PLACE = re.compile(r"(?:http://(\[[^\]/]+\]|[0-9.]+):)?([0-9]+)(/\S*)?")  # hivekeys.inventory.values.place


class Neighbours:
    """The other processes of this machine, and what they hold. Tests have their own."""

    def __init__(self, system: System) -> None:
        self.system = system

    def processes(self) -> "dict[int, dict[str, Any]]":
        """Every process by its pid, as System.process tells it."""
        found = ((pid, self.system.process(pid)) for pid in map(int, filter(str.isdigit, os.listdir("/proc"))))
        return {pid: process for pid, process in found if process}

    def is_apart(self, pid: int) -> bool:
        """True for a process in another network namespace: where it listens cannot be seen from here."""
        try:
            return os.readlink("/proc/%d/ns/net" % pid) != os.readlink("/proc/self/ns/net")
        except OSError:
            return False

    def unit_of(self, pid: int) -> str:
        """The system service whose main process this is, "" for none: systemd's to end, by its own name."""
        try:
            with open("/proc/%d/cgroup" % pid) as file:
                found = re.search(r"(?:^0:|:name=systemd):.*?([^/]+\.service)$", file.read(), re.MULTILINE)
        except OSError:
            found = None
        if found is None:
            return ""
        argv = ["systemctl", "show", "--no-pager", "--property=MainPID", "--", found.group(1)]
        return found.group(1) if self.system.run(argv, ASK_SECONDS) == (0, "MainPID=%d\n" % pid) else ""

    def signal(self, pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Sweep:
    """One look around on a host, for tokens that it must refuse: keyed fingerprints."""

    def __init__(self, agent: "Agent", refuse: "list[str]") -> None:
        self.agent = agent
        self.refuse = frozenset(refuse)
        self.near = getattr(agent.system, "neighbours", None) or Neighbours(agent.system)  # type: Neighbours
        unit = agent.unit.recent()
        self.main, self.born = unit["pid"], unit["born"]
        members = agent.system.members(unit["cgroup"])
        self.is_seen = members is not None
        self.members = frozenset(members or ())
        self.processes = self.near.processes()
        # An account that is root's says nothing about a process; and root could read every token anyway.
        self.accounts = frozenset({unit["uid"], agent.secrets.account()[0], *self.behind()} - {None, 0})
        self.trusted = self.accounts | {0}
        if "front" in agent.service:  # its workers, who take the calls, are another account's
            self.trusted |= {self.processes[pid]["uid"] for pid in self.members if pid in self.processes}
        self.line = self.forebears()
        agent.slots()  # what lies in them is known from now on
        self.holders = {}  # type: dict[int, str]  # the keyed fingerprint of the token in a process's environment
        for pid, process in self.processes.items():
            if is_token(process["token"]):
                self.holders[pid] = agent.secrets.fingerprint(process["token"])["keyed"]
                if self.holders[pid] in self.refuse:
                    agent.secrets.remember(process["token"])
        self.old = [agent.secrets.known[keyed] for keyed in sorted(self.refuse) if keyed in agent.secrets.known]
        self.tls = tls_of(agent.root, agent.service)
        self.rows = []  # type: list[dict[str, Any]]  # the places; `pids`: who holds them

    def behind(self) -> "list[int]":
        """The account of the service behind a front, whose processes may have an older token as well."""
        behind = self.agent.service.get("front", {}).get("behind", {})
        try:
            return [pwd.getpwnam(behind["owner"]).pw_uid] if behind else []
        except KeyError:
            return []

    # -- where a token could be taken

    def look(self) -> "Sweep":
        """Finds the places and tries each; where no token is left to try, no place is tried."""
        if not self.old:
            return self
        found = self.listening()
        named = self.named(found)
        for address, port in sorted(found)[:MOST_PLACES]:
            paths = [*named.get((address, port), ()), *self.agent.service["protected"], *self.agent.service["health"]]
            row = self.row(address, port, found[address, port])
            row.update(self.asked(address, port, list(dict.fromkeys([*paths, *GUARDED, "/"]))))
            self.rows.append(row)
        if len(found) > MOST_PLACES:
            self.rows.append(self.unasked("%d more places are not asked" % (len(found) - MOST_PLACES)))
        apart = (pid for pid in self.processes if self.is_ours(pid) and self.near.is_apart(pid))
        self.rows += [self.unasked("it has a network of its own", pid) for pid in sorted(apart)[:MOST_PLACES]]
        if not self.is_seen:
            self.rows.append(self.unasked("the unit's control group cannot be seen"))
        return self

    def is_ours(self, pid: int) -> bool:
        """True for a process of the unit's, and for one of the service's account."""
        return pid in self.members or self.processes[pid]["uid"] in self.accounts

    def listening(self) -> "dict[tuple[str, int], set[int]]":
        """The places of the service's account, its unit, and processes that have a leaked token; who holds each."""
        concerned = [pid for pid in self.processes if self.is_ours(pid) or self.holders.get(pid) in self.refuse]
        holders = {}  # type: dict[int, set[int]]
        for pid in concerned:
            for inode in self.agent.system.sockets(pid):
                holders.setdefault(inode, set()).add(pid)
        found = {}  # type: dict[tuple[str, int], set[int]]
        for _, packed, port, uid, inode in self.agent.system.listening():
            if uid in self.accounts or inode in holders:
                address = where_to_ask(packed)
                if address == "::1" and not self.agent.system.is_own(address):  # a host whose loopback knows no IPv6
                    address = "127.0.0.1"
                found.setdefault((address, port), set()).update(holders.get(inode, ()))
        return found

    def named(self, found: "dict[tuple[str, int], set[int]]") -> "dict[tuple[str, int], list[str]]":
        """The paths that the inventory names for places; a named place that was not found yet is added."""
        paths = {}  # type: dict[tuple[str, int], list[str]]
        for text in self.agent.service.get("places", ()):
            address, port, path = PLACE.fullmatch(text).groups()  # type: ignore[union-attr]  # checked by the inventory
            address, port = (address or "").strip("[]"), int(port)
            there = [key for key in found if key[1] == port and address in ("", key[0])]
            for key in there or [(address or "127.0.0.1", port)]:
                found.setdefault(key, set())
                paths.setdefault(key, []).extend([path] if path else [])
        return paths

    def row(self, address: str, port: int, pids: "set[int]") -> "dict[str, Any]":
        pid = min(pids, key=lambda each: (each != self.main, each), default=0)
        comm = self.agent.without_tokens(self.processes[pid]["comm"]) if pid else ""
        return {"address": address, "port": port, "pid": pid, "comm": comm, "pids": pids}

    def unasked(self, why: str, pid: int = 0) -> "dict[str, Any]":
        return dict(self.row("", 0, {pid} if pid else set()), answer="unasked", path="", why=why)

    # -- what a place says

    def asked(self, address: str, port: int, paths: "list[str]") -> "dict[str, Any]":
        """What a place makes of the old tokens, by the path that says most of it.

        takes: an old token is let in, or treated otherwise than garbage. refuses: it is turned away like garbage.
        open: no token is needed there. unasked: none of that could be found out. closed: no process listens there.
        """
        said = {"answer": "unasked", "path": "", "why": "no path of it asks for a token"}
        worth = ("unasked", "open", "refuses", "takes")
        for path in paths:
            try:
                answer = self.answer(address, port, path)
            except Refusal as refusal:
                if said["answer"] == "takes":
                    return said
                answer = "closed" if refusal.trouble == "unhealthy" else "unasked"
                return {"answer": answer, "path": path, "why": self.agent.without_tokens(refusal.detail)}
            if worth.index(answer) > worth.index(said["answer"]):
                said = {"answer": answer, "path": path, "why": ""}
        return said

    def answer(self, address: str, port: int, path: str) -> str:
        """The verdict of one path; Refusal where it cannot be tried, or must not get the token."""
        if not self.agent.system.is_own(address):
            raise Refusal("place-unasked", "%s is no address of this host" % address)
        if not self.agent.system.listeners(port, address):
            raise Refusal("unhealthy", "no listener there")
        none = self.call(address, port, path, None)
        garbage = self.call(address, port, path, os.urandom(32).hex())
        old = [self.call(address, port, path, token) for token in self.old]
        if garbage in REFUSING and all(status == garbage for status in old):
            return "refuses"
        if garbage in REFUSING and self.call(address, port, path, os.urandom(32).hex()) != garbage:
            raise Refusal("place-unasked", "%s answers the same question now so, now so" % path)
        lets_in = any(200 <= status < 300 and status != garbage for status in old)
        if garbage in REFUSING or lets_in or (none in REFUSING and garbage < 300):
            return "takes"
        return "open" if 200 <= garbage < 400 else "unasked"

    def call(self, address: str, port: int, path: str, token: "Optional[str]") -> int:
        try:
            trusted = None if token is None else self.trusted
            tls = self.tls if port == self.agent.service["port"] else None
            status, why = self.agent.own_calls.get(ASK_SECONDS, port, path, token, trusted, address, tls)
        except Refusal as refusal:
            raise Refusal("place-unasked", refusal.detail) from None
        if not status:
            raise Refusal("place-unasked", why)
        return status

    # -- who has outlived a restart

    def survivors(self) -> "list[dict[str, Any]]":
        """Processes of the unit or the account that are older than the service's, and not shown to refuse the tokens.

        Of the unit's each one counts, unless its environment has another token; of the account's only one that takes
        a token or has it in its environment: people and other services have processes there as well.
        """
        found = []
        for pid, process in sorted(self.processes.items()):
            if not self.is_elder(pid):
                continue
            rows = [row for row in self.rows if pid in row["pids"] and row["port"]]
            # On a port that it shares with a younger process, it is not known which of the two answered.
            shared = any(not self.is_elder(other) for row in rows for other in row["pids"])
            if rows and not shared and all(row["answer"] == "refuses" for row in rows):
                continue
            takes = any(row["answer"] == "takes" for row in rows)
            held = self.holders.get(pid)
            if takes or held in self.refuse or (pid in self.members and held is None):
                ports = sorted({row["port"] for row in rows})
                found.append(dict(self.agent.unit.elder(pid, process), ports=ports, takes=takes))
        return found[:MOST_PLACES]

    def is_elder(self, pid: int) -> bool:
        """True for a process of ours that was born before the service's; all of them where that has none."""
        is_older = not self.main or bool(self.processes[pid]["born"] < (self.born or 0))
        return is_older and self.is_ours(pid) and pid not in self.line

    def forebears(self) -> "set[int]":
        """This agent and those that it descends from, and init: never a survivor."""
        found, pid = {1, self.main}, self.agent.system.pid()
        while pid in self.processes and pid not in found:
            found.add(pid)
            pid = self.processes[pid]["parent"]
        return found

    def end(self, pids: "list[int]") -> "list[int]":
        """Those that live on although they were told to end, and then killed. Each is the process that was seen."""
        for number, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, GONE_SECONDS)):
            until = self.agent.system.monotonic() + self.agent.deadline.left(seconds)
            pids = [pid for pid in pids if self.lives(pid)]
            self.agent.deadline.go_on()
            for pid in pids:
                self.near.signal(pid, number)
            while any(map(self.lives, pids)) and self.agent.system.monotonic() < until:
                self.agent.deadline.pause(POLL_SECONDS)
        return [pid for pid in pids if self.lives(pid)]

    def lives(self, pid: int) -> bool:
        """True while the process is the one that was seen."""
        return bool(self.agent.system.born(pid) == self.processes[pid]["born"])


@verb("calls", "unlocked")
def sweep(agent: "Agent", refuse: "list[str]") -> "tuple[bool, dict[str, Any]]":
    """Every place and what it makes of these tokens (None: no copy is left to ask with); who has outlived a restart."""
    found = Sweep(agent, refuse).look()
    survivors = found.survivors()
    rows = [{name: row[name] for name in row if name != "pids"} for row in found.rows]
    return False, {"places": rows if found.old else None, "survivors": survivors}


@verb("touches", "calls", "locked")
def end_survivors(agent: "Agent", refuse: "list[str]") -> "tuple[bool, dict[str, Any]]":
    """Ends the processes that a sweep finds to have outlived a restart: first by SIGTERM, then by SIGKILL."""
    if agent.state.lock is None:
        raise RuntimeError("to end a process needs a session that holds the lock")
    found = Sweep(agent, refuse).look()
    survivors = {each["pid"]: each["comm"] for each in found.survivors()}
    for pid in [pid for pid in survivors if pid not in found.members and found.near.unit_of(pid)]:
        del survivors[pid]  # such as a queen's beside this hive, under one account: she is turned by herself
    left = found.end(sorted(survivors))
    if left:
        said = ", ".join("%s (pid %d)" % (survivors[pid], pid) for pid in left)
        raise Refusal("survivor", "%s does not end, not even when it is killed" % said)
    return bool(survivors), {}
