"""`fab verify`: the security checklist, on every host at once. Changes nothing anywhere."""

import json as jsonlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.engine import greeting_of, program_of
from tasks.frame import FLEET_HELP, chosen, finish, verb

if TYPE_CHECKING:
    from hivekeys.findings import Check, Finding
    from hivekeys.fleet import Fleet, Host

FORMATS = ("table", "json", "markdown")


@task(
    help={
        **FLEET_HELP,
        "checks": "only these checks, comma separated (default: all; docs/reference.md lists them)",
        "skip": "all checks but these",
        "severity": "only checks that are at least this bad: low, medium, high",
        "format": "table, json or markdown (--json is --format json)",
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
    format: str = "table",
    output: str = "",
    verbose: bool = False,
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Check everything that the guide's security checklist asks for, on every host; changes nothing."""
    from hivekeys import checklist  # noqa: PLC0415  SSH, pydantic and rich take half a second that `fab --list` has not

    found, hosts = chosen(fleet, limit, exclude)
    asked = _checks(checks, skip, severity)
    shape = "json" if json else format
    if shape not in FORMATS:
        raise UserError(f"--format {shape}: expected {', '.join(FORMATS)}")
    results = _findings(found, hosts, asked, state_dir)
    code = checklist.exit_code(results)
    match shape:
        case "json":
            text = jsonlib.dumps(checklist.document(results, found.name, code), indent=2) + "\n"
        case "markdown":
            text = checklist.markdown(results, found.name)
        case _:
            text = _table(results, verbose, sys.stdout.isatty() and not output)
    if output:
        _write(output, text)
    else:
        sys.stdout.write(text)
    finish(code)


def _findings(fleet: "Fleet", hosts: "tuple[Host, ...]", checks: "list[Check]", state_dir: str) -> "list[Finding]":
    from hivekeys import state  # noqa: PLC0415
    from hivekeys.findings import Norm, examine  # noqa: PLC0415
    from hivekeys.remote import SshDialer  # noqa: PLC0415
    from hivekeys.survey import survey  # noqa: PLC0415

    greeting = greeting_of(fleet.name, state.folder_for(fleet.name, state_dir))
    asked = hosts if fleet.queen in hosts else (fleet.queen, *hosts)  # hers is the token that all are held against
    dialer = SshDialer(fleet, program_of("agent", "inspection"))
    try:
        sights = survey(fleet, asked, dialer, greeting)
    finally:
        dialer.close()
    queen = next(sight for sight in sights if sight.host == fleet.queen)
    norm = Norm(queen.seen.token if queen.seen else None)
    return examine([sight for sight in sights if sight.host in hosts], norm, checks)


def _checks(only: str, skip: str, severity: str) -> "list[Check]":
    """The checks that an operator asked for; unknown names are refused with what there is."""
    from hivekeys.checks import CHECKS  # noqa: PLC0415
    from hivekeys.findings import Severity  # noqa: PLC0415

    for option, names in (("--checks", only), ("--skip", skip)):
        unknown = [name for name in _names(names) if name not in CHECKS]
        if unknown:
            raise UserError(f"{option}: there is no check {', '.join(unknown)}", hint=f"there are {', '.join(CHECKS)}")
    levels = [level.value for level in Severity]
    if severity and severity not in levels:
        raise UserError(f"--severity {severity}: expected {', '.join(levels)}")
    least = levels.index(severity) if severity else 0
    chosen_ids = _names(only) or list(CHECKS)
    kept = [CHECKS[name] for name in CHECKS if name in chosen_ids and name not in _names(skip)]
    kept = [check for check in kept if levels.index(check.severity.value) >= least]
    if not kept:
        raise UserError("no check is left to do", hint="look at --checks, --skip and --severity")
    return kept


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _table(results: "list[Finding]", verbose: bool, on_terminal: bool) -> str:
    from rich.console import Console  # noqa: PLC0415

    from hivekeys import checklist  # noqa: PLC0415

    console = Console(highlight=False, width=None if on_terminal else 160, force_terminal=on_terminal or None)
    with console.capture() as said:
        if verbose or checklist.folded(results):
            console.print(checklist.table(results, verbose))
        console.print(checklist.passed_line(results), markup=False, soft_wrap=True)
        console.print(checklist.summary(results), markup=False, soft_wrap=True)
    return said.get()


def _write(name: str, text: str) -> None:
    """The report in a file, whole or not at all."""
    path = Path(name).expanduser()
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text)
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise UserError(
            f"--output {name}: {error.strerror}", hint="the folder must exist and be yours to write"
        ) from None
