"""The drain of one host: around the steps that restart its service, with the commands that the bastion does.

What the host does itself goes with its steps, in one request; a command of the bastion's needs one before and behind.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from hivekeys.fleet import Host
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply, Result, joined
from hivekeys.protocol.verbs import Drain, Observe, Step, Uncordon
from hivekeys.service import HURRIED, Hook

TICK = 0.2  # seconds between two looks whether a command must end
OUTPUT_BYTES = 2000  # bytes of what a command says that are kept: its end
LOOK = Observe()
Ask = Callable[[Sequence[Step]], Reply | Cause]  # one request to the host


def ask(asked: Ask, host: Host, run: Run, steps: Sequence[Step], is_off: Callable[[], bool]) -> Reply | Cause:
    """The host's answer to these steps and one more look, with what the bastion does for its drain.

    A step that drains comes alone; one that ends the drain comes last. `is_off`: whether the operator ended the run.
    """
    drain, last = host.service.drain, steps[-1]
    if drain and drain.before and drain.before.bastion and isinstance(last, Drain):
        return _drained(asked, host, run, last, drain.before, is_off)
    if drain and drain.after and drain.after.bastion and isinstance(last, Uncordon):
        return _uncordoned(asked, host, run, steps[:-1], last, drain.after)
    return asked((*steps, LOOK))


def _drained(asked: Ask, host: Host, run: Run, step: Drain, before: Hook, is_off: Callable[[], bool]) -> Reply | Cause:
    """The host notes that it is drained, the bastion does `before`, and the host waits until it is idle."""
    reply = asked((replace(step, marks=True),))
    if isinstance(reply, Cause) or reply.cause:
        return reply
    cause = _done(before, host, step, run, is_off)
    if cause and not step.hurries:
        cause = Cause(Trouble.STILL_BUSY, f"the operator ended the run: {cause.detail}") if is_off() else cause
        return joined(_failed(cause, step), asked((LOOK,)))
    return joined(reply, asked((step, LOOK)))


def _uncordoned(asked: Ask, host: Host, run: Run, steps: Sequence[Step], last: Uncordon, after: Hook) -> Reply | Cause:
    """After these steps the bastion does `after`, and the host notes that it is drained no longer."""
    reply = asked((*steps, LOOK)) if steps else Reply(())
    if isinstance(reply, Cause) or reply.cause:
        return reply
    if cause := _done(after, host, last, run):
        return joined(joined(reply, _failed(cause, last)), asked((LOOK,)))
    return joined(reply, asked((last, LOOK)))


def _failed(cause: Cause, step: Step) -> Reply:
    return Reply((), cause, Result(step.verb, False, 0.0))


def _done(
    hook: Hook, host: Host, step: Drain | Uncordon, run: Run, is_off: Callable[[], bool] = lambda: False
) -> Cause | None:
    """Does one command on the bastion, and ends it once `is_off`; why it failed, or None."""
    name = "after" if isinstance(step, Uncordon) else "before"
    hurries = isinstance(step, Drain) and step.hurries
    most = HURRIED if hurries or host.service.drain is None else host.service.drain.deadline
    filled = [word.replace("{host}", host.name).replace("{address}", host.address) for word in hook.bastion]
    facts = {"FLEET": run.fleet, "HOST": host.name, "RUN": run.id, "PHASE": step.phase, "REASON": step.reason}
    code, said = _command(filled, {f"HIVEKEYS_{key}": value for key, value in facts.items()}, most, is_off)
    return Cause(Trouble.HOOK_FAILED, f"{name}, on the bastion: {filled[0]} {said}") if code else None


def _command(argv: Sequence[str], facts: dict[str, str], seconds: float, is_off: Callable[[], bool]) -> tuple[int, str]:
    """(exit code, how it ended and what it said last) of a command with nothing to read, ended at its time."""
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **facts},
            start_new_session=True,
        )
    except OSError as error:
        return 127, error.strerror or "could not be started"
    end, said, more, is_ended = time.monotonic() + seconds, b"", b"nothing yet", False
    with process:
        pipe = process.stdout.fileno() if process.stdout else -1
        while more or process.poll() is None:
            if not is_ended and (time.monotonic() >= end or is_off()):
                is_ended, seconds = True, seconds - max(end - time.monotonic(), 0.0)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            if not more:  # it has closed its output
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TICK)
            elif select.select([pipe], [], [], TICK)[0]:
                more = os.read(pipe, 1 << 16)
                said = (said + more)[-OUTPUT_BYTES:]
    how = f"was not over after {seconds:.0f} s" if is_ended else f"ended with {process.returncode}"
    words = " / ".join(line.strip() for line in said.decode(errors="replace").splitlines() if line.strip())
    return process.returncode, f"{how}{': ' if words else ''}{words}"
