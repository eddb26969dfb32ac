"""What writes a run down: under the fleet's lock, into a journal that is whole."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hivekeys.bastion.request import Listener, Request
from hivekeys.errors import DamagedError, UserError
from hivekeys.fleet import Fleet
from hivekeys.journal import salvage, state_folder
from hivekeys.journal.events import Event, Superseded
from hivekeys.journal.fold import fold
from hivekeys.journal.recorder import Broadcast
from hivekeys.journal.run import REVOKE, Run
from hivekeys.journal.store import Journal
from hivekeys.token import key_name


@contextlib.contextmanager
def recorded(fleet: Fleet, run: str, request: Request, listener: Listener, beside_open: bool) -> Iterator[Broadcast]:
    """What takes a run's events: under the fleet's lock, and each in the journal before anything is done.

    Unless it may go on `beside_open`, it is refused while a run that was cut off waits to be taken up. A revocation
    supersedes every such run as it begins, and goes past a journal that is damaged: what leaked cannot wait.
    """
    folder = state_folder.folder_for(fleet.name, request.state_dir)
    with contextlib.ExitStack() as stack:
        stack.enter_context(state_folder.hold_lock(folder, fleet.name, run, request.reason))
        journal, superseded = _journal(folder, fleet, request, listener, beside_open)
        stack.enter_context(contextlib.closing(journal))

        def record(events: Sequence[Event]) -> None:
            journal.append(run, *events)
            while superseded:
                journal.append(superseded.pop().id, Superseded(run, events[0].when))

        yield Broadcast(record, listener.listen)


def _journal(
    folder: Path, fleet: Fleet, request: Request, listener: Listener, beside_open: bool
) -> tuple[Journal, list[Run]]:
    """The journal, whole and written with the fleet's key; for a revocation a new one where the old is neither.

    With it the runs that are superseded by this one.
    """
    try:
        return _whole_journal(folder, fleet, request, beside_open)
    except DamagedError as damage:
        if request.task != REVOKE:
            raise
        aside = salvage.set_aside(folder, time.time())
        listener.warn(f"{damage.message}. This revocation goes on with a new journal; the old one is kept as {aside}")
        return _whole_journal(folder, fleet, request, beside_open)


def _whole_journal(folder: Path, fleet: Fleet, request: Request, beside_open: bool) -> tuple[Journal, list[Run]]:
    key = state_folder.fingerprint_key(folder)
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(contextlib.closing(Journal(folder, writes=True)))
        cut_off = [] if beside_open else _cut_off(journal)
        if request.task != REVOKE:
            _refuse_while_open(cut_off, fleet)
        journal.note_key(key_name(key))
        stack.pop_all()
        return journal, cut_off if request.task == REVOKE else []


def _refuse_while_open(cut_off: Sequence[Run], fleet: Fleet) -> None:
    """A new run must not begin on top of one that was cut off and has changed something."""
    newest = next((run for run in cut_off if run.left_a_trace), None)
    if newest is None:
        return
    phase = newest.phase.value if newest.phase else "–"
    back = "" if newest.is_revocation else f"; or take it back: fab rollback --fleet {fleet.typed}"
    raise UserError(
        f"run {newest.id} of {newest.who} was cut off in phase {phase}",
        hint=f"go on: fab resume --fleet {fleet.typed}{back}",
    )


def _cut_off(journal: Journal) -> list[Run]:
    """The runs that were cut off and may be taken up, newest first. Under the lock: no other run is at work.

    None is older than the newest that left a trace: it was over, or cut off, when that one began. One that was cut off,
    or refused, before it changed anything hides nothing beneath it.
    """
    found = []
    for name in journal.runs():
        run = fold(journal.events(name))
        if run.brings_token and run.is_open:
            found.append(run)
        if run.brings_token and run.left_a_trace and not run.superseded_by:
            break
    return found
