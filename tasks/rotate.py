"""`fab rotate`: turns a fleet to a new token."""

import json as jsonlib
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import ExitCode, UserError
from tasks.engine import Asked, runner_of
from tasks.history import owing_lines
from tasks.options import foreseeing, secrets_given
from tasks.options.after_run import kept
from tasks.options.excluding import WITHOUT, left
from tasks.options.frame import (
    CHANGES_HELP,
    FLEET_HELP,
    NOTICE_HELP,
    TOLD_HELP,
    Told,
    chosen,
    finish,
    names,
    told,
    verb,
)
from tasks.options.pace import PACE_HELP, RETIRE_ANYWAY, age, seconds, with_pace

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host
    from hivekeys.rotation.crew import Crew
    from hivekeys.token import Token
from tasks.options.turning import confirm, refuse_without_queen


@task(
    help={
        **FLEET_HELP,
        **PACE_HELP,
        **TOLD_HELP,
        **NOTICE_HELP,
        "token-file": "take the token from this file (- is stdin): one line of 64 or more characters",
        "retire-anyway": RETIRE_ANYWAY,
        "without": WITHOUT,
        "allow-missing": "hosts that may be out of reach: they count as debts, and do not stop the others",
        "if-older-than": "do nothing, with exit code 0, while all hosts have one younger token (90d, 12h)",
        "reason": "why, for the record and for whoever meets the lock",
        **CHANGES_HELP,
    },
    auto_shortflags=False,
)
@verb
def rotate(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    without: str = "",
    token_file: str = "",
    canary: str = "",
    batch: str = "",
    max_failures: str = "",
    pause: str = "",
    pause_for_confirmation: bool = False,
    allow_missing: str = "",
    if_older_than: str = "",
    retire_anyway: bool = False,
    reason: str = "",
    state_dir: str = "",
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
    quiet: bool = False,
    events: bool = False,
    on_finish: str = "",
) -> None:
    """Turn the fleet to a new token, in order, and prove it on every host; all goes back if it cannot be done."""
    from hivekeys.journal.past import newest_served
    from hivekeys.rotation.course import ROTATION
    from hivekeys.rotation.drive import Drive
    from tasks.terminal.asking import paces

    how = told(json, quiet, events, on_finish)
    found, hosts = chosen(fleet, limit, exclude)
    found = with_pace(found, canary, batch, max_failures)
    hosts, out = left(found, hosts, without, state_dir)
    from_stdin = token_file == "-"  # noqa: S105  a dash, not a secret
    asks = (pause_for_confirmation or not yes) and not dry_run
    if asks and (from_stdin or not sys.stdin.isatty()):
        raise UserError("there is no terminal to ask for confirmation on", hint="look at `fab plan`, then add --yes")
    missing = names(found, allow_missing)
    refuse_without_queen(found, hosts, out, missing)
    oldest = age("--if-older-than", if_older_than)
    between = seconds("--pause", pause)
    token = _token(token_file)
    if token_file:
        _refuse_revoked(found, token, token_file, state_dir)
    if oldest:
        _refuse_held(found.name, state_dir)
    if oldest and not _is_due(found, hosts, oldest, Asked(told=how, state_dir=state_dir, records=False, excluded=out)):
        return
    asked = Asked(reason, how, state_dir=state_dir, excluded=out)
    if dry_run:
        foreseeing.plan(found, hosts, asked, lambda runner: _refuse_known(runner, token))
        return
    with runner_of(found, hosts, asked) as (runner, show):
        go_on = show.go_on if pause_for_confirmation else None
        plan = replace(ROTATION, may_be_missing=frozenset(missing), pause=between, census=True)
        plan = replace(plan, retire_anyway=retire_anyway)
        drive = Drive(runner, plan, lambda: token, given=bool(token_file), go_on=go_on)
        if drive.look():
            _refuse_known(runner, token)
            if not yes:
                show.plan(runner.run, found, newest_served(found.name, state_dir))
                confirm(runner, show, "to a new token", paces(found.name, state_dir, runner.run.task))
            code = drive.go()
        else:
            code = runner.end()
        show.result(runner.run, found, code, kept(found, runner, code, state_dir))
        if code is not ExitCode.DONE and not (json or events):
            for line in owing_lines(found, state_dir, runner.run.id):
                show.line(line)
    finish(code)


def _is_due(found: "Fleet", hosts: "tuple[Host, ...]", limit: float, asked: Asked) -> bool:
    """Whether something is to be done: a token that old, hosts that disagree or are ill, what a run left behind."""
    from hivekeys import report
    from hivekeys.report import stream
    from hivekeys.rotation.drive import Drive
    from hivekeys.text.durations import ago

    how = asked.told
    silent = replace(asked, told=Told(quiet=how.quiet or how.events))  # a look before the run is no part of its story
    with runner_of(found, hosts, silent) as (runner, show):
        well = Drive(runner).look()
        runner.end(ExitCode.DONE)
        oldest = report.settled_age(runner.run)
        if runner.interrupted.is_set():
            raise KeyboardInterrupt
    if not well or oldest is None or oldest >= limit:
        return True
    if how.events:
        sys.stdout.write(jsonlib.dumps(stream.not_due_line(found.name, oldest, time.time())) + "\n")
    elif how.json:
        sys.stdout.write(jsonlib.dumps({"fleet": found.name, "due": False, "age_seconds": round(oldest)}) + "\n")
    else:
        show.line(f"not due: the token of fleet {found.name} is {ago(oldest)} old; nothing was changed")
    return False


def _refuse_held(fleet: str, state_dir: str) -> None:
    """Not by the clock: a rotation each night would bury, one by one, the tokens that somebody still uses."""
    from hivekeys.journal.past import newest_served

    newest = newest_served(fleet, state_dir)
    if newest and newest.is_held:
        raise UserError(
            f"run {newest.id} keeps the token from before it, because it was still used: nothing was changed",
            hint=f"fab audit --fleet {fleet} --token previous; then fab reconcile --fleet {fleet}",
            code=ExitCode.INCOMPLETE,
        )


def _token(source: str) -> "Token":
    """A new token, or the one in a file that only its owner can read."""
    from hivekeys import token

    if not source:
        return token.generate()
    if source == "-":
        return token.parse(sys.stdin.buffer.read(token.MAX_LENGTH + 3), "standard input")
    hint = "leave --token-file out and let hivekeys make a token"
    return token.parse(secrets_given.read(source, token.MAX_LENGTH + 3, hint), source)


def _refuse_revoked(fleet: "Fleet", token: "Token", source: str, state_dir: str) -> None:
    """A token that leaked is nobody's to bring back."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import tombstones
    from hivekeys.token import refuse_revoked

    folder = state_folder.folder_for(fleet.name, state_dir)
    refuse_revoked(token.fingerprint(state_folder.fingerprint_key(folder)), tombstones(folder), source)


def _refuse_known(runner: "Crew", token: "Token") -> None:
    """A token that a host already serves is no rotation."""
    want = runner.fingerprint(token)
    serving = [host.name for host in runner.run.hosts.values() if host.was == want]
    if serving:
        runner.end(ExitCode.USAGE)
        raise UserError(
            f"the token given is the one that {', '.join(serving[:5])} already has (token:{want})",
            hint="leave --token-file out and let hivekeys make a token",
        )
