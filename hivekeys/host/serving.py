"""An agent's life on its host: a JSON request a line on stdin, its steps in order, one JSON line in answer.

Runs ON a host, in one text with agent.py.
"""

import json
import os
import queue
import resource
import signal
import sys
import threading
import time

from hivekeys.host.agent import EXTRA, Agent

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Iterable, Optional

LEASE_SECONDS = 30.0  # the bastion is heard every ten, or it is gone and its lock with us (hivekeys.line.BEAT)
AHEAD = 16  # lines that may lie unread: a bastion waits for the answer to each request
GRACE_SECONDS = 3.0  # for the last look after a step that used up the request's time

VERBS = (
    "hello",
    "observe",
    "probe_write",
    "stage",
    "swap",
    "restart",
    "prove",
    "revert",
    "retire",
    "discard",
    "recall",
    "revoke",
    "fence",
)


def answer(agent: Agent, request: "dict[str, Any]") -> "dict[str, Any]":
    """One request's results, a verb each: after a failure, nothing but a last look is done.

    A request `expires`, by this host's monotonic clock, when its bastion stops waiting: one that was held up on
    the way (a frozen sshd, a link that was down) must not change a host that has been called unknown.
    """
    now = agent.system.monotonic()
    agent.end = min(now + request["deadline"], request.get("expires", now + request["deadline"]))
    results = []  # type: list[dict[str, Any]]
    if agent.end <= now:
        return {"results": [refused(request["steps"][0]["verb"], "deadline", "the request came too late")]}
    failed = False
    for step in request["steps"]:
        fields = dict(step)
        verb = fields.pop("verb")
        if verb not in VERBS and verb not in EXTRA:
            raise ValueError("unknown verb")
        if agent.gone.is_set() or (failed and verb != "observe"):
            continue
        if failed:
            agent.end = max(agent.end, agent.system.monotonic() + GRACE_SECONDS)
        results.append(agent.carry_out(verb, fields))
        failed = failed or not results[-1]["ok"]
    return {"results": results}


def refused(verb: str, trouble: str, detail: str) -> "dict[str, Any]":
    """The result of a step that was not begun."""
    result = {"verb": verb, "ok": False, "changed": False, "facts": {}, "trouble": trouble, "detail": detail}
    return dict(result, seconds=0.0)


def serve(
    agent: Agent,
    lines: "Iterable[bytes]",
    out: "BinaryIO",
    idle: float = LEASE_SECONDS,
    reply: "Optional[Callable[[bytes], dict[str, Any]]]" = None,
) -> None:
    """Serves requests until the line ends, nothing was heard for `idle` seconds, or SIGTERM.

    `reply`: what answers a line instead of `answer` (gate.py).

    SIGTERM ends an idle agent at once, and a working one after the step in hand. An empty line is a bastion
    that is still there. The lock is never taken from an agent: it ends with one that has nothing in hand.
    """
    waiting = queue.Queue(AHEAD)  # type: queue.Queue[Optional[bytes]]

    def read() -> None:
        for line in lines:
            waiting.put(line)
        agent.gone.set()
        waiting.put(None)

    def leave(_signal: int, _frame: object) -> None:
        agent.gone.set()

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=read, daemon=True).start()
    while True:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if agent.gone.is_set():  # asked behind the line above, or a SIGTERM between the two would go unheard
            return
        try:
            line = waiting.get(timeout=idle)
        except queue.Empty:
            return
        if line is None:
            return
        if not line.strip():
            continue
        signal.signal(signal.SIGTERM, leave)
        said = reply(line) if reply else answer(agent, json.loads(line.decode()))
        out.write(json.dumps(said).encode() + b"\n")
        out.flush()


def blunder(error: BaseException) -> str:
    """One line that names a bug's kind and place, and nothing of the request that met it."""
    where, trace = "", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == blunder.__code__.co_filename:
            where = "%s, line %d" % (code.co_name, trace.tb_lineno)
        trace = trace.tb_next
    return "hivekeys agent: %s in %s\n" % (type(error).__name__, where)


def main(
    agent: "Optional[Agent]" = None,
    lines: "Optional[Iterable[bytes]]" = None,
    reply: "Optional[Callable[[bytes], dict[str, Any]]]" = None,
    who: bytes = b"",
) -> None:
    """The agent's life: never a core dump, never a wait for ever, never a file that others can read.

    `who`: what an installed agent says of itself when it is ready; `reply`: see `serve`.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
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
