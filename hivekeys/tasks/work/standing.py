"""Where the runs of this bastion stand, and what they still owe, by its journal; for `fab status` and `fab rotate`."""

import time
from collections.abc import Iterator

from hivekeys import report
from hivekeys.fleet import Fleet
from hivekeys.journal import state_folder
from hivekeys.journal.debts import overtaken, owes
from hivekeys.journal.past import past_run, past_runs
from hivekeys.journal.run import Run
from hivekeys.protocol.hints import for_fleet
from hivekeys.report.approvals import approval_lines
from hivekeys.rotation.windows import words
from hivekeys.tasks.terminal.document import print_document
from hivekeys.tasks.terminal.live import Show
from hivekeys.text.commands import as_typed
from hivekeys.text.durations import ago

MOST_UNAPPROVED = 5  # runs that get a line


def standing_lines(fleet: Fleet, state_dir: str, newer: str = "") -> list[str]:
    """Who is at work, where the newest rotation stands by the journal, and what older ones still owe.

    `newer`: a run of another bastion that the hosts have seen after all of these.
    """
    runs = overtaken(past_runs(fleet.name, state_dir), newer)
    window = [f"window: {words(fleet.windows, time.time())}"] if fleet.windows else []
    if not runs:
        nothing = "this bastion knows of no earlier runs and no debts of hosts: there is nothing to reconcile"
        return [nothing, *window]
    lines = [*(line for _, line in _lines(fleet, runs)), *_unapproved(fleet, runs), *window]
    holder = state_folder.at_work(state_folder.folder_for(fleet.name, state_dir))
    if holder and not any(run.at_work for run in runs[:1]):
        lines.insert(0, f"at work on the fleet now: {holder.words}")
    return lines


def next_line(fleet: Fleet, state_dir: str, newer: str = "") -> str:
    """What the newest run needs, or the first that still owes; "" where none does."""
    return report.next_of(overtaken(past_runs(fleet.name, state_dir), newer), fleet)


def owing_lines(fleet: Fleet, state_dir: str, after: str) -> list[str]:
    """What the runs before this one still owe."""
    return [line for run, line in _lines(fleet, list(past_runs(fleet.name, state_dir))) if run.id != after]


def _lines(fleet: Fleet, runs: list[Run]) -> Iterator[tuple[Run, str]]:
    """The newest run and those that still owe, a line each; and which has to be over before an older one goes on."""
    first = ""
    for run in [*runs[:1], *(run for run in runs[1:] if owes(run))]:
        yield run, f"run {run.id}: {first}{_standing(fleet, run)}"
        if run.at_work or (run.is_open and run.left_a_trace):
            first = first or f"when run {run.id} is over: "


def _unapproved(fleet: Fleet, runs: list[Run]) -> Iterator[str]:
    """The runs that are still to be approved, newest first."""
    lacking = [run for run in runs if run.lacks_approval]
    for run in lacking[:MOST_UNAPPROVED]:
        yield from (f"run {run.id}: {line}" for line in approval_lines(run, fleet))
    if more := len(lacking) - MOST_UNAPPROVED:
        yield from [f"and {more} more runs are not approved yet: {as_typed('fab history')}"] if more > 0 else []


def _standing(fleet: Fleet, run: Run) -> str:
    """Where a run stands, and what to type, for this fleet."""
    return for_fleet(report.standing(run, ago(time.time() - run.started)), fleet.typed)


def show_run(fleet: Fleet, name: str, state_dir: str, as_json: bool) -> None:
    """How a run of the past went, by the journal alone; `name`: its id, or last."""
    past = past_run(fleet.name, "" if name == "last" else name, state_dir)
    if as_json:
        print_document(report.document(past, fleet))
        return
    show = Show()
    show.result_table(past, report.result_table(past, fleet, show.width))
    lines = [*report.failure_lines(past, fleet), *report.place_lines(past), *report.drain_lines(past)]
    lines += approval_lines(past, fleet)
    lines += [*report.cut_lines(past), *report.census_lines(past), *report.meter_lines(past)]
    for line in [*lines, _standing(fleet, past)]:
        show.line(line)
