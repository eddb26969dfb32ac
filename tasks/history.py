"""`fab history`: lists the runs of this bastion; for other verbs, what its journal says of a run."""

import contextlib
import json as jsonlib
import sys
import time
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import DamagedError, UserError
from tasks.options.frame import CHANGES_HELP, FLEET_HELP, chosen, verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hivekeys.fleet import Fleet
    from hivekeys.journal.run import Run

HELP = {name: FLEET_HELP[name] for name in ("fleet", "state-dir", "json")}


@task(
    help={
        **HELP,
        "set-aside": "put a journal that is damaged aside, and begin a new one: when there is no copy of it",
        **CHANGES_HELP,
    },
    auto_shortflags=False,
)
@verb
def history(
    _: Context,
    fleet: str = "",
    set_aside: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    state_dir: str = "",
    json: bool = False,
) -> None:
    """List the runs over a fleet from this bastion, newest first; and what is missing or damaged of the journal."""
    from hivekeys import report
    from tasks.terminal.live import Show

    found, _hosts = chosen(fleet, "", "")
    runs, faults = _all_that_is_left(found.name, state_dir)
    if json:
        sys.stdout.write(jsonlib.dumps([report.digest(run) for run in runs], indent=2) + "\n")
    else:
        show = Show()
        show.table(report.history_table(runs, show.width))
    if set_aside and faults and dry_run:
        sys.stderr.write("".join(f"hivekeys: {fault}\n" for fault in faults))
        sys.stderr.write("would be put aside; a dry run: nothing was changed\n")
    elif set_aside:
        _set_aside(found.name, state_dir)
    elif faults:
        raise DamagedError("\n".join(faults))


def _all_that_is_left(fleet: str, state_dir: str) -> "tuple[list[Run], list[str]]":
    """The runs that can be read, newest first; what is wrong with journal and key, a line each."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import as_told
    from hivekeys.journal.run import fold
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
    return list(as_told(runs, folder)), faults


def _set_aside(fleet: str, state_dir: str) -> None:
    """Whether the journal is damaged is asked again under the lock: no run is at work then."""
    from hivekeys.journal import salvage, state_folder

    folder = state_folder.folder_for(fleet, state_dir)
    with state_folder.hold_lock(folder, fleet, "–", "the journal is put aside"):
        _runs, faults = _all_that_is_left(fleet, state_dir)
        if not faults:
            raise UserError(f"the journal of fleet {fleet} is whole: it stays", hint="`fab history` lists its runs")
        aside = salvage.set_aside(folder, time.time())
    sys.stderr.write("".join(f"hivekeys: {fault}\n" for fault in faults))
    sys.stderr.write(f"put aside as {aside}; what the hosts are now: fab status --fleet {fleet}\n")


def standing_lines(fleet: "Fleet", state_dir: str, newer: str = "") -> list[str]:
    """Who is at work, where the newest rotation stands by the journal, and what older ones still owe.

    `newer`: a run of another bastion that the hosts have seen after all of these.
    """
    from hivekeys.journal import state_folder
    from hivekeys.journal.debts import overtaken
    from hivekeys.journal.past import past_runs

    runs = overtaken(past_runs(fleet.name, state_dir), newer)
    if not runs:
        return ["nothing is known here of earlier runs, or of what hosts owe: there is nothing to reconcile"]
    lines = [line for _, line in _told(fleet, runs)]
    holder = state_folder.at_work(state_folder.folder_for(fleet.name, state_dir))
    if holder and not any(run.at_work for run in runs[:1]):
        lines.insert(0, f"at work on the fleet now: {holder.words}")
    return lines


def owing_lines(fleet: "Fleet", state_dir: str, after: str) -> list[str]:
    """What the runs before this one still owe."""
    from hivekeys.journal.past import past_runs

    return [line for run, line in _told(fleet, list(past_runs(fleet.name, state_dir))) if run.id != after]


def _told(fleet: "Fleet", runs: "list[Run]") -> "Iterator[tuple[Run, str]]":
    """The newest run and those that still owe, a line each; and which has to be over before an older one goes on."""
    from hivekeys.journal.debts import owes

    first = ""
    for run in [*runs[:1], *(run for run in runs[1:] if owes(run))]:
        yield run, f"run {run.id}: {first}{_standing(fleet, run)}"
        if run.at_work or (run.is_open and run.left_a_trace):
            first = first or f"when run {run.id} is over: "


def _standing(fleet: "Fleet", run: "Run") -> str:
    """Where a run stands, and what to type, for this fleet."""
    from hivekeys import report
    from hivekeys.protocol.hints import for_fleet
    from hivekeys.text.durations import ago

    return for_fleet(report.standing(run, ago(time.time() - run.started)), fleet.typed)


def show_run(fleet: "Fleet", name: str, state_dir: str, json: bool) -> None:
    """How a run of the past went, by the journal alone; `name`: its id, or last."""
    from hivekeys import report
    from hivekeys.journal.past import past_run
    from tasks.terminal.live import Show

    past = past_run(fleet.name, "" if name == "last" else name, state_dir)
    if json:
        document = {**report.document(past, fleet), "debts": list(past.debts), "open": past.is_open}
        sys.stdout.write(jsonlib.dumps(document, indent=2) + "\n")
        return
    show = Show()
    show.result_table(past, report.result_table(past, fleet, show.width))
    found = (*report.failure_lines(past, fleet), *report.place_lines(past), *report.census_lines(past))
    for line in (*found, _standing(fleet, past)):
        show.line(line)
