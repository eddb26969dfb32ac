"""`fab verify`: the security checklist on every host at once. Changes nothing anywhere."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions, load_fleet
from hivekeys.tasks.options.output import FileOption, JsonOption
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import fulfil

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.verify.findings import Check, Report
    from hivekeys.verify.sarif import Written

FORMATS = ("table", "json", "junit", "sarif", "markdown")
DEAD = "dead-token"  # the one check that sends old tokens to services
SHARED = "shared-token"  # the one check that needs a second fleet


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(FileOption):
    """Which checks, and how what they find is shown."""

    checks: str = option("only these checks, comma separated (default: all; docs/reference.md lists them)")
    skip: str = option("all checks but these")
    severity: str = option("only checks that are at least this bad: low, medium, high")
    against: str = option("another fleet, which must share no token with this one: its inventory's name")
    dead_token: bool = option(
        "ask every place on a host that holds a copy of a revoked token whether it takes it", default=False
    )
    format: str = option(f"{', '.join(FORMATS)} (--json is --format json)", default="table")
    verbose: bool = option("show what passed as well, host by host", default=False)


@verb
def verify(scope: HostsOptions, own: VerifyOptions, output: JsonOption) -> None:
    """Check everything that the guide's security checklist asks for, on every host; changes nothing."""
    from hivekeys.bastion.verifying import dead_tokens, examined
    from hivekeys.files import destination, write_whole

    fleet, hosts = scope.load_hosts()
    checks = _checks(own)
    dead = dead_tokens(fleet, scope.state_dir) if own.dead_token else ()
    shape = "json" if output.json else own.format
    if shape not in FORMATS:
        raise UserError(f"--format {shape}: expected {', '.join(FORMATS)}")
    other = load_fleet(own.against) if own.against else None
    if other and (other.name == fleet.name or other.source == fleet.source):
        raise UserError(f"--against {own.against}: that is fleet {fleet.name} itself", hint="name another inventory")
    path = destination("--output", own.output) if own.output else None
    report = examined(fleet, hosts, checks, other, scope.state_dir, dead)
    if hosts == fleet.hosts and not (own.checks or own.skip or own.severity):
        _keep(report, scope.state_dir)
    text = _written(report, fleet, shape, own.verbose, sys.stdout.isatty() and not path)
    if path:
        write_whole(path, text)
    else:
        sys.stdout.write(text)
        fulfil()
    leave(report.code)


def _keep(report: "Report", state_dir: str) -> None:
    """Its numbers for `fab status --metrics`. Without them the metrics say how old the last ones are."""
    from hivekeys.journal import state_folder
    from hivekeys.verify.last import store_tally
    from hivekeys.verify.tally import tally

    try:
        store_tally(state_folder.folder_for(report.fleet, state_dir), tally(report))
    except UserError as error:
        sys.stderr.write(f"hivekeys: not stored for --metrics: {error.message}\n")


def _written(report: "Report", fleet: "Fleet", shape: str, verbose: bool, on_terminal: bool) -> str:
    from hivekeys.verify import checklist, junit, sarif

    match shape:
        case "json":
            return json.dumps(checklist.document(report, fleet.typed), indent=2) + "\n"
        case "junit":
            return junit.junit(report)
        case "sarif":
            return json.dumps(sarif.sarif(report, _place(fleet)), indent=2) + "\n"
        case "markdown":
            return checklist.markdown(report)
        case _:
            return _table(report, fleet.typed, verbose, on_terminal)


def _place(fleet: "Fleet") -> "Written":
    """Where the hosts are written; below this folder, which in CI is the repository, as a path from here."""
    from urllib.parse import quote

    from hivekeys.inventory.files import read_text
    from hivekeys.inventory.lines import lines_of
    from hivekeys.verify.sarif import Written

    path = Path(fleet.source).resolve()
    here = Path.cwd().resolve()
    uri = quote(str(path.relative_to(here))) if path.is_relative_to(here) else path.as_uri()
    lines = lines_of(read_text(path), [host.name for host in fleet.hosts]) if path.suffix == ".toml" else {}
    return Written(uri, lines)


def _checks(own: VerifyOptions) -> "list[Check]":
    """The checks that an operator asked for; unknown names are refused with what there is."""
    from hivekeys.verify.checks import CHECKS
    from hivekeys.verify.findings import Severity

    for name, given in (("--checks", own.checks), ("--skip", own.skip)):
        unknown = [check for check in _names(given) if check not in CHECKS]
        if unknown:
            raise UserError(f"{name}: there is no check {', '.join(unknown)}", hint=f"there are {', '.join(CHECKS)}")
    if SHARED in _names(own.checks) and not own.against:
        raise UserError(f"--checks {SHARED}: there is no other fleet to compare with", hint="name it with --against")
    if DEAD in _names(own.checks) and not own.dead_token:
        raise UserError(f"--checks {DEAD}: it sends revoked tokens to the hosts' services", hint="add --dead-token")
    levels = [level.value for level in Severity]
    if own.severity and own.severity not in levels:
        raise UserError(f"--severity {own.severity}: expected {', '.join(levels)}")
    least = levels.index(own.severity) if own.severity else 0
    chosen_ids = _names(own.checks) or list(CHECKS)
    skipped = [*_names(own.skip), *([] if own.against else [SHARED]), *([] if own.dead_token else [DEAD])]
    remaining = [CHECKS[name] for name in CHECKS if name in chosen_ids and name not in skipped]
    remaining = [check for check in remaining if levels.index(check.severity.value) >= least]
    if not remaining:
        raise UserError("no check is left to do", hint="look at --checks, --skip and --severity")
    return remaining


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _table(report: "Report", typed: str, verbose: bool, on_terminal: bool) -> str:
    from rich.console import Console

    from hivekeys.verify import checklist

    findings = report.findings
    modes = [line for line in [checklist.modes_line(findings)] if line]
    expired = map(checklist.expired_line, report.expired)
    lines = [checklist.passed_line(findings), *modes, *expired, checklist.summary(findings)]
    console = Console(highlight=False, width=None if on_terminal else 160, force_terminal=on_terminal or None)
    with console.capture() as captured:
        if verbose or checklist.folded(findings):
            console.print(checklist.table(findings, verbose))
        for line in (*lines, *filter(None, [checklist.next_line(findings, typed)])):
            console.print(line, markup=False, soft_wrap=True)
    return captured.get()
