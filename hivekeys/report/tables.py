"""Runs as tables on a terminal. Pure.

Text that came from a host or another bastion goes into `rich.text.Text`, where markup means nothing.
"""

from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hivekeys.fleet import Fleet
from hivekeys.model import State
from hivekeys.names import fold_names
from hivekeys.report.verdict import ended
from hivekeys.report.words import age, calls, gap_of, longest_gap, members
from hivekeys.run import Run

STYLES = {
    State.PROVEN: "green",
    State.HEALTHY: "yellow",
    State.UNCHANGED: "",
    State.ROLLED_BACK: "yellow",
    State.OWES: "red",
    State.FENCED: "yellow",
    State.EXCLUDED: "red",
    State.FAILED: "red",
    State.UNREACHABLE: "red",
    State.UNKNOWN: "red",
}


WIDE, NARROW = 78, 68  # characters that a row of the result needs, with and without what the plan shows as well
RESULT = ("host", "service", "old → now", "now", "state", "new old non gar", "gap", "took")


def plain_table(title: str) -> Table:
    """The common look: seven columns fit into 80 characters."""
    return Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def result_table(run: Run, fleet: Fleet, width: int = WIDE) -> Table:
    """One row a host, in the inventory's order; on a narrow terminal without what the plan shows as well."""
    table = plain_table(f"run {run.id} on fleet {run.fleet}")
    left_out: tuple[str, ...] = ("now",) if width >= WIDE else ("now", "service", "took")
    if width < NARROW:
        left_out = ("service", "old → now", "took")
    for column in RESULT:
        if column not in left_out:
            table.add_column(column, justify="right" if column in ("gap", "took") else "left")
    for part, host in members(run, fleet):
        cells: dict[str, str | Text] = {
            "host": part.name,
            "service": host.service.unit.removesuffix(".service") if host else "–",
            "old → now": f"{part.was or '–'} → {part.now or '–'}",
            "now": str(part.now or "–"),
            "state": Text(part.state.value, STYLES[part.state]),
            "new old non gar": calls(part),
            "gap": gap_of(run.gap(part)),
            "took": f"{part.seconds:.1f} s",
        }
        table.add_row(*(cell for column, cell in cells.items() if column not in left_out))
    return table


def states_table(run: Run) -> Table:
    """One row a state, for fleets that fill more than a screen."""
    table = plain_table(f"run {run.id} on fleet {run.fleet}")
    for column in ("state", "hosts", "longest gap", "which"):
        table.add_column(column, justify="right" if column in ("hosts", "longest gap") else "left")
    for state, style in STYLES.items():
        parts = [host for host in run.hosts.values() if host.state is state]
        if parts:
            gap = longest_gap(map(run.gap, parts))
            which = fold_names(host.name for host in parts)
            table.add_row(Text(state.value, style), str(len(parts)), gap, Text(which, overflow="fold"))
    return table


def plan_table(run: Run, fleet: Fleet) -> Table:
    """What a rotation would meet and change, one row a host."""
    table = plain_table(f"fleet {fleet.name}: what a rotation would do")
    turns = {name: number for number, (_, names) in enumerate(run.waves, 1) for name in names}
    for column in ("turn", "host", "service", "token", "age", "read through", "now"):
        table.add_column(column)
    for host in fleet.hosts:
        part = run.hosts[host.name]
        through = "–"
        if part.seen:
            through = "credential" if part.seen.unit.credential else "file"
        if host.name not in turns:
            now = Text("cut out" if part.state is State.EXCLUDED else "left out", "yellow")
        elif part.cause:
            now = Text(part.cause.trouble.value, "red")
        elif part.proof and part.proof.proven:
            now = Text("token proven", "green")
        else:
            now = Text("healthy, not proven", "yellow")
        turn = str(turns.get(host.name, "–"))
        unit = host.service.unit.removesuffix(".service")
        table.add_row(turn, host.name, unit, str(part.was or "–"), age(part), through, now)
    return table


def history_table(runs: list[Run]) -> Table:
    """One row a run."""
    table = plain_table("runs, newest first")
    for column in ("run", "task", "started (UTC)", "who", "token", "hosts", "debts", "took", "ended"):
        table.add_column(column)
    for run in runs:
        started = datetime.fromtimestamp(run.started, UTC).strftime("%Y-%m-%d %H:%M")
        row = (run.id, run.task, started, run.who, str(run.left_with or "–"), str(len(run.hosts)), str(len(run.debts)))
        table.add_row(*(Text(cell) for cell in (*row, f"{run.seconds:.1f} s", ended(run))))
    return table
