"""`fab rotate`: turns a fleet to a new token."""

import functools
import json
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions, host_names
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.pace import PaceOptions, age
from hivekeys.tasks.options.turning import TurnOptions
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import print_document

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host
    from hivekeys.tasks.work.request import Request


@dataclass(frozen=True, kw_only=True)
class RotateOptions(TurnOptions):
    """Which token comes, and whether it is time for one."""

    token_file: str = option("take the token from this file (- is stdin): one line of 64 or more characters")
    if_older_than: str = option("do nothing, with exit code 0, while all hosts have one younger token (90d, 12h)")
    finish: bool = option("end an overlap: all hosts drop the old token, unless a client still uses it", default=False)
    reason: str = option("why, for the record and for an operator who meets the lock")


@verb
def rotate(
    scope: HostsOptions,
    own: RotateOptions,
    pace: PaceOptions,
    change: ChangeOptions,
    output: OutputOptions,
    notify: NotifyOptions,
) -> None:
    """Turn the fleet to a new token, in order, and prove it on every host; all goes back if it cannot be done."""
    from hivekeys.bastion import secrets_given
    from hivekeys.bastion.earlier import overlapping_run, refuse_leaked, refuse_overlapping
    from hivekeys.bastion.excluding import split_excluded
    from hivekeys.bastion.turning import refuse_known, refuse_without_queen
    from hivekeys.report.verdict import past_verdict
    from hivekeys.rotation.drive import Drive
    from hivekeys.tasks.work import foreseeing
    from hivekeys.tasks.work.approving import approved_for, carrying_out, goal_of
    from hivekeys.tasks.work.earlier_run import finish_overlap
    from hivekeys.tasks.work.request import Request
    from hivekeys.tasks.work.run import runner_of
    from hivekeys.tasks.work.standing import owing_lines
    from hivekeys.tasks.work.turning import plan_of, refuse_without_terminal, turn

    fleet, hosts = scope.load_hosts()
    fleet = pace.apply_to(fleet)
    hosts, excluded = split_excluded(fleet, hosts, host_names(fleet, own.without), scope.state_dir)
    missing = host_names(fleet, own.allow_missing)
    refuse_without_queen(fleet, hosts, excluded, missing)
    oldest = age("--if-older-than", own.if_older_than)
    plan = plan_of(own, pace, missing, fleet)
    request = Request(
        reason=own.reason,
        output=output,
        on_finish=notify.command,
        log=notify.log,
        state_dir=scope.state_dir,
        excluded=excluded,
        meters=own.meters(hosts),
    )
    overlapping = overlapping_run(fleet.name, scope.state_dir)
    if own.finish or (overlapping and oldest and time.time() >= overlapping.overlap_until):
        finish_overlap(fleet, overlapping, own, request, dry_run=change.dry_run)
        return
    if overlapping and overlapping.is_overlapping:
        if not oldest:
            refuse_overlapping(fleet, overlapping)
        why = f"run {overlapping.id}: {past_verdict(overlapping).words}"
        _say_not_due(fleet.name, time.time() - overlapping.started, why, output)
        return
    refuse_without_terminal(pace, change, from_stdin=own.token_file == "-")  # noqa: S105  a dash, not a secret
    if not (change.dry_run or _may_begin(fleet, hosts, own, oldest, request)):
        return
    approved = approved_for(fleet, hosts, excluded, own, scope.state_dir)
    token = secrets_given.new_token(own.token_file)
    if own.token_file:
        refuse_leaked(fleet, token, scope.state_dir, own.token_file)
    request = carrying_out(request, approved, goal_of(fleet, token, own.token_file, scope.state_dir))
    if oldest and not _is_due(fleet, hosts, oldest, request):
        return
    check = functools.partial(refuse_known, token=token)
    if change.dry_run:
        foreseeing.plan(fleet, hosts, request, check)
        return
    with runner_of(fleet, hosts, request) as (runner, show):
        go_on = show.go_on if pace.pause_for_confirmation else None
        drive = Drive(runner, plan, lambda: token, given=bool(own.token_file), go_on=go_on)
        question = "" if change.yes else "to a new token"
        code = turn(runner, show, drive, check, question, scope.state_dir)
        if code is not ExitCode.DONE and not (output.json or output.events):
            for line in owing_lines(fleet, scope.state_dir, runner.run.id):
                show.line(line)
    leave(code)


def _may_begin(
    fleet: "Fleet", hosts: "tuple[Host, ...]", own: RotateOptions, oldest: float, request: "Request"
) -> bool:
    """True at an allowed time, for who has an approval if one is asked for. Else this refuses or waits, unless nothing
    is due.
    """
    from hivekeys.bastion.approval import is_awaited, refusal
    from hivekeys.tasks.work.approving import approved_for
    from hivekeys.tasks.work.window import await_window, is_closed

    is_bound = bool(fleet.approval) or is_closed(fleet)
    if is_bound and oldest and not _is_due(fleet, hosts, oldest, request):
        return False
    if is_awaited(fleet, own.approved):
        raise refusal(fleet)
    approved_for(fleet, hosts, request.excluded, own, request.state_dir)  # nobody waits with a plan that is refused
    await_window(fleet, own, request.output)
    return True


def _is_due(fleet: "Fleet", hosts: "tuple[Host, ...]", limit: float, request: "Request") -> bool:
    """True if a rotation is due: a token that old, hosts that disagree or have problems, or what a run left behind."""
    from hivekeys import report
    from hivekeys.rotation.drive import Drive
    from hivekeys.tasks.work.run import runner_of
    from hivekeys.text.durations import ago

    _refuse_held(fleet.name, request.state_dir)
    output = request.output
    quiet = OutputOptions(quiet=output.quiet or output.events)  # a look before the run is no part of what it tells
    silent = replace(request, reason="", output=quiet, on_finish=(), log="", records=False)
    with runner_of(fleet, hosts, silent) as (runner, _):
        well = Drive(runner).look()
        runner.end(ExitCode.DONE)
        oldest = report.settled_age(runner.run)
        if runner.interrupted.is_set():
            raise KeyboardInterrupt
    if not well or oldest is None or oldest >= limit:
        return True
    _say_not_due(fleet.name, oldest, f"the token of fleet {fleet.name} is {ago(oldest)} old", output)
    return False


def _say_not_due(fleet: str, seconds: float, why: str, output: OutputOptions) -> None:
    """What a rotation by the clock says that has nothing to do. `seconds`: how old the fleet's token is."""
    from hivekeys.report import stream
    from hivekeys.tasks.terminal.live import Show
    from hivekeys.text.documents.head import head
    from hivekeys.text.documents.run import NotDue

    words = f"not due: {why}; nothing was changed"
    if output.events:
        sys.stdout.write(json.dumps(stream.not_due_line(fleet, seconds, time.time())) + "\n")
    elif output.json:
        document: NotDue = {
            "form": "not-due",
            **head(words, ""),
            "fleet": fleet,
            "exit_code": int(ExitCode.DONE),
            "due": False,
            "age_seconds": round(seconds),
        }
        print_document(document)
    else:
        Show(output).line(words)


def _refuse_held(fleet: str, state_dir: str) -> None:
    """Refuses to rotate by the clock while an old token is still used: each night would bury another such token."""
    from hivekeys.journal.past import newest_served

    newest = newest_served(fleet, state_dir)
    if newest and newest.is_held:
        raise UserError(
            f"run {newest.id} keeps the token from before it, because it was still used: nothing was changed",
            hint=f"fab audit --fleet {fleet} --token previous; then fab reconcile --fleet {fleet}",
            code=ExitCode.INCOMPLETE,
        )
