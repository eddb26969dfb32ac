"""`fab status`: how the hosts are now; once, repeatedly (--watch), or for Prometheus (--metrics)."""

import contextlib
import json as jsonlib
import sys
import time
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import DamagedError, ExitCode, UserError
from tasks.engine import dialer_of, greeting_of
from tasks.history import show_run, standing_lines
from tasks.options.frame import FLEET_HELP, chosen, finish, verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hivekeys.fleet import Fleet, Host
    from hivekeys.status.status import FleetStatus


@task(
    help={
        **FLEET_HELP,
        "run": "what the journal tells of this run instead, without asking a host: an id, or last",
        "watch": "draw it over every few seconds, until Ctrl-C",
        "metrics": "also write the whole fleet to this file, for Prometheus' node_exporter (NAME.prom)",
    },
    auto_shortflags=False,
)
@verb
def status(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    run: str = "",
    watch: bool = False,
    metrics: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Show how every host is now and which owe the newest token; changes nothing. With --run, how a run went."""
    found, hosts = chosen(fleet, limit, exclude)
    _refuse_mixed({"--run": run, "--watch": watch, "--metrics": metrics}, {"--watch": watch, "--json": json})
    if metrics and hosts != found.hosts:
        raise UserError("--metrics tells of a whole fleet", hint="leave --limit and --exclude out")
    if run:
        show_run(found, run, state_dir, json)
    elif watch:
        _keep_watching(found, hosts, state_dir)
    else:
        _show_hosts(found, hosts, metrics, state_dir, json)


def _refuse_mixed(*groups: "dict[str, str | bool]") -> None:
    """Of each group an operator can have one."""
    for group in groups:
        given = [option for option, value in group.items() if value]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} do not go together", hint="give one of them")


def _show_hosts(fleet: "Fleet", hosts: "tuple[Host, ...]", metrics: str, state_dir: str, json: bool) -> None:
    from hivekeys.files import destination
    from hivekeys.journal import state_folder
    from hivekeys.protocol.hints import for_fleet
    from hivekeys.status import status as now
    from tasks.terminal.live import Show

    path = destination("--metrics", metrics) if metrics else None
    with _looking(fleet, hosts, state_dir) as look:
        try:
            shown, damaged = look(), False
        except DamagedError as error:  # the hosts can be looked at; what they owe, only the journal knows
            shown, damaged = look(knows=False), True
            Show.warn(f"{error.message}\n  hint: {for_fleet(error.hint, fleet.typed)}")
    code = ExitCode.INCOMPLETE if damaged else shown.code
    if path:
        _write_metrics(path, shown, state_dir)
    if json:
        holder = state_folder.at_work(state_folder.folder_for(fleet.name, state_dir))
        works = {"at_work": {"run": holder.run or None, "by": holder.words} if holder else None}
        sys.stdout.write(jsonlib.dumps({**now.document(shown), **works}, indent=2) + "\n")
        finish(code)
        return
    show = Show()
    show.table(now.table(shown, width=show.width))
    for line in (*now.lines(shown), *([] if damaged else standing_lines(fleet, state_dir, _newer(shown)))):
        show.line(line)
    finish(code)


def _keep_watching(fleet: "Fleet", hosts: "tuple[Host, ...]", state_dir: str) -> None:
    from tasks.terminal.picture import refuse_without_terminal, watch

    refuse_without_terminal()
    with _looking(fleet, hosts, state_dir) as look:
        watch(look)


def _write_metrics(path: "Path", shown: "FleetStatus", state_dir: str) -> None:
    from hivekeys.files import write_whole
    from hivekeys.journal import state_folder
    from hivekeys.journal.debts import overtaken
    from hivekeys.journal.past import past_runs
    from hivekeys.status.metrics import metrics
    from hivekeys.verify.last import kept_tally

    name = shown.fleet.name
    checklist = kept_tally(state_folder.folder_for(name, state_dir))
    runs = list(past_runs(name, state_dir))
    write_whole(path, metrics(shown, overtaken(runs, _newer(shown)), checklist), mode=0o644)


def _newer(shown: "FleetStatus") -> str:
    """A run of another bastion that the hosts have seen after all of this one's, and whose; "" where there is none."""
    return f"{shown.newer.run} of {shown.newer.who or 'another bastion'}" if shown.newer else ""


@contextlib.contextmanager
def _looking(fleet: "Fleet", hosts: "tuple[Host, ...]", state_dir: str) -> "Iterator[Callable[..., FleetStatus]]":
    """How to look at hosts, once or again and again, over lines that stay open; unless it is told otherwise, with what
    the journal knows of them.
    """
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import past_runs
    from hivekeys.protocol.program import program_of
    from hivekeys.status.status import status_of
    from hivekeys.verify.findings import recorded
    from hivekeys.verify.survey import Watch

    folder = state_folder.folder_for(fleet.name, state_dir)
    greeting = greeting_of(fleet.name, folder)
    dialer = dialer_of(fleet, hosts, program_of(), folder)
    watch = Watch(fleet, hosts, dialer, greeting)

    def look(knows: bool = True) -> "FleetStatus":
        answers = watch.look()
        runs = list(past_runs(fleet.name, state_dir, every=True)) if knows else None
        record = recorded(run for run in runs or () if run.brings_token)
        return status_of(fleet, answers, record, runs, time.time())

    try:
        yield look
    finally:
        watch.close()
        dialer.close()
