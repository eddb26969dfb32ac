"""A run as the journal has it, and the files that are given beside it, for `fab report` and `fab evidence`."""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from tasks.options.frame import FLEET_HELP

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.journal.chain import Row
    from hivekeys.journal.events import Event
    from hivekeys.journal.run import Run
    from hivekeys.report.inputs import Finding, Review


LARGEST_INPUT = 64 << 20


SOURCES = {
    "findings": "a file that `fab verify --format json` wrote: its findings become a section",
    "audit": "a file that `fab audit --json` wrote: its figures go into the incident checklist",
}


HELP = {name: FLEET_HELP[name] for name in ("fleet", "state-dir", "json")} | SOURCES


@dataclass(frozen=True)
class Recorded:
    """A run as the journal has it, and the files that were given beside it."""

    run: "Run"
    rows: "list[Row]"
    events: "list[Event]"
    findings: "tuple[Finding, ...] | None"
    review: "Review | None"
    attached: dict[str, bytes]


def gathered(fleet: "Fleet", name: str, findings: str, audit: str, state_dir: str) -> Recorded:
    from hivekeys.files import read_in
    from hivekeys.report.inputs import findings_of, review_of

    run, rows, events = recorded_run(fleet, name, state_dir)
    given = {option: read_in(f"--{option}", file, LARGEST_INPUT) for option, file in given_files(findings, audit)}
    option = ""
    try:
        option = "findings"
        found = findings_of(given[option], fleet.name) if option in given else None
        option = "audit"
        review = review_of(given[option], fleet.name) if option in given else None
    except ValueError as error:
        raise UserError(f"--{option}: {error}", hint=SOURCES[option]) from error
    attached = {f"{option}.json": content for option, content in given.items()}
    return Recorded(run, rows, events, found, review, attached)


def given_files(findings: str, audit: str) -> list[tuple[str, str]]:
    return [(option, file) for option, file in (("findings", findings), ("audit", audit)) if file]


def recorded_run(fleet: "Fleet", name: str, state_dir: str) -> "tuple[Run, list[Row], list[Event]]":
    """The run that was named, of whatever kind, or the newest that brought a token. Makes no journal by looking."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import past_run
    from hivekeys.journal.run import fold
    from hivekeys.journal.store import Journal

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
