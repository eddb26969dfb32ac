"""Serves requests on a host: a JSON line on stdin, its steps in order, a JSON line in answer.

Runs ON a host, in one text with agent.py.
"""

import json
import os
import queue
import re
import resource
import signal
import sys
import threading
import time

from hivekeys.host.agent import VERBS, Agent

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Iterable, Optional

LEASE_SECONDS = 30.0  # the bastion is heard every ten, or it is gone and its lock with us (hivekeys.ssh.line.HEARTBEAT)
SIGN_SECONDS = (
    5.0  # between our own signs of life; a bastion gives us up when it has missed three (hivekeys.ssh.line.QUIET)
)
UNREAD_LINES = 16  # lines that may lie unread: a bastion waits for the answer to each request
GRACE_SECONDS = 3.0  # for the last look after a step that used up the time of its request
ENDED_EARLY = "its agent was told to leave (SIGTERM) while it worked, as sudo's command_timeout does"


def answer(agent: Agent, request: "dict[str, Any]") -> "dict[str, Any]":
    """One request's results, a verb each: after a failure, nothing but a last look is done.

    A request `expires`, by this host's monotonic clock, when its bastion stops waiting: one that was held up on
    the way (a frozen sshd, a link that was down) must not change a host that has been called unknown.
    """
    now = agent.system.monotonic()
    agent.deadline.end = min(now + request["deadline"], request.get("expires", now + request["deadline"]))
    results = []  # type: list[dict[str, Any]]
    if agent.deadline.end <= now:
        return {"results": [refused(request["steps"][0]["verb"], "deadline", "the request came too late")]}
    failed = False
    for step in request["steps"]:
        fields = dict(step)
        verb = fields.pop("verb")
        if verb not in VERBS:
            raise ValueError("unknown verb")
        if agent.deadline.is_alone() or (failed and verb != "observe"):
            continue
        if failed:
            agent.deadline.end = max(agent.deadline.end, agent.system.monotonic() + GRACE_SECONDS)
        results.append(agent.carry_out(verb, fields))
        failed = failed or not results[-1]["ok"]
    return {"results": results}


def refused(verb: str, trouble: str, detail: str) -> "dict[str, Any]":
    """The result of a step that was not begun."""
    result = {"verb": verb, "ok": False, "changed": False, "facts": {}, "trouble": trouble, "detail": detail}
    return dict(result, seconds=0.0)


def is_sign(agent: Agent, line: bytes, lease: float) -> bool:
    """True for a bastion's sign, which is no request: "!", that its run was ended, or one of life.

    The agent's lease is renewed by that.
    "@" and the reading of this host's monotonic clock at which it was sent: the lease counts from there, so that one
    that was held up on the way is worth no more than when it was sent. An empty line is sent by a bastion that does
    not know our clock, and counts from now.
    """
    if line.strip() == b"!":
        agent.deadline.called_off = True
        return True
    sent = re.match(rb"@(\d{1,15}\.\d{1,9})\s*\Z", line)
    if line.strip() and not sent:
        return False
    now = agent.system.monotonic()
    agent.deadline.lease = max(agent.deadline.lease, min(float(sent.group(1)) if sent else now, now) + lease)
    return True


class Voice:
    """The agent's stdout: an answer for each request, and until it is there an empty line now and then.

    A bastion that hears nothing at all takes the host for frozen, or the link for cut.
    """

    def __init__(self, out: "BinaryIO", every: float = SIGN_SECONDS) -> None:
        self.out = out
        self.at_work = False
        self.speaking = threading.Lock()  # no sign gets into the middle of an answer, or behind it
        self.over = threading.Event()
        threading.Thread(target=self.give_signs, args=(every,), daemon=True).start()

    def give_signs(self, every: float) -> None:
        while not self.over.wait(every):
            with self.speaking:
                if self.at_work:
                    try:
                        self.write(b"\n")
                    except OSError:  # the answer will meet it, too
                        return

    def answer(self, said: "dict[str, Any]") -> None:
        with self.speaking:
            self.at_work = False
            self.write(json.dumps(said).encode() + b"\n")

    def write(self, data: bytes) -> None:
        self.out.write(data)
        self.out.flush()


def serve(
    agent: Agent,
    lines: "Iterable[bytes]",
    out: "BinaryIO",
    lease: float = LEASE_SECONDS,
    reply: "Optional[Callable[[bytes], dict[str, Any]]]" = None,
    every: float = SIGN_SECONDS,
) -> None:
    """Serves requests until the line ends, no sign of life was sent for `lease` seconds, or SIGTERM.

    `reply`: what answers a line instead of `answer` (gate.py). `every`: seconds between our own signs of life.

    Each ends an idle agent at once, and a working one after the step in hand. The lock is never taken from an
    agent: it ends with one that has nothing in hand.
    """
    waiting = queue.Queue(UNREAD_LINES)  # type: queue.Queue[Optional[bytes]]
    agent.deadline.lease = agent.system.monotonic() + lease
    voice = Voice(out, every)

    def read() -> None:
        for line in lines:
            if not is_sign(agent, line, lease):
                waiting.put(line)
        agent.deadline.gone.set()
        waiting.put(None)

    def leave(_signal: int, _frame: object) -> None:
        agent.deadline.farewell = ENDED_EARLY
        agent.deadline.gone.set()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if agent.deadline.is_alone():  # asked behind the line above, or a SIGTERM between would go unheard
                break
            try:
                line = waiting.get(timeout=max(agent.deadline.lease - agent.system.monotonic(), 0.001))
            except queue.Empty:
                continue
            if line is None:
                break
            signal.signal(signal.SIGTERM, leave)
            voice.at_work = True
            voice.answer(reply(line) if reply else answer(agent, json.loads(line.decode())))
    finally:
        voice.over.set()
        agent.leave()


def blunder(error: BaseException) -> str:
    """One line that names a bug's kind and place, and nothing of the request that met it."""
    where, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == blunder.__code__.co_filename:
            where = "%s, line %d" % (code.co_name, trace.tb_lineno)
        trace = trace.tb_next
    return "hivekeys agent: %s in %s\n" % (type(error).__name__, where)


def refuse_core_dumps() -> None:
    """A token is in our memory: nothing of it goes into a core dump.

    At a limit of exactly 1 the kernel makes none, not even for a core_pattern that is a pipe, which asks no other limit
    (fs/coredump.c). The filter leaves all memory out of a dump, should another kernel see that otherwise. prctl would
    do, but Python has it in ctypes alone, whose import costs each host 3 to 10 ms.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    except ValueError:
        pass  # it is 0, and in this container root may not raise it
    try:
        with open("/proc/self/coredump_filter", "w") as filter_of_dumps:
            filter_of_dumps.write("0")
    except OSError:
        pass  # a kernel without core dumps


def main(
    agent: "Optional[Agent]" = None,
    lines: "Optional[Iterable[bytes]]" = None,
    reply: "Optional[Callable[[bytes], dict[str, Any]]]" = None,
    who: bytes = b"",
) -> None:
    """The agent's life: never a core dump, never a wait for ever, never a file that others can read.

    `who`: what an installed agent says of itself when it is ready; `reply`: see `serve`.
    """
    refuse_core_dumps()
    os.umask(0o077)
    sys.stdout.buffer.write(b"hivekeys:ready %.3f%s\n" % (time.monotonic(), who))
    sys.stdout.buffer.flush()
    status = 0
    try:
        serve(agent or Agent(), lines or sys.stdin.buffer, sys.stdout.buffer, reply=reply)
    except BrokenPipeError:
        pass
    except Exception as error:
        sys.stderr.write(blunder(error))
        status = 70  # EX_SOFTWARE
    sys.stderr.flush()
    os._exit(status)  # a reader thread that still holds stdin would make a normal exit abort


if __name__ == "__main__":
    main()
