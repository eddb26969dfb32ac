"""A run as the journal has it, and the files that are given beside it, for `fab report` and `fab evidence`."""

import contextlib
from dataclasses import dataclass

from hivekeys.errors import UserError
from hivekeys.files import read_in
from hivekeys.fleet import Fleet
from hivekeys.journal import state_folder
from hivekeys.journal.chain import Row
from hivekeys.journal.events import Event
from hivekeys.journal.fold import fold
from hivekeys.journal.past import past_run
from hivekeys.journal.run import Run
from hivekeys.journal.store import Journal
from hivekeys.report.inputs import Finding, Review, findings_of, review_of
from hivekeys.tasks.options.recorded import RecordedOptions, source_of

LARGEST_INPUT = 64 << 20  # bytes


@dataclass(frozen=True)
class Recorded:
    """A run as the journal has it, and the files that were given beside it."""

    run: Run
    rows: list[Row]
    events: list[Event]
    findings: tuple[Finding, ...] | None
    review: Review | None
    attached: dict[str, bytes]


def read_record(fleet: Fleet, name: str, options: RecordedOptions) -> Recorded:
    """The run of this name, or the newest, and the files that were given beside it. Raises UserError."""
    run, rows, events = recorded_run(fleet, name, options.state_dir)
    given = {option: read_in(f"--{option}", file, LARGEST_INPUT) for option, file in options.files.items()}
    option = ""
    try:
        option = "findings"
        findings = findings_of(given[option], fleet.name) if option in given else None
        option = "audit"
        review = review_of(given[option], fleet.name) if option in given else None
    except ValueError as error:
        raise UserError(f"--{option}: {error}", hint=source_of(option)) from error
    attached = {f"{option}.json": content for option, content in given.items()}
    return Recorded(run, rows, events, findings, review, attached)


def recorded_run(fleet: Fleet, name: str, state_dir: str) -> tuple[Run, list[Row], list[Event]]:
    """The run that was named, of whatever kind, or the newest that brought a token. Makes no journal by looking."""
    folder = state_folder.folder_for(fleet.name, state_dir)
    if Journal.is_in(folder):
        with contextlib.closing(Journal(folder)) as journal:
            for run in journal.runs():
                if name in ("", run):
                    rows = journal.rows(run)
                    events = [journal.event(run, row) for row in rows]
                    if name or fold(events).brings_token:
                        return past_run(fleet.name, run, state_dir, every=True), rows, events
    if name:
        raise UserError(f"the journal of fleet {fleet.name} has no run {name}", hint="`fab history` lists them")
    raise UserError(f"there was no run over fleet {fleet.name} from this bastion", hint="`fab plan` shows its hosts")
