"""The statement of a run that persons approve after it: what was done, as the journal has it. Pure.

It names the last event that it knows, with its hash in the journal's chain: so it is of that run, and of that alone.
"""

from collections.abc import Sequence

from hivekeys.errors import UserError
from hivekeys.journal.chain import Row
from hivekeys.journal.run import Run
from hivekeys.report.verdict import came_to
from hivekeys.rotation.proposal import Proposed
from hivekeys.rotation.signed import VERSION, Document, moment_of, read, text_of, time_text

FORM = "hivekeys-statement"
NAMESPACE = f"hivekeys-statement@v{VERSION}"


def statement(run: Run, rows: Sequence[Row], proposed: Proposed) -> Document:
    """What the run has done until the last of these rows, by its own events. Holds no token."""
    code = came_to(run)
    return {
        "form": FORM,
        "version": VERSION,
        "id": proposed.id,
        "fleet": run.fleet,
        "run": run.id,
        "task": run.task,
        "operator": run.who,
        "reason": run.reason,
        "started_at": time_text(run.started),
        "exit_code": None if code is None else int(code),
        "token": str(run.left_with) if run.left_with else None,
        "revoked": [str(fingerprint) for fingerprint in run.revoked],
        "hosts": {name: host.state.value for name, host in run.hosts.items()},
        "inventory_sha256": run.inventory,
        "events": len(rows),
        "last_hash": rows[-1].hash,
        "stated_by": proposed.by,
        "stated_at": time_text(proposed.at),
        "hivekeys": proposed.version,
    }


def opened(data: bytes, source: str) -> tuple[Document, Proposed]:
    """A statement that was read from a file, unsigned as yet. Raises UserError for what is none."""
    document = read(data, FORM, source)
    return document, Proposed(
        id=text_of(document, "id", source),
        by=text_of(document, "stated_by", source),
        at=moment_of(document, "stated_at", source),
        version=text_of(document, "hivekeys", source),
    )


def rows_of(document: Document, rows: Sequence[Row], source: str) -> Sequence[Row]:
    """The rows of the run that the statement is of. Raises UserError where the journal has not so many."""
    events = document.get("events")
    if type(events) is not int or not 0 < events <= len(rows):
        raise UserError(f"{source}: is not of the run that the journal has", hint="`fab plan --propose` states it anew")
    return rows[:events]
