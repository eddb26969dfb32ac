"""`fab verify`: the security checklist on every host at once. Changes nothing anywhere."""

import json as jsonlib
import secrets
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.engine import dialer_of, greeting_of, new_run
from tasks.options.frame import FLEET_HELP, chosen, finish, verb

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host
    from hivekeys.ssh.line import Dialer
    from hivekeys.token import Fingerprint
    from hivekeys.verify.findings import Check, Other, Record, Report

FORMATS = ("table", "json", "junit", "sarif", "markdown")
DEAD = "dead-token"  # the one check that sends old tokens to services
SHARED = "shared-token"  # the one check that needs a second fleet


@task(
    help={
        **FLEET_HELP,
        "checks": "only these checks, comma separated (default: all; docs/reference.md lists them)",
        "skip": "all checks but these",
        "severity": "only checks that are at least this bad: low, medium, high",
        "against": "another fleet, which must share no token with this one: its inventory's name",
        "dead-token": "ask every place on a host that holds a copy of a revoked token whether it takes it",
        "format": f"{', '.join(FORMATS)} (--json is --format json)",
        "output": "write to this file instead of stdout",
        "verbose": "show what passed as well, host by host",
    },
    auto_shortflags=False,
)
@verb
def verify(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    checks: str = "",
    skip: str = "",
    severity: str = "",
    against: str = "",
    dead_token: bool = False,
    format: str = "table",
    output: str = "",
    verbose: bool = False,
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Check everything that the guide's security checklist asks for, on every host; changes nothing."""
    from hivekeys.files import destination, write_whole

    found, hosts = chosen(fleet, limit, exclude)
    asked = _checks(checks, skip, severity, against, dead_token)
    dead = _dead_tokens(found, state_dir) if dead_token else ()
    shape = "json" if json else format
    if shape not in FORMATS:
        raise UserError(f"--format {shape}: expected {', '.join(FORMATS)}")
    other = chosen(against, "", "")[0] if against else None
    if other and (other.name == found.name or other.source == found.source):
        raise UserError(f"--against {against}: that is fleet {found.name} itself", hint="name another inventory")
    path = destination("--output", output) if output else None
    report = _report(found, hosts, asked, other, state_dir, dead)
    if hosts == found.hosts and not (checks or skip or severity):
        _keep(report, state_dir)
    text = _told(report, found.typed, shape, verbose, sys.stdout.isatty() and not path)
    if path:
        write_whole(path, text)
    else:
        sys.stdout.write(text)
    finish(report.code)


def _keep(report: "Report", state_dir: str) -> None:
    """Its numbers for `fab status --metrics`. Without them the metrics say how old the last ones are."""
    from hivekeys.journal import state_folder
    from hivekeys.verify.last import keep_tally
    from hivekeys.verify.tally import tally

    try:
        keep_tally(state_folder.folder_for(report.fleet, state_dir), tally(report))
    except UserError as error:
        sys.stderr.write(f"hivekeys: not kept for --metrics: {error.message}\n")


def _report(
    fleet: "Fleet",
    hosts: "tuple[Host, ...]",
    checks: "list[Check]",
    other: "Fleet | None",
    state_dir: str,
    dead: "tuple[Fingerprint, ...]",
) -> "Report":
    from hivekeys.journal import state_folder
    from hivekeys.protocol.doubles import doubles
    from hivekeys.protocol.program import program_of
    from hivekeys.verify.findings import Baseline, Report, examine
    from hivekeys.verify.survey import survey
    from hivekeys.verify.waivers import over, waive

    now = time.time()
    record = _record(fleet, state_dir)
    folder = state_folder.folder_for(fleet.name, state_dir)
    greeting = greeting_of(fleet.name, folder)
    comparison = secrets.token_bytes(32) if other else b""  # nobody can compare anything with it afterwards
    asked = hosts if fleet.queen in hosts else (fleet.queen, *hosts)  # hers is the token that all are held against
    dialer = dialer_of(fleet, asked, program_of("inspect", *(["sweep"] if dead else [])), folder)
    to_others = None
    if other:  # whose password is asked for now
        to_others = dialer_of(other, other.hosts, program_of(), state_folder.folder_for(other.name, state_dir))
    try:
        observations = survey(fleet, asked, dialer, greeting, comparison, dead=dead)
    finally:
        dialer.close()
    told = {observation.host.name: observation.machine for observation in observations}
    queen = next(observation for observation in observations if observation.host == fleet.queen)
    baseline = Baseline(
        queen.seen.token if queen.seen else None,
        fleet.token_age,
        now,
        record,
        _others(other, to_others, comparison) if other and to_others else None,
        doubles(fleet.hosts, told),
    )
    found = examine([observation for observation in observations if observation.host in hosts], baseline, checks)
    today = datetime.fromtimestamp(now, UTC).date()
    shown = waive(found, fleet.waivers, today)
    return Report(fleet.name, shown, over(fleet.waivers, today), now, time.time() - now)


def _dead_tokens(fleet: "Fleet", state_dir: str) -> "tuple[Fingerprint, ...]":
    """The tokens that were revoked, as this bastion's journal knows."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import tombstones

    dead = tuple(tombstones(state_folder.folder_for(fleet.name, state_dir)))
    if not dead:
        raise UserError(
            f"--dead-token: this bastion knows of no token of fleet {fleet.name} that was revoked",
            hint="ask from the bastion that revoked it",
        )
    return dead


def _others(fleet: "Fleet", dialer: "Dialer", comparison: bytes) -> "Other":
    """The other fleet's answer. Its hosts are greeted under its own name: they know whose they are."""
    from hivekeys.journal import state_folder
    from hivekeys.protocol.wire import Greeting
    from hivekeys.verify.survey import others

    greeting = Greeting(fleet.name, comparison, new_run(fleet.name), state_folder.operator())
    try:
        return others(fleet, dialer, greeting)
    finally:
        dialer.close()


def _record(fleet: "Fleet", state_dir: str) -> "Record | None":
    """What this bastion's journal knows; None where it has none. Makes no journal."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import past_runs
    from hivekeys.journal.store import Journal
    from hivekeys.verify.findings import recorded

    if not Journal.is_in(state_folder.folder_for(fleet.name, state_dir)):
        return None
    record = recorded(past_runs(fleet.name, state_dir))
    return replace(record, verb=f"{record.verb} --fleet {fleet.typed}")


def _told(report: "Report", typed: str, shape: str, verbose: bool, on_terminal: bool) -> str:
    from hivekeys.verify import checklist, junit, sarif

    match shape:
        case "json":
            return jsonlib.dumps(checklist.document(report), indent=2) + "\n"
        case "junit":
            return junit.junit(report)
        case "sarif":
            return jsonlib.dumps(sarif.sarif(report), indent=2) + "\n"
        case "markdown":
            return checklist.markdown(report)
        case _:
            return _table(report, typed, verbose, on_terminal)


def _checks(only: str, skip: str, severity: str, against: str, dead: bool) -> "list[Check]":
    """The checks that an operator asked for; unknown names are refused with what there is."""
    from hivekeys.verify.checks import CHECKS
    from hivekeys.verify.findings import Severity

    for option, names in (("--checks", only), ("--skip", skip)):
        unknown = [name for name in _names(names) if name not in CHECKS]
        if unknown:
            raise UserError(f"{option}: there is no check {', '.join(unknown)}", hint=f"there are {', '.join(CHECKS)}")
    if SHARED in _names(only) and not against:
        raise UserError(f"--checks {SHARED}: there is no other fleet to compare with", hint="name it with --against")
    if DEAD in _names(only) and not dead:
        raise UserError(f"--checks {DEAD}: it sends revoked tokens to the hosts' services", hint="add --dead-token")
    levels = [level.value for level in Severity]
    if severity and severity not in levels:
        raise UserError(f"--severity {severity}: expected {', '.join(levels)}")
    least = levels.index(severity) if severity else 0
    chosen_ids = _names(only) or list(CHECKS)
    skipped = [*_names(skip), *([] if against else [SHARED]), *([] if dead else [DEAD])]
    kept = [CHECKS[name] for name in CHECKS if name in chosen_ids and name not in skipped]
    kept = [check for check in kept if levels.index(check.severity.value) >= least]
    if not kept:
        raise UserError("no check is left to do", hint="look at --checks, --skip and --severity")
    return kept


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _table(report: "Report", typed: str, verbose: bool, on_terminal: bool) -> str:
    from rich.console import Console

    from hivekeys.verify import checklist

    found = report.findings
    modes = [line for line in [checklist.modes_line(found)] if line]
    expired = map(checklist.expired_line, report.expired)
    lines = [checklist.passed_line(found), *modes, *expired, checklist.summary(found)]
    console = Console(highlight=False, width=None if on_terminal else 160, force_terminal=on_terminal or None)
    with console.capture() as said:
        if verbose or checklist.folded(found):
            console.print(checklist.table(found, verbose))
        for line in (*lines, *filter(None, [checklist.next_line(found, typed)])):
            console.print(line, markup=False, soft_wrap=True)
    return said.get()
