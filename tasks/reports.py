"""`fab report` and `fab evidence`: a run to read, and one to hand to somebody else. Contact no host."""

import contextlib
import json as jsonlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import ExitCode, UserError
from tasks.frame import FLEET_HELP, chosen, finish, verb

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.journal.chain import Row
    from hivekeys.journal.events import Event
    from hivekeys.journal.run import Run
    from hivekeys.report.inputs import Finding, Review
    from hivekeys.report.page import Page

FORMATS = ("table", "json", "markdown", "html")
LARGEST = 256 << 20  # bytes of an archive; a run over a thousand hosts has some twenty million
LARGEST_KEY = 1 << 20
LARGEST_INPUT = 64 << 20
SOURCES = {
    "findings": "a file that `fab verify --format json` wrote: its findings become a section",
    "audit": "a file that `fab audit --json` wrote: its figures go into the incident checklist",
}
HELP = {name: FLEET_HELP[name] for name in ("fleet", "state-dir", "json")} | SOURCES


@dataclass(frozen=True)
class Told:
    """A run as the journal has it, and the files that were given beside it."""

    run: "Run"
    rows: "list[Row]"
    events: "list[Event]"
    findings: "tuple[Finding, ...] | None"
    review: "Review | None"
    attached: dict[str, bytes]


@task(
    help={
        **HELP,
        "run": "the run to tell of: an id that `fab history` lists (default: the newest that brought a token)",
        "format": f"{', '.join(FORMATS)} (--json is --format json)",
        "output": "write to this file instead of stdout",
    },
    auto_shortflags=False,
)
@verb
def report(
    _: Context,
    fleet: str = "",
    run: str = "",
    format: str = "table",
    output: str = "",
    findings: str = "",
    audit: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Show how a run went: table, JSON, Markdown, or one HTML page with a timeline; contacts no host."""
    shape = "json" if json else format
    if shape not in FORMATS:
        raise UserError(f"--format {shape}: expected {', '.join(FORMATS)}")
    from hivekeys.files import destination, write_whole  # noqa: PLC0415  as below: `fab --list` must be fast

    found, _hosts = chosen(fleet, "", "")
    path = destination("--output", output) if output else None
    text = _written(_told(found, run, findings, audit, state_dir), found, shape)
    if path:
        write_whole(path, text)
    else:
        sys.stdout.write(_of_encoding(text, sys.stdout.encoding) if shape == "html" else text)


@task(
    help={
        **HELP,
        "run": "the run to write out (default: the newest that brought a token)",
        "output": "the archive to write; with --public-key, where to put the key instead of stdout",
        "check": "say whether this archive is what its signer wrote; needs --key and nothing else",
        "key": "the signer's public key, for --check",
        "public-key": "print the public half of the key that this bastion signs the fleet's evidence with",
    },
    auto_shortflags=False,
)
@verb
def evidence(
    _: Context,
    fleet: str = "",
    run: str = "",
    output: str = "",
    check: str = "",
    key: str = "",
    public_key: bool = False,
    findings: str = "",
    audit: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Write a run out as one signed archive, or check one; contacts no host."""
    if bool(check) + public_key + bool(run) > 1 or (check and output):
        raise UserError("--check, --public-key and --run exclude each other", hint="one at a time")
    if check:
        _check(check, key, json)
        return
    if not (output or public_key):
        raise UserError("where to? --output is missing", hint="fab evidence --output FILE")
    found, _hosts = chosen(fleet, "", "")
    from hivekeys.files import destination  # noqa: PLC0415

    path = destination("--output", output) if output else None
    if public_key:
        _public_key(found, state_dir, path)
    elif path:
        _write_archive(found, _told(found, run, findings, audit, state_dir), path, state_dir, json)


def _told(fleet: "Fleet", name: str, findings: str, audit: str, state_dir: str) -> Told:
    from hivekeys.files import read_in  # noqa: PLC0415
    from hivekeys.report.inputs import findings_of, review_of  # noqa: PLC0415

    run, rows, events = _recorded(fleet, name, state_dir)
    given = {option: read_in(f"--{option}", file, LARGEST_INPUT) for option, file in _given(findings, audit)}
    option = ""
    try:
        option = "findings"
        found = findings_of(given[option], fleet.name) if option in given else None
        option = "audit"
        review = review_of(given[option], fleet.name) if option in given else None
    except ValueError as error:
        raise UserError(f"--{option}: {error}", hint=SOURCES[option]) from error
    attached = {f"{option}.json": content for option, content in given.items()}
    return Told(run, rows, events, found, review, attached)


def _given(findings: str, audit: str) -> list[tuple[str, str]]:
    return [(option, file) for option, file in (("findings", findings), ("audit", audit)) if file]


def _recorded(fleet: "Fleet", name: str, state_dir: str) -> "tuple[Run, list[Row], list[Event]]":
    """The run that was named, of whatever kind, or the newest that brought a token. Makes no journal by looking."""
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.journal.past import past_run  # noqa: PLC0415
    from hivekeys.journal.run import fold  # noqa: PLC0415
    from hivekeys.journal.store import Journal  # noqa: PLC0415

    folder = state_folder.folder_for(fleet.name, state_dir)
    if Journal.is_in(folder):
        with contextlib.closing(Journal(folder)) as journal:
            for one in journal.runs():
                if name in ("", one):
                    rows = journal.rows(one)
                    events = [journal.event(one, row) for row in rows]
                    if name or fold(events).brings_token:
                        return past_run(fleet.name, one, state_dir, every=True), rows, events
    if name:
        raise UserError(f"the journal of fleet {fleet.name} has no run {name}", hint="`fab history` lists them")
    raise UserError(f"there was no run over fleet {fleet.name} from this bastion", hint="`fab plan` shows its hosts")


def _of_encoding(page: str, encoding: str) -> str:
    """An HTML page says that it is UTF-8: in another encoding it is written in ASCII, which is both."""
    is_utf_8 = encoding.lower().replace("-", "") == "utf8"
    return page if is_utf_8 else page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _page(told: Told, fleet: "Fleet") -> "Page":
    from hivekeys.report.page import page  # noqa: PLC0415

    return page(told.run, told.events, fleet, told.findings, told.review)


def _written(told: Told, fleet: "Fleet", shape: str) -> str:
    from hivekeys.report import document, writing  # noqa: PLC0415

    match shape:
        case "json":
            return jsonlib.dumps(document(told.run, fleet), indent=2) + "\n"
        case "markdown":
            return writing.markdown(_page(told, fleet))
        case "html":
            return writing.html(_page(told, fleet))
        case _:
            return _table(told, fleet)


def _table(told: Told, fleet: "Fleet") -> str:
    from rich.console import Console  # noqa: PLC0415

    from hivekeys import report as words  # noqa: PLC0415

    run = told.run
    lines = [
        *words.failure_lines(run, fleet),
        f"stopped: {run.stopped}" if run.stopped else "",
        words.next_step(run, fleet),
    ]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    with console.capture() as said:
        table = words.result_table(run, fleet, console.width)
        console.print(table)
        for line in (*words.legend(run, table), *filter(None, lines), words.past_summary(run)):
            console.print(line, markup=False, soft_wrap=True)
    return said.get()


def _write_archive(fleet: "Fleet", told: Told, path: Path, state_dir: str, as_json: bool) -> None:
    from hivekeys.files import write_whole  # noqa: PLC0415
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.report.evidence import key_id, members, sealed  # noqa: PLC0415

    key = state_folder.signing_key(state_folder.folder_for(fleet.name, state_dir))
    parts = members(told.run, told.rows, told.events, fleet, _page(told, fleet), told.attached)
    write_whole(path, sealed(told.run.id, parts, key))
    said = {
        "run": told.run.id,
        "events": len(told.rows),
        "members": list(parts),
        "key": key_id(key.public_key()),
        "output": str(path),
    }
    if as_json:
        sys.stdout.write(jsonlib.dumps(said, indent=2) + "\n")
    else:
        sys.stdout.write(f"{path}: run {told.run.id}, {len(told.rows)} events, signed with {said['key']}\n")
        sys.stdout.write("whoever checks it needs the public half of the key: fab evidence --public-key\n")


def _public_key(fleet: "Fleet", state_dir: str, path: Path | None) -> None:
    from hivekeys.files import write_whole  # noqa: PLC0415
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.report.evidence import public_pem  # noqa: PLC0415

    pem = public_pem(state_folder.signing_key(state_folder.folder_for(fleet.name, state_dir)).public_key())
    if path:
        write_whole(path, pem)
    else:
        sys.stdout.write(pem.decode())


def _check(name: str, key: str, as_json: bool) -> None:
    """Needs neither an inventory nor a state folder: it works on any machine."""
    if not key:
        hint = "the signer's bastion prints it: fab evidence --public-key"
        raise UserError("--check needs --key, the public key of the signer", hint=hint)
    from hivekeys.files import read_in  # noqa: PLC0415
    from hivekeys.report.evidence import check, public_key  # noqa: PLC0415
    from hivekeys.text.clean import printable  # noqa: PLC0415

    signer = public_key(read_in("--key", key, LARGEST_KEY), key)
    verdict = check(read_in("--check", name, LARGEST), signer)
    name = printable(name)  # whoever sent the archive may have named it
    if as_json:
        found = {"valid": not verdict.faults, "faults": list(verdict.faults), "run": verdict.run or None}
        sys.stdout.write(jsonlib.dumps({**found, "key": verdict.key or None}, indent=2) + "\n")
    elif verdict.faults:
        sys.stdout.write("".join(f"{name}: {fault}\n" for fault in verdict.faults))
        sys.stdout.write("NOT VALID: do not rely on it\n")
    else:
        counts = f"{verdict.members} members, {verdict.events} events"
        sys.stdout.write(f"{name}: valid: evidence of run {verdict.run}, {counts}, signed with {verdict.key}\n")
    finish(ExitCode.FINDINGS if verdict.faults else ExitCode.DONE)
