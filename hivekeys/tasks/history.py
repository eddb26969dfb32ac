"""`fab history`: lists the runs of this bastion."""

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import DamagedError, ExitCode, UserError
from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import FleetOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import verb
from hivekeys.tasks.terminal.document import print_document
from hivekeys.text.commands import as_typed

if TYPE_CHECKING:
    from hivekeys.journal.run import Run


@dataclass(frozen=True, kw_only=True)
class HistoryOptions:
    """What is done about a journal that is damaged."""

    set_aside: bool = option(
        "put a journal that is damaged aside, and begin a new one: when there is no copy of it", default=False
    )


@verb
def history(scope: FleetOptions, own: HistoryOptions, change: ChangeOptions, output: JsonOption) -> None:
    """List the runs over a fleet from this bastion, newest first; and what is missing or damaged of the journal."""
    from hivekeys import report
    from hivekeys.tasks.terminal.live import Show

    fleet = scope.load()
    runs, faults = _all_that_is_left(fleet.name, scope.state_dir)
    if not output.json:
        show = Show()
        show.table(report.history_table(runs, show.width))
    aside = ""
    if own.set_aside and faults and change.dry_run:
        sys.stderr.write("".join(f"hivekeys: {fault}\n" for fault in faults))
        sys.stderr.write("would be put aside; a dry run: nothing was changed\n")
    elif own.set_aside:
        aside = _set_aside(fleet.name, scope.state_dir)
    is_damaged = bool(faults) and not own.set_aside
    if output.json:
        code = ExitCode.USAGE if is_damaged else ExitCode.DONE
        print_document(report.history_document(runs, fleet, faults, code, aside))
    if is_damaged:
        raise DamagedError("\n".join(faults))


def _all_that_is_left(fleet: str, state_dir: str) -> "tuple[list[Run], list[str]]":
    """The runs that can be read, newest first; what is wrong with journal and key, a line each."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.fold import fold
    from hivekeys.journal.past import in_context
    from hivekeys.journal.store import Journal

    folder = state_folder.folder_for(fleet, state_dir)
    runs, faults = [], []
    try:
        with contextlib.closing(Journal(folder, as_it_is=True)) as journal:
            faults += journal.faults()
            for name in journal.runs():
                try:
                    runs.append(fold(journal.events(name)))
                except DamagedError as error:
                    faults.append(error.message)
        if runs:
            state_folder.fingerprint_key(folder)
    except DamagedError as error:
        faults.append(error.message)
    return list(in_context(runs, folder)), faults


def _set_aside(fleet: str, state_dir: str) -> str:
    """Where it is now. Whether the journal is damaged is asked again under the lock: no run is at work then."""
    from hivekeys.journal import salvage, state_folder

    folder = state_folder.folder_for(fleet, state_dir)
    with state_folder.hold_lock(folder, fleet, "–", "the journal is put aside"):
        _runs, faults = _all_that_is_left(fleet, state_dir)
        if not faults:
            raise UserError(f"the journal of fleet {fleet} is whole: it stays", hint="`fab history` lists its runs")
        aside = salvage.set_aside(folder, time.time())
    sys.stderr.write("".join(f"hivekeys: {fault}\n" for fault in faults))
    after = as_typed(f"what the hosts are now: fab status --fleet {fleet}")
    sys.stderr.write(f"put aside as {aside}; {after}\n")
    return str(aside)
