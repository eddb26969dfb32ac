"""`fab history`, and what else the journal on this bastion knows: how a run went, where the newest stands."""

import json as jsonlib
import sys
import time
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from tasks.engine import newest_served, past_run, past_runs
from tasks.frame import FLEET_HELP, chosen, verb

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet

HELP = {name: FLEET_HELP[name] for name in ("fleet", "state-dir", "json")}


@task(help=HELP, auto_shortflags=False)
@verb
def history(_: Context, fleet: str = "", state_dir: str = "", json: bool = False) -> None:
    """List the runs over a fleet from this bastion, newest first."""
    from hivekeys import report  # noqa: PLC0415  rich takes time that `fab --list` has not
    from tasks.live import Show  # noqa: PLC0415

    found, _hosts = chosen(fleet, "", "")
    runs = list(past_runs(found.name, state_dir, every=True))
    if json:
        sys.stdout.write(jsonlib.dumps([report.digest(run) for run in runs], indent=2) + "\n")
    else:
        Show().table(report.history_table(runs))


def standing_lines(fleet: str, state_dir: str) -> list[str]:
    """Where the newest rotation stands by the journal, and the newest whose token the fleet went on with."""
    from hivekeys import report  # noqa: PLC0415

    newest = next(past_runs(fleet, state_dir), None)
    served = newest_served(fleet, state_dir)
    telling = [] if newest is None else [newest]
    if newest and served and served.id != newest.id and served.debts:
        telling.append(served)
    return [f"run {run.id}: {report.standing(run, report.ago(time.time() - run.started))}" for run in telling]


def show_run(fleet: "Fleet", name: str, state_dir: str, json: bool) -> None:
    """How a run of the past went, by the journal alone; `name`: its id, or last."""
    from hivekeys import report  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    past = past_run(fleet.name, "" if name == "last" else name, state_dir)
    if json:
        document = {**report.document(past, fleet), "debts": list(past.debts), "open": past.is_open}
        sys.stdout.write(jsonlib.dumps(document, indent=2) + "\n")
        return
    show = Show()
    show.table(report.result_table(past, fleet))
    since = report.ago(time.time() - past.started)
    found = (*report.failure_lines(past), *report.place_lines(past), *report.census_lines(past))
    for line in (*found, report.standing(past, since)):
        show.line(line)
