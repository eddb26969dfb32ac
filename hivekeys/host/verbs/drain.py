"""The agent's verbs `drain`, `uncordon` and `busy`: frees a service of work before a restart, and gives it work again.

Runs ON the host, as root, in one text with agent.py, where the inventory's service has a `drain`. Its commands are the
operator's: argv without a shell, from the greeting, which an installed agent takes from its own root-owned file. That a
service is drained stands in /var/lib/hivekeys from before the first command until the last has succeeded, so that
`after` runs in every case in which `before` may have: the next look at the host shows it.
"""

import os
import re
import select
import signal
import subprocess
import time

from hivekeys.host.agent import FRONTS, Agent, verb
from hivekeys.host.proof import CALL_SECONDS, may_hear
from hivekeys.host.system import QUIET_ENV, Refusal
from hivekeys.host.tls import tls_of
from hivekeys.host.turning import CORDONED

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

HURRIED = 10.0  # seconds: the most that a revocation waits for work to end
IS_BUSY = 75  # EX_TEMPFAIL of sysexits.h: how a command of `until` says that there is work
OUTPUT_BYTES = 2000  # bytes of what a command says that are kept: its end
BODY_BYTES = 1 << 20  # of an answer; a longer one says nothing
CALLED_OFF = "the operator ended the run"
TICK = 0.2  # seconds between two looks whether a command has ended, or the bastion is gone


@verb("touches", "calls", "locked")
def drain(
    agent: "Agent", host: str = "", phase: str = "", reason: str = "", hurries: bool = False, marks: bool = False
) -> "tuple[bool, dict[str, Any]]":
    """`before`, then waits `until` the service has no work; at the deadline what `on_deadline` says.

    `hurries`: at most ten seconds, and a `before` that fails keeps nothing from the restart. `marks`: only notes that
    the service is drained, because `before` is done on the bastion. Where it fails, the service has work again.
    """
    work = Draining(agent, host, phase, reason)
    work.mark()
    if marks:
        return True, {}
    try:
        return True, work.drained(hurries)
    except Refusal as refusal:
        raise work.undone(refusal) from None


@verb("touches", "calls", "locked")
def uncordon(agent: "Agent", host: str = "", phase: str = "", reason: str = "") -> "tuple[bool, dict[str, Any]]":
    """`after`, where a run has drained the service; it is drained until that has succeeded."""
    if not agent.state.content(CORDONED):
        return False, {}
    began = agent.system.monotonic()
    said = Draining(agent, host, phase, reason).end()
    return True, {"seconds": agent.system.monotonic() - began, "output": said}


@verb("calls", "unlocked")
def busy(agent: "Agent", host: str = "", phase: str = "", reason: str = "") -> "tuple[bool, dict[str, Any]]":
    """The work that there is now, by what `until` sees. Changes nothing."""
    return False, {"busy": Draining(agent, host, phase, reason).busy()}


class Draining:
    """One drain of the agent's service; host, phase and reason are for the environment of its commands.

    Of a front it is the service behind it that has work, and is asked.
    """

    def __init__(self, agent: "Agent", host: str, phase: str, reason: str) -> None:
        self.front = agent if "front" in agent.service else None
        self.agent = FRONTS["behind"](agent) if self.front else agent  # type: Agent
        self.system = agent.system
        self.plan = agent.service.get("drain") or {}  # type: dict[str, Any]
        self.seconds = float(self.plan.get("deadline", HURRIED))
        about = {"FLEET": agent.fleet, "HOST": host, "RUN": agent.run, "PHASE": phase, "REASON": reason}
        self.environment = dict(QUIET_ENV, **{"HIVEKEYS_" + name: about[name] for name in about})

    # -- what the host remembers of it

    def mark(self) -> None:
        """From now on the host's record says which run has drained the service."""
        if "before" in self.plan or "after" in self.plan:
            self.agent.state.keep(CORDONED, self.agent.run)

    def unmark(self) -> None:
        folder = self.agent.state.open(create=False)
        if folder is None:
            return
        try:
            os.unlink(CORDONED, dir_fd=folder)
            os.fsync(folder)
        except FileNotFoundError:
            pass
        finally:
            os.close(folder)

    def end(self) -> str:
        """`after`, and the host's record no longer says that the service is drained; what `after` said."""
        said = self.hook("after", self.seconds)
        self.unmark()
        return said

    # -- the drain

    def drained(self, hurries: bool) -> "dict[str, Any]":
        """How it went; a refusal where the work did not end, and the restart must not end it.

        Neither does a run that is called off; only a revocation that `hurries` then goes on at once.
        """
        began = self.system.monotonic()
        most = min(self.seconds, HURRIED) if hurries else self.seconds
        try:
            said = self.hook("before", most)
        except Refusal as refusal:
            if self.is_off() and not hurries:
                raise Refusal("still-busy", "%s: %s" % (CALLED_OFF, refusal.detail)) from None
            if not hurries:
                raise
            said = refusal.detail
        left = self.wait(began + most)
        took = self.system.monotonic() - began
        if left and not hurries and (self.is_off() or self.plan.get("on_deadline") != "restart"):
            why = "%s; " % CALLED_OFF if self.is_off() else ""
            raise Refusal("still-busy", "%safter %.0f s: %s" % (why, took, left))
        return {"seconds": took, "busy": left, "forced": bool(left), "output": said}

    def wait(self, end: float) -> str:
        """Waits until there is no work; the work that is left then, "" for none."""
        while True:
            left = self.busy()
            now = self.system.monotonic()
            again = min(now + float(self.plan.get("until", {}).get("every", TICK)), end)
            if not left or now >= end or self.is_off():
                return left
            while not self.is_off() and self.system.monotonic() < again:
                self.agent.deadline.pause(max(min(TICK, again - self.system.monotonic()), 0.001))

    def is_off(self) -> bool:
        """True once the bastion has said that the operator ended the run."""
        return self.agent.deadline.called_off

    def undone(self, refusal: Refusal) -> Refusal:
        """The refusal, after `after`: nothing was changed, so the service has work again, also for a lost bastion."""
        try:
            self.hook("after", self.seconds)
            if not (self.is_elsewhere("before") or self.is_elsewhere("after")):
                self.unmark()
        except Refusal as other:
            refusal.detail = "%s; %s" % (refusal.detail, other.detail)
        return refusal

    def busy(self) -> str:
        """The work that there is, in the words of `until`; "" for none. Where that cannot be told, why not."""
        until = self.plan.get("until")
        if self.front and not until and self.plan.get("before", {}).get("front"):
            return str(FRONTS["under_way"](self.front))
        if not until or not self.runs():
            return ""
        if until["run"]:
            code, said = self.command(until["run"], CALL_SECONDS * 2)
            if code in (0, IS_BUSY):
                return (said or "busy") if code else ""
            return "%s ended with %d: %s" % (until["run"][0], code, said)
        status, body = self.call("GET " + until["get"], CALL_SECONDS)
        if not 200 <= status < 300:
            return "GET %s: %s" % (until["get"], body if not status else "answers %d" % status)
        sought = re.compile(until["none"])
        return " / ".join(line for line in body.splitlines() if sought.search(line))[:OUTPUT_BYTES]

    def runs(self) -> bool:
        """False for a service that is down: it has no work, and nothing to be told."""
        return self.agent.unit.recent()["state"] not in ("inactive", "failed")

    # -- the operator's commands

    def is_elsewhere(self, name: str) -> bool:
        """True for a command that the bastion does."""
        return bool(self.plan.get(name, {}).get("bastion"))

    def hook(self, name: str, seconds: float) -> str:
        """Does `before` or `after`, if this host is to do it; what it said at its end. A refusal where it fails."""
        hook = self.plan.get(name)
        if not hook or self.is_elsewhere(name):
            return ""
        if hook.get("front"):
            FRONTS["keep_off"](self.front, name == "before")
            return ""
        if hook["http"]:
            if name == "before" and not self.runs():
                return ""
            status, body = self.call(hook["http"], min(seconds, CALL_SECONDS * 2))
            if not 200 <= status < 300:
                said = "answers %d" % status if status else body
                raise Refusal("hook-failed", "%s: %s: %s" % (name, hook["http"], said))
            return ""
        code, said = self.command(hook["run"], seconds, ends_early=name == "before")
        if code:
            raise Refusal("hook-failed", "%s: %s ended with %d: %s" % (name, hook["run"][0], code, said))
        return said

    def command(self, argv: "list[str]", seconds: float, ends_early: bool = False) -> "tuple[int, str]":
        """(exit code, the end of what it said) of a command with nothing to read; 124 when it was ended at its time.

        `ends_early`: also as the operator ends the run.
        It is over when its own process is, whatever that has left behind. All of its group are ended at its time.
        """
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            return 127, error.strerror or "not started"
        end, said, pipe = time.monotonic() + seconds, b"", process.stdout.fileno()  # type: ignore[union-attr]
        with process:
            while process.poll() is None:
                if time.monotonic() >= end or (ends_early and self.is_off()):
                    os.killpg(process.pid, signal.SIGKILL)
                    passed = seconds - max(end - time.monotonic(), 0.0)
                    return 124, "not over after %.0f s; %s" % (passed, self.words(said))
                data = read_within(pipe, TICK)
                if data == b"":  # it has closed its output, and lives on or is about to end
                    ended(process, TICK)
                said = (said + (data or b""))[-OUTPUT_BYTES:]
            said = (said + (read_within(pipe, 0.0) or b""))[-OUTPUT_BYTES:]  # a pipe holds no more
        return process.returncode, self.words(said)

    def words(self, said: bytes) -> str:
        lines = said.decode("utf-8", "replace").split("\n")
        return self.agent.without_tokens(" / ".join(filter(None, map(str.strip, lines))))

    # -- calls to the service

    def call(self, request: str, seconds: float) -> "tuple[int, str]":
        """(status, body) of a request to the service with its token, or (0, why not)."""
        agent, service, began = self.agent, self.agent.service, self.system.now()
        active = agent.slots()["active"] or {}
        token = agent.secrets.known.get((active.get("fingerprint") or {}).get("keyed", ""))
        try:
            trusted = self.trusted()
            data, why = self.system.fetch(
                request + " HTTP/1.0",
                service["port"],
                token,
                seconds,
                trusted,
                service["address"],
                tls_of(agent.root, service),
                BODY_BYTES + 1,
            )
        except Refusal as refusal:
            return 0, refusal.detail
        found = re.match(rb"HTTP/1\.[01] (\d{3})\b", data)
        if len(data) > BODY_BYTES or not found:
            return 0, why or ("its answer is longer than %d bytes" % BODY_BYTES if found else "the answer is not HTTP")
        status = int(found.group(1))
        agent.own_calls.note(began, request.partition(" ")[2], token, status)
        return status, agent.without_tokens(data.partition(b"\r\n\r\n")[2].decode("utf-8", "replace"))

    def trusted(self) -> "frozenset[int]":
        """The accounts that may hear the token; the call itself asks who listens."""
        return may_hear(self.agent, self.agent.unit.recent())


def read_within(pipe: int, seconds: float) -> "Optional[bytes]":
    """What a command says next: b"" at the end of its output, None for nothing in so many seconds."""
    return os.read(pipe, 1 << 16) if select.select([pipe], [], [], seconds)[0] else None


def ended(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Whether it ends within so many seconds."""
    try:
        process.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False
