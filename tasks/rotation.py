"""`fab plan` and `fab rotate`: what would change, and changing it."""

import contextlib
import os
import secrets
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import ExitCode, UserError
from tasks.frame import FLEET_HELP, chosen, finish, verb

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host
    from hivekeys.rollout import Rollout
    from hivekeys.token import Token
    from tasks.live import Show

# Imports inside the functions below: SSH, pydantic and rich take half a second that `fab --list` has not.


@task(help=FLEET_HELP, auto_shortflags=False)
@verb
def plan(_: Context, fleet: str = "", limit: str = "", exclude: str = "", json: bool = False) -> None:
    """Show what a rotation would meet and change, host by host; changes nothing."""
    found, hosts = chosen(fleet, limit, exclude)
    with _rollout(found, hosts, json, lock=False) as (rollout, show):
        code = ExitCode.DONE if rollout.look() else ExitCode.INCOMPLETE
        rollout.end(code)
        show.plan(rollout.run, found)
    finish(code)


@task(
    help={
        **FLEET_HELP,
        "token-file": "take the token from this file (- is stdin) instead of making one: one line, 64 characters or more",
        "reason": "why, for the record and for whoever meets the lock",
        "yes": "do not ask",
    },
    auto_shortflags=False,
)
@verb
def rotate(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    token_file: str = "",
    reason: str = "",
    yes: bool = False,
    json: bool = False,
) -> None:
    """Turn the fleet to a new token, in order, and prove it on every host; all goes back if it cannot be done."""
    found, hosts = chosen(fleet, limit, exclude)
    if found.queen not in hosts:
        raise UserError("the queen is left out: its hives could not talk to it any more", hint="add it to --limit")
    from_stdin = token_file == "-"  # noqa: S105  a dash, not a secret
    if not yes and (from_stdin or not sys.stdin.isatty()):
        raise UserError("there is no terminal to ask for confirmation on", hint="look at `fab plan`, then add --yes")
    token = _token(token_file)
    with _rollout(found, hosts, json, reason) as (rollout, show):
        ready = rollout.look()
        _refuse_known(rollout, token)
        if not ready:
            rollout.end()
        else:
            if not yes:
                show.plan(rollout.run, found)
                _confirm(rollout, show)
            rollout.rotate(token)
        show.result(rollout.run, found)
    finish(ExitCode.BUG if rollout.run.code is None else rollout.run.code)


@contextlib.contextmanager
def _rollout(
    fleet: "Fleet", hosts: "tuple[Host, ...]", json: bool, reason: str = "", lock: bool = True
) -> "Iterator[tuple[Rollout, Show]]":
    """The engine with its edges: SSH below, the operator's screen above, the fleet's lock around it."""
    from hivekeys import state  # noqa: PLC0415
    from hivekeys.remote import SshDialer  # noqa: PLC0415
    from hivekeys.rollout import Rollout  # noqa: PLC0415
    from hivekeys.wire import Greeting  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    folder = state.folder_for(fleet.name)
    run = f"{fleet.name}-{secrets.token_hex(4)}"
    greeting = Greeting(fleet.name, state.fingerprint_key(folder), run, state.operator(), write=False)
    program = (Path(state.__file__).parent / "agent.py").read_bytes()
    held = state.hold_lock(folder, fleet.name, run, reason) if lock else contextlib.nullcontext()
    with held, Show(json) as show:
        rollout = Rollout(fleet, hosts, SshDialer(fleet, program), greeting, show.record, reason=reason)
        with _signals(rollout):
            yield rollout, show


def _token(source: str) -> "Token":
    """A new token, or the one in a file that only its owner can read."""
    from hivekeys import token  # noqa: PLC0415

    if not source:
        return token.generate()
    if source == "-":
        return token.parse(sys.stdin.buffer.read(token.MAX_LENGTH + 3), "standard input")
    try:
        with Path(source).expanduser().open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(token.MAX_LENGTH + 3)
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & 0o077:
        raise UserError(
            f"{source}: others can read it (mode {stat.S_IMODE(mode):04o}), so it is no secret any more",
            hint="leave --token-file out and let hivekeys make a token",
        )
    return token.parse(data, source)


def _refuse_known(rollout: "Rollout", token: "Token") -> None:
    """A token that a host already serves is no rotation."""
    want = rollout.fingerprint(token)
    serving = [host.name for host in rollout.run.hosts.values() if host.was == want]
    if serving:
        rollout.end()
        raise UserError(
            f"the token given is the one that {', '.join(serving[:5])} already has (token:{want})",
            hint="leave --token-file out and let hivekeys make a token",
        )


def _confirm(rollout: "Rollout", show: "Show") -> None:
    count = len(rollout.run.hosts) - len(rollout.run.left_out)
    try:
        answer = show.ask(f"Turn {count} hosts of fleet {rollout.run.fleet} to a new token? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        rollout.end()
        raise UserError("not confirmed: nothing was changed")


@contextlib.contextmanager
def _signals(rollout: "Rollout") -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM, or a lost terminal) ends the run in order, the second at once."""
    asked: list[int] = []

    def ask_to_stop(number: int, _: FrameType | None) -> None:
        if asked:
            os._exit(ExitCode.INTERRUPTED)  # threads that wait for hosts would keep a normal exit from happening
        asked.append(number)
        rollout.interrupt()
        os.write(2, b"\nstopping: hosts in flight finish, then all goes back (again: stop at once)\n")

    before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
