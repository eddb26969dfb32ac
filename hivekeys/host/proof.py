"""The proof: is the service healthy, on the right token, closed to all others, and is it the process that read it?

Runs ON a host, in one text with agent.py, whose verb `prove` it is. No token is told to a service that lets strangers
in, or whose port is in the hands of another account than its own, the token file's or root.
"""

import os

from hivekeys.host.state import POLL_SECONDS
from hivekeys.host.system import Refusal, refuse_strangers

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

    from hivekeys.host.agent import Agent

CALL_SECONDS = 5.0
LOOK_SECONDS = 1.0  # between two looks at a unit whose process lives: `systemctl show` is a process


class Proof:
    """One proof of one service. `facts`: what was seen so far, whether it holds or not.

    `want` is the keyed fingerprint of the token that must work, `refuse` those of the ones that must not.
    """

    def __init__(self, agent: "Agent", want: str, refuse: "Sequence[str]") -> None:
        self.agent = agent
        self.system = agent.system
        self.service = agent.service
        self.want = want
        self.refuse = refuse
        self.began = self.system.monotonic()
        self.facts = {"calls": {}, "proven": False}  # type: dict[str, Any]

    def of_service(self, health_seconds: float, stable_seconds: float) -> "dict[str, Any]":
        """The unit that was proven, as it is at the end; raises Refusal for one that is not."""
        agent = self.agent
        unit = self.until_healthy(health_seconds)
        self.judge(unit)
        if "old" in self.facts["calls"]:
            self.facts["refused_after"] = self.system.monotonic() - self.began
        if stable_seconds:
            agent.hold(unit, stable_seconds)
            if not agent.lives(unit):  # it died: that is why nobody answers
                agent.same_process(unit, stable_seconds)
            self.judge(unit)  # again: a refusal may come out of a cache at first
        unit = agent.same_process(unit, stable_seconds)
        loaded = agent.loaded(unit, agent.slots()["active"])
        answered = self.facts["proven"] and loaded["evidence"] == "touched"
        if not answered and (loaded["fingerprint"] or {}).get("keyed") != self.want:
            raise Refusal("stale-process", "the process has not read what is in %s" % self.service["token"])
        return unit

    # -- health

    def until_healthy(self, seconds: float) -> "dict[str, Any]":
        """Waits, on the host, for health; gives up early when systemd has. Answers the unit as it then is."""
        agent = self.agent
        end = self.began + agent.left(seconds)
        first = unit = agent.recent_unit()
        looked = self.system.monotonic()
        while True:
            self.refuse_hopeless(unit, first)
            status, why = self.health()
            now = self.system.monotonic()
            if 200 <= status < 300:
                self.facts["healthy_after"] = now - self.began
                return unit if agent.lives(unit) else agent.unit()
            if now >= end:
                shown = "answers %d" % status if status else why
                raise Refusal("unhealthy", "%s: %s after %.0f s" % (self.facts["health"]["path"], shown, seconds))
            agent.pause(POLL_SECONDS)
            if not agent.lives(unit) or now - looked >= LOOK_SECONDS:
                unit, looked = agent.unit(), now

    def refuse_hopeless(self, unit: "dict[str, Any]", first: "dict[str, Any]") -> None:
        """Raises when waiting for health is of no use: systemd gave up, or starts it again and again."""
        if unit["state"] in ("failed", "inactive"):
            raise Refusal("start-failed", self.agent.last_words(unit) or "the unit is %(state)s (%(result)s)" % unit)
        if unit["restarts"] >= first["restarts"] + 2:
            raise Refusal("unstable", self.agent.last_words(unit) or "systemd restarted it %(restarts)d times" % unit)

    def health(self) -> "tuple[int, str]":
        """(status, why not) of the first health path that is not 404. Fills facts["health"]."""
        status, why = 0, ""
        for path in self.service["health"]:
            status, why = self.system.get(self.service["port"], path, None, self.agent.left(CALL_SECONDS))
            self.facts["health"] = {"path": path, "status": status}
            if status != 404:
                break
        return status, why

    # -- the four calls

    def judge(self, unit: "dict[str, Any]") -> None:
        """The four calls, and what their answers mean. Fills facts["calls"] with the statuses.

        Of several old tokens the answer to the one that still works, if any does, stands for all.

        The two calls without a token of ours come first: only a service that refuses them, and whose port is
        in the hands of its own account, the token file's or root, is told one.
        """
        if not self.service["protected"]:
            return
        calls = {}  # type: dict[str, int]
        for path in self.service["protected"]:
            calls["none"] = self.call(path, None)
            if calls["none"] != 404:
                break
        self.facts.update(calls=calls, path=path, proven=False)
        calls["garbage"] = self.call(path, os.urandom(32).hex())
        for name, said in (("none", "no token"), ("garbage", "a garbage token")):
            if calls[name] != 401:
                trouble = "fail-open" if calls[name] < 400 else "unhealthy"
                raise Refusal(trouble, "%s with %s answers %d" % (path, said, calls[name]))
        # Read anew: when the unit was looked at, its process may still have been root, on its way to exec.
        process = self.system.process(unit["pid"]) if unit["pid"] else None
        trusted = frozenset((0, self.agent.secrets.account()[0], process["uid"] if process else 0))
        refuse_strangers(self.service["port"], self.system.listeners(self.service["port"]), trusted)
        known = self.agent.secrets.known
        for name, keyed in [("new", self.want), *(("old", old) for old in self.refuse)]:
            if keyed in known and calls.get(name, 401) == 401:
                calls[name] = self.call(path, known[keyed], trusted)
        self.conclude(calls, path, unit)
        self.facts["proven"] = True

    def call(self, path: str, token: "Optional[str]", trusted: "Optional[frozenset[int]]" = None) -> int:
        """The status of one call to the protected path; no answer is a failure of the service."""
        left = self.agent.left(CALL_SECONDS)
        status, why = self.system.get(self.service["port"], path, token, left, trusted)
        if not status:
            raise Refusal("unhealthy", "%s: %s" % (path, why))
        return status

    def conclude(self, calls: "dict[str, int]", path: str, unit: "dict[str, Any]") -> None:
        """Raises unless the new token works and the old one, where there is one, does not."""
        if not 200 <= calls.get("new", 0) < 300:
            why = "%s with the right token answers %d" % (path, calls.get("new", 0))
            if 200 <= calls.get("old", 0) < 300:
                why = "it still works with the other token"
            reads = self.agent.file_read_by(unit)
            if reads and reads != self.service["token"]:
                why += ": the unit reads %s, we wrote %s" % (reads, self.service["token"])
            raise Refusal("new-refused", why)
        if not all(old in self.agent.secrets.known for old in self.refuse):
            raise Refusal("slot-changed", "the other token is in no slot any more: nobody can ask whether it works")
        if calls.get("old", 401) != 401:
            raise Refusal("old-accepted", "%s with the other token answers %d" % (path, calls["old"]))
