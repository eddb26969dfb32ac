"""Proves a service: healthy, accepts its token, refuses all others, and runs in a process that read the file.

Runs ON a host, in one text with agent.py, whose verb `prove` it is. No token is told to a service that lets strangers
in, or whose port is in the hands of another account than its own, the token file's or root.
"""

import os

from hivekeys.host.state import POLL_SECONDS
from hivekeys.host.system import UNIX, Refusal, place_of, refuse_strangers
from hivekeys.host.tls import Tls, tls_of

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from hivekeys.host.agent import Agent

CALL_SECONDS = 5.0
LOOK_SECONDS = 1.0  # between two looks at a unit whose process lives: `systemctl show` is a process
NOT_THIS_PATH = (401, 403, 404)  # of a health path: llama-orch asks for a token on every path that it does not know
CALL_WORDS = {
    "none": "no token",
    "garbage": "a garbage token",
    "new": "the right token",
    "old": "the other token",
    "also": "the second token",
}
ODD = {403: "forbidden", 429: "rate-limited", 503: "unhealthy"}  # neither let in nor turned away for its token
NOT_READ_YET = (
    "new-refused",
    "old-accepted",
    "takes-one",
)  # what a service answers that has not read its changed file yet
ASKS_AGAIN = 0.25  # seconds between two times: each is four lines in its log
MOST_NAMED = 4  # places, of a service that listens elsewhere


class Proof:
    """One proof of one service. `facts`: what was seen so far, whether it holds or not.

    `want` is the keyed fingerprint of the token that must work, `refuse` those of the ones that must not, `also` that
    of one more that must work.
    """

    def __init__(self, agent: "Agent", want: str, refuse: "Sequence[str]", also: "Optional[str]" = None) -> None:
        self.agent = agent
        self.system = agent.system
        self.service = agent.service
        self.address, self.port = agent.service["address"], agent.service["port"]
        self.want = want
        self.refuse = refuse
        self.also = also
        self.tls = None  # type: Optional[Tls]
        self.began = self.system.monotonic()
        self.facts = {"calls": {}, "proven": False}  # type: dict[str, Any]

    def of_service(self, health_seconds: float, stable_seconds: float) -> "dict[str, Any]":
        """The unit that was proven, as it is at the end; raises Refusal for one that is not."""
        agent = self.agent
        if not self.address.startswith(UNIX) and not self.system.is_own(self.address):
            raise Refusal("wrong-address", "%s is no address of this host" % self.address)
        self.tls = tls_of(agent.root, self.service)
        if self.tls and not self.tls.verify:
            self.facts["unchecked"] = True
        unit = self.until_healthy(health_seconds)
        try:
            return self.holds(unit, health_seconds, stable_seconds)
        except Refusal as refusal:
            if refusal.trouble == "unhealthy" and not agent.unit.lives(unit):
                agent.unit.same_process(unit, stable_seconds)  # it is gone: that is why there is no answer
            raise

    def holds(self, unit: "dict[str, Any]", health_seconds: float, stable_seconds: float) -> "dict[str, Any]":
        """The same of one that is healthy: the four calls, the stability window, the process's age."""
        agent, since = self.agent, self.system.monotonic()
        self.judge_in_time(unit, self.began + agent.deadline.left(health_seconds))
        if "old" in self.facts["calls"]:
            self.facts["refused_after"] = self.system.monotonic() - self.began
        if "apply" in self.service:
            since = self.system.monotonic()  # until now it may not have read its file
        since = agent.unit.proven_since(unit, (self.want, *self.refuse), since)
        if stable_seconds and agent.unit.hold(unit, since + stable_seconds):
            if not agent.unit.lives(unit):  # it died: that is why there is no answer
                agent.unit.same_process(unit, stable_seconds)
            self.judge(unit)  # again: a refusal may come out of a cache at first
        unit = agent.unit.same_process(unit, stable_seconds)
        loaded = agent.unit.loaded(unit, agent.slots()["active"])
        if not self.has_read(loaded) and (loaded["fingerprint"] or {}).get("keyed") != self.want:
            raise Refusal("stale-process", "the process has not read what is in %s" % self.service["token"])
        return unit

    def has_read(self, loaded: "dict[str, Any]") -> bool:
        """True where no age shows what the process has read, and its answers do."""
        return self.facts["proven"] and loaded["evidence"] in ("touched", "answers")

    def get(
        self, path: str, token: "Optional[str]" = None, trusted: "Optional[frozenset[int]]" = None
    ) -> "tuple[int, str]":
        """(status, why not) of one call to the service, where the inventory says that it listens."""
        return self.agent.own_calls.get(CALL_SECONDS, self.port, path, token, trusted, self.address, self.tls)

    # -- health

    def until_healthy(self, seconds: float) -> "dict[str, Any]":
        """Waits, on the host, for health; gives up early when systemd has. Answers the unit as it then is."""
        agent = self.agent
        end = self.began + agent.deadline.left(seconds)
        first = unit = agent.unit.recent()
        looked = self.system.monotonic()
        while True:
            self.refuse_hopeless(unit, first)
            status, why = self.health()
            now = self.system.monotonic()
            if 200 <= status < 300:
                self.facts["healthy_after"] = now - self.began
                return unit if agent.unit.lives(unit) else agent.unit.look()
            if now >= end:
                raise self.not_healthy(unit, status, why, seconds)
            agent.deadline.pause(POLL_SECONDS)
            if not agent.unit.lives(unit) or now - looked >= LOOK_SECONDS:
                unit, looked = agent.unit.look(), now

    def refuse_hopeless(self, unit: "dict[str, Any]", first: "dict[str, Any]") -> None:
        """Raises when waiting for health is of no use: systemd gave up, or starts it again and again."""
        if unit["state"] in ("failed", "inactive"):
            raise Refusal(
                "start-failed", self.agent.unit.last_words(unit) or "the unit is %(state)s (%(result)s)" % unit
            )
        if unit["restarts"] >= first["restarts"] + 2:
            raise Refusal(
                "unstable", self.agent.unit.last_words(unit) or "systemd restarted it %(restarts)d times" % unit
            )

    def health(self) -> "tuple[int, str]":
        """(status, why not) of the first health path that may be one. Fills facts["health"]."""
        status, why = 0, ""
        for path in self.service["health"]:
            status, why = self.get(path)
            self.facts["health"] = {"path": path, "status": status}
            if status not in NOT_THIS_PATH:
                break
        return status, why

    def not_healthy(self, unit: "dict[str, Any]", status: int, why: str, seconds: float) -> Refusal:
        """Why there is no health, by what can be told of the one who does not answer."""
        where, path = place_of(self.address, self.port), self.facts["health"]["path"]
        if status in NOT_THIS_PATH:
            asked = ", ".join(self.service["health"])
            return Refusal("path-unknown", "no health path is there: %s (the last answers %d)" % (asked, status))
        if status in (0, 400) and self.speaks_tls():
            return Refusal("wrong-scheme", "%s speaks TLS, and the inventory says http" % where)
        elsewhere = self.elsewhere(unit) if not status else ""
        if elsewhere:
            return Refusal("wrong-address", "%s: %s; %s" % (where, why, elsewhere))
        shown = "answers %d" % status if status else why
        return Refusal(ODD.get(status, "unhealthy"), "%s: %s after %.0f s" % (path, shown, seconds))

    def speaks_tls(self) -> bool:
        """True for a service that answers over TLS what it does not answer in the open."""
        if self.tls:
            return False
        left = self.agent.deadline.left(CALL_SECONDS)
        try:
            return bool(self.system.get(self.port, "/", None, left, None, self.address, Tls(None, verify=False))[0])
        except Refusal:
            return False

    def elsewhere(self, unit: "dict[str, Any]") -> str:
        """Where the unit's processes listen, and which key says so; "" where that is not elsewhere, or not known."""
        members = self.system.members(unit["cgroup"]) or [unit["pid"]]
        places = self.system.places([pid for pid in members if pid])
        if not places or (self.address, self.port) in places:
            return ""
        address, port = min(places, key=lambda place: place[1] != self.port)
        keys = ['address = "%s"' % address] if address != self.address else []
        keys += ["port = %d" % port] if port not in (self.port, 0) else []
        shown = ", ".join(place_of(*place) for place in places[:MOST_NAMED])
        more = " and %d more" % (len(places) - MOST_NAMED) if len(places) > MOST_NAMED else ""
        return "%s listens on %s%s: %s" % (self.service["unit"], shown, more, ", ".join(keys))

    # -- the four calls

    def judge_in_time(self, unit: "dict[str, Any]", end: float) -> None:
        """As `judge`; a service that takes a new token without a restart is asked until it has, or until `end`."""
        while True:
            try:
                return self.judge(unit)
            except Refusal as refusal:
                late = "apply" not in self.service or self.system.monotonic() >= end or not self.agent.unit.lives(unit)
                if late or refusal.trouble not in NOT_READ_YET:
                    raise
            self.agent.deadline.pause(ASKS_AGAIN)

    def judge(self, unit: "dict[str, Any]") -> None:
        """The four calls, and what their answers mean. Fills facts["calls"] with the statuses.

        The first path is asked that nobody is let in to without a token, and that is there: llama-orch answers 401
        without a token on every path that it does not know, and 404 with one.
        """
        if not self.service["protected"]:
            return
        tried = []  # type: list[tuple[str, dict[str, int]]]
        for path in self.service["protected"]:
            calls = {}  # type: dict[str, int]
            self.facts.update(calls=calls, path=path, proven=False)
            self.ask_four(path, calls, unit)
            tried.append((path, calls))
            if calls["none"] == calls.get("garbage") == 401 and 404 not in calls.values():
                break
        else:
            path, calls = min(tried, key=lambda found: rank(found[1]))
            self.facts.update(calls=calls, path=path)
        self.refuse_open(path, calls, tried)
        self.conclude(calls, path, unit)
        self.facts["proven"] = True

    def ask_four(self, path: str, calls: "dict[str, int]", unit: "dict[str, Any]") -> None:
        """What a path answers. Of several old tokens the answer to the one that still works, if any, stands for all.

        The two calls without a token of ours come first: only a service that refuses them, and that is in the hands
        of its own account, the token file's or root, is told one.
        """
        for name, token in (("none", None), ("garbage", os.urandom(32).hex())):
            calls[name] = self.call(path, token)
            if calls[name] != 401:
                return
        trusted = may_hear(self.agent, unit)
        where = place_of(self.address, self.port)
        refuse_strangers(where, self.system.listeners(self.port, self.address), trusted)
        known = self.agent.secrets.known
        for name, keyed in [("new", self.want), ("also", self.also), *(("old", old) for old in self.refuse)]:
            if keyed in known and calls.get(name, 401) == 401:
                calls[name] = self.call(path, known[keyed], trusted)

    def call(self, path: str, token: "Optional[str]", trusted: "Optional[frozenset[int]]" = None) -> int:
        """The status of one call to a protected path; no answer is a failure of the service."""
        status, why = self.get(path, token, trusted)
        if not status:
            raise Refusal("unhealthy", "%s: %s" % (path, why))
        return status

    def refuse_open(self, path: str, calls: "dict[str, int]", tried: "list[tuple[str, dict[str, int]]]") -> None:
        """Raises where a path does not refuse a call without a token, or does not exist."""
        for name in ("none", "garbage"):
            status = calls.get(name, 401)
            if 200 <= status < 300:
                why = "%s is open to all calls: with %s it answers %d" % (path, CALL_WORDS[name], status)
                raise Refusal("fail-open", why + self.as_any_path())
            if status not in (401, 404):
                raise odd(path, name, status)
        if 404 in calls.values():
            names = [(other, next(name for name in CALL_WORDS if found.get(name) == 404)) for other, found in tried]
            said = ", ".join("%s answers 404 with %s" % (other, CALL_WORDS[name]) for other, name in names)
            raise Refusal("path-unknown", said)

    def as_any_path(self) -> str:
        """Tells a service that checks no token from one whose path is open."""
        status = self.get("/" + os.urandom(8).hex())[0]
        return ", and so does a path that cannot be there" if 200 <= status < 300 else ""

    def conclude(self, calls: "dict[str, int]", path: str, unit: "dict[str, Any]") -> None:
        """Raises unless the new token works and the old one, where there is one, does not."""
        for name in ("new", "also", "old"):
            if calls.get(name) in ODD:
                raise odd(path, name, calls[name])
        both = [200 <= calls.get(name, 0) < 300 for name in ("new", "also")]
        if self.also and any(both) and not all(both):
            words = "%s answers %d to the token in its file and %d to the second one"
            raise Refusal("takes-one", words % (path, calls.get("new", 0), calls.get("also", 0)))
        if not both[0]:
            why = "%s with the right token answers %d" % (path, calls.get("new", 0))
            if 200 <= calls.get("old", 0) < 300:
                why = "it still works with the other token"
            reads = self.agent.unit.file_read(unit)
            if reads and reads != self.service["token"]:
                why += ": the unit reads %s, we wrote %s" % (reads, self.service["token"])
            raise Refusal("new-refused", why)
        if not all(old in self.agent.secrets.known for old in (*self.refuse, *([self.also] if self.also else []))):
            raise Refusal("slot-changed", "the other token is in no slot any more: it cannot be tried")
        if calls.get("old", 401) != 401:
            raise Refusal("old-accepted", "%s with the other token answers %d" % (path, calls["old"]))


def may_hear(agent: "Agent", unit: "dict[str, Any]") -> "frozenset[int]":
    """The accounts (uid) that may be told a token: root, the token file's, and the service's own, or its front's.

    Read anew: when the unit was looked at, its process may still have been root, on its way to exec.
    """
    pids = (agent.system.members(unit["cgroup"]) or ()) if "front" in agent.service else (unit["pid"],)
    processes = [agent.system.process(pid) for pid in pids if pid]
    return frozenset((0, agent.secrets.account()[0], *(process["uid"] for process in processes if process)))


def rank(calls: "dict[str, int]") -> int:
    """How little the answers of a path that is not the one say: open, odd, not there."""
    worst = min(calls.get("none", 401), calls.get("garbage", 401))
    statuses = {calls.get("none", 401), calls.get("garbage", 401)} - {401, 404}
    return 0 if 200 <= worst < 300 else 1 if statuses else 2


def odd(path: str, name: str, status: int) -> Refusal:
    """An answer that is neither yes nor no to a token."""
    return Refusal(ODD.get(status, "unhealthy"), "%s with %s answers %d" % (path, CALL_WORDS[name], status))
