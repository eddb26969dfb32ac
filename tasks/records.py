"""`fab history` and `fab status`: what the journal on this bastion knows, and how the hosts are now."""

import json as jsonlib
import sys
import time
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from tasks.engine import dialer_of, greeting_of, newest_served, past_run, past_runs, program_of
from tasks.frame import FLEET_HELP, chosen, finish, verb

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host
    from hivekeys.status import FleetStatus

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


@task(
    help={**FLEET_HELP, "run": "what the journal tells of this run instead, without asking a host: an id, or last"},
    auto_shortflags=False,
)
@verb
def status(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    run: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Show how every host is now and which owe the newest token; changes nothing. With --run, how a run went."""
    found, hosts = chosen(fleet, limit, exclude)
    if run:
        _show_run(found, run, state_dir, json)
        return
    from hivekeys import status as now  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    shown = _look(found, hosts, state_dir)
    if json:
        sys.stdout.write(jsonlib.dumps(now.document(shown), indent=2) + "\n")
        finish(shown.code)
        return
    show = Show()
    show.table(now.table(shown))
    for line in (*now.lines(shown), *_last(found.name, state_dir)):
        show.line(line)
    finish(shown.code)


def _look(fleet: "Fleet", hosts: "tuple[Host, ...]", state_dir: str) -> "FleetStatus":
    from hivekeys import state  # noqa: PLC0415
    from hivekeys.findings import recorded  # noqa: PLC0415
    from hivekeys.status import status_of  # noqa: PLC0415
    from hivekeys.survey import Watch  # noqa: PLC0415

    greeting = greeting_of(fleet.name, state.folder_for(fleet.name, state_dir))
    dialer = dialer_of(fleet, hosts, program_of("agent"))
    watch = Watch(fleet, hosts, dialer, greeting)
    try:
        answers = watch.look()
    finally:
        watch.close()
        dialer.close()
    runs = list(past_runs(fleet.name, state_dir, every=True))
    record = recorded(run for run in runs if run.brings_token)
    return status_of(fleet, answers, record, runs, time.time())


def _last(fleet: str, state_dir: str) -> list[str]:
    """Where the newest rotation stands by the journal, and the newest whose token the fleet went on with."""
    from hivekeys import report  # noqa: PLC0415

    newest = next(past_runs(fleet, state_dir), None)
    served = newest_served(fleet, state_dir)
    telling = [] if newest is None else [newest]
    if newest and served and served.id != newest.id and served.debts:
        telling.append(served)
    return [f"run {run.id}: {report.standing(run, report.ago(time.time() - run.started))}" for run in telling]


def _show_run(fleet: "Fleet", name: str, state_dir: str, json: bool) -> None:
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
    for line in (*report.failure_lines(past), report.standing(past, since)):
        show.line(line)
