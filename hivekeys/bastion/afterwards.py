"""Approval of a run after it: states what was done, takes the signed statement, and notes that in the journal."""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hivekeys.bastion.approval import read_signable, rule_of, signed_by
from hivekeys.errors import UserError
from hivekeys.fleet import Fleet
from hivekeys.journal import state_folder
from hivekeys.journal.chain import Row
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Approved
from hivekeys.journal.fold import fold
from hivekeys.journal.past import past_run
from hivekeys.journal.run import Run
from hivekeys.journal.store import Journal
from hivekeys.report.approvals import approval_words
from hivekeys.rotation.proposal import Proposed
from hivekeys.rotation.signed import lines_of, text_of, written
from hivekeys.rotation.statement import NAMESPACE, opened, rows_of, statement
from hivekeys.text.clean import printable

STATE_ANEW = "state it anew: `fab plan --propose FILE --run RUN`, and have that signed"


@dataclass(frozen=True)
class StatedRun:
    """A run that is to be approved, and the content of the file that says what it has done."""

    run: str
    data: bytes


@dataclass(frozen=True)
class ApprovedRun:
    """A run that was approved afterwards, and the event that says so."""

    run: Run
    event: Approved


def stated_run(fleet: Fleet, name: str, state_dir: str) -> StatedRun:
    """The statement of a run that is to be approved, to be signed. Raises UserError for any other run."""
    rule_of(fleet)
    run = past_run(fleet.name, name, state_dir)
    _refuse_settled(run)
    if run.at_work:
        raise UserError(f"run {run.id} is at work: {run.at_work}", hint="state what it has done when it is over")
    proposed = Proposed(id=secrets.token_hex(8), by=state_folder.operator(), at=time.time())
    folder = state_folder.folder_for(fleet.name, state_dir)
    with contextlib.closing(Journal(folder)) as journal:
        rows = journal.rows(run.id)
        return StatedRun(run.id, written(statement(_as_of(journal, run.id, rows), rows, proposed)))


def approved_run(fleet: Fleet, file: str, state_dir: str) -> ApprovedRun:
    """The run whose statement this file is, signed by whom `[approval]` asks for. Raises UserError; notes nothing."""
    rule = rule_of(fleet)
    path = Path(file).expanduser()
    source = printable(str(path))
    data = read_signable(path, f"`fab plan --fleet {fleet.typed} --propose FILE --run RUN` writes one")
    document, proposed = opened(data, source)
    if text_of(document, "fleet", source) != fleet.name:
        raise UserError(f"{source}: is of fleet {document['fleet']}, not of {fleet.name}", hint="name it with --fleet")
    run = past_run(fleet.name, text_of(document, "run", source), state_dir)
    _refuse_settled(run)
    rule = replace(rule, needed=max(rule.needed, run.approvers))
    signed = signed_by(data, path, rule, run.who, NAMESPACE)
    with contextlib.closing(Journal(state_folder.folder_for(fleet.name, state_dir))) as journal:
        rows = rows_of(document, journal.rows(run.id), source)
        mine = written(statement(_as_of(journal, run.id, rows), rows, proposed))
    if mine != data:
        raise UserError(f"{source}: is not what the journal has of run {run.id}", hint=STATE_ANEW)
    digest, now = hashlib.sha256(data).hexdigest(), Moment(time.time(), time.monotonic())
    event = Approved(proposed.id, digest, lines_of(data), signed, now, afterwards=True, namespace=NAMESPACE)
    return ApprovedRun(run, event)


def note(fleet: Fleet, approved: ApprovedRun, state_dir: str) -> None:
    """Writes into the journal that the run was approved. Raises UserError while another run is at work."""
    folder = state_folder.folder_for(fleet.name, state_dir)
    with (
        state_folder.hold_lock(folder, fleet.name, approved.run.id, "its approval is noted"),
        contextlib.closing(Journal(folder, writes=True)) as journal,
    ):
        _refuse_settled(fold(journal.events(approved.run.id)))
        journal.append(approved.run.id, approved.event)


def _as_of(journal: Journal, run: str, rows: Sequence[Row]) -> Run:
    """The run as it was after the last of these rows."""
    return fold(journal.event(run, row) for row in rows)


def _refuse_settled(run: Run) -> None:
    if not run.lacks_approval:
        why = approval_words(run) or "changed nothing, or the fleet asked for no approval when it began"
        raise UserError(f"run {run.id} is not to be approved: {why}", hint="`fab history` names those that are")
