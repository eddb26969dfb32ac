"""`fab status`: how the hosts are now; once, repeatedly (--watch), or for Prometheus (--metrics)."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import DamagedError, ExitCode, UserError
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import print_document

if TYPE_CHECKING:
    from pathlib import Path

    from hivekeys.fleet import Fleet, Host
    from hivekeys.status.status import FleetStatus


@dataclass(frozen=True, kw_only=True)
class StatusOptions:
    """How often, and what else is told."""

    run: str = option("what the journal tells of this run instead, without asking a host: an id, or last")
    watch: bool = option("draw it over every few seconds, until Ctrl-C", default=False)
    metrics: str = option("also write the whole fleet to this file, for Prometheus' node_exporter (NAME.prom)")

    def refuse_mixed(self, as_json: bool) -> None:
        """Raises UserError for what excludes each other."""
        _refuse_mixed({"--run": self.run, "--watch": self.watch, "--metrics": self.metrics})
        _refuse_mixed({"--watch": self.watch, "--json": as_json})


@verb
def status(scope: HostsOptions, own: StatusOptions, output: JsonOption) -> None:
    """Show how every host is now and which owe the newest token; changes nothing. With --run, how a run went."""
    fleet, hosts = scope.load_hosts()
    own.refuse_mixed(output.json)
    if own.metrics and hosts != fleet.hosts:
        raise UserError("--metrics tells of a whole fleet", hint="leave --limit and --exclude out")
    if own.run:
        from hivekeys.tasks.work.standing import show_run

        show_run(fleet, own.run, scope.state_dir, output.json)
    elif own.watch:
        _keep_watching(fleet, hosts, scope.state_dir)
    else:
        _show_hosts(fleet, hosts, own.metrics, scope.state_dir, output.json)


def _refuse_mixed(options: "dict[str, str | bool]") -> None:
    """Of these an operator can have one."""
    given = [option for option, value in options.items() if value]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} do not go together", hint="give one of them")


def _show_hosts(fleet: "Fleet", hosts: "tuple[Host, ...]", metrics: str, state_dir: str, as_json: bool) -> None:
    from hivekeys.bastion.looking import looking
    from hivekeys.files import destination
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import past_runs
    from hivekeys.protocol.hints import for_fleet
    from hivekeys.rotation import windows
    from hivekeys.status import status as now
    from hivekeys.tasks.terminal.live import Show
    from hivekeys.tasks.work.standing import next_line, standing_lines
    from hivekeys.text.documents.status import AtWork

    path = destination("--metrics", metrics) if metrics else None
    with looking(fleet, hosts, state_dir, asks_for_uses=True) as look:
        try:
            shown, damaged = look(), False
        except DamagedError as error:  # the hosts can be looked at; what they owe, only the journal knows
            shown, damaged = look(knows=False), True
            Show.warn(f"{error.message}\n  hint: {for_fleet(error.hint, fleet.typed)}")
    code = ExitCode.INCOMPLETE if damaged else shown.code
    if path:
        _write_metrics(path, shown, state_dir)
    if as_json:
        holder = state_folder.at_work(state_folder.folder_for(fleet.name, state_dir))
        works: AtWork | None = {"run": holder.run or None, "by": holder.words} if holder else None
        first = "" if damaged else next_line(fleet, state_dir, _newer(shown))
        past = () if damaged else past_runs(fleet.name, state_dir)
        lacking = [run.id for run in past if run.lacks_approval]
        window = windows.words(fleet.windows, time.time())
        print_document(now.document(shown, first, works, window, code, lacking))
        leave(code)
        return
    show = Show()
    show.table(now.table(shown, width=show.width))
    for line in (*now.lines(shown), *([] if damaged else standing_lines(fleet, state_dir, _newer(shown)))):
        show.line(line)
    leave(code)


def _keep_watching(fleet: "Fleet", hosts: "tuple[Host, ...]", state_dir: str) -> None:
    from hivekeys.bastion.looking import looking
    from hivekeys.tasks.terminal.picture import refuse_without_terminal, watch

    refuse_without_terminal()
    with looking(fleet, hosts, state_dir) as look:
        watch(look)


def _write_metrics(path: "Path", shown: "FleetStatus", state_dir: str) -> None:
    from hivekeys.files import write_whole
    from hivekeys.journal import state_folder
    from hivekeys.journal.debts import overtaken
    from hivekeys.journal.past import past_runs
    from hivekeys.status.metrics import metrics
    from hivekeys.verify.last import stored_tally

    name = shown.fleet.name
    checklist = stored_tally(state_folder.folder_for(name, state_dir))
    runs = list(past_runs(name, state_dir))
    write_whole(path, metrics(shown, overtaken(runs, _newer(shown)), checklist), mode=0o644)


def _newer(shown: "FleetStatus") -> str:
    """A run of another bastion that the hosts have seen after all of this one's, and whose; "" where there is none."""
    return f"{shown.newer.run} of {shown.newer.who or 'another bastion'}" if shown.newer else ""
