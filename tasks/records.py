"""`fab history` and `fab status`: what the journal on this bastion knows. They contact nobody."""

import json as jsonlib
import sys
import time

from invoke.context import Context
from invoke.tasks import task

from tasks.engine import newest_served, past_run, past_runs
from tasks.frame import FLEET_HELP, chosen, verb

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


@task(help={**HELP, "run": "a run of `fab history` (default: the newest)"}, auto_shortflags=False)
@verb
def status(_: Context, fleet: str = "", run: str = "", state_dir: str = "", json: bool = False) -> None:
    """Show how a run ended or where it was cut off, and which hosts owe its token since when."""
    from hivekeys import report  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    found, _hosts = chosen(fleet, "", "")
    past = past_run(found.name, run, state_dir)
    if json:
        document = {**report.document(past, found), "debts": list(past.debts), "open": past.is_open}
        sys.stdout.write(jsonlib.dumps(document, indent=2) + "\n")
        return
    show = Show()
    show.table(report.result_table(past, found))
    since = report.ago(time.time() - past.started)
    for line in (*report.failure_lines(past), report.standing(past, since)):
        show.line(line)
    served = None if run else newest_served(found.name, state_dir)
    if served and served.id != past.id and served.debts:
        show.line(report.standing(served, report.ago(time.time() - served.started)))
