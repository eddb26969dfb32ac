"""The tables of a run on a terminal: plan, result, states, history. Pure.

Text that came from a host or another bastion goes into `rich.text.Text`, where markup means nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hivekeys.fleet import Fleet
from hivekeys.journal.events import State
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.report.verdict import ended
from hivekeys.report.words import age, calls, gap_lines, gap_of, longest_gap, members
from hivekeys.text.names import fold_names
from hivekeys.text.table import plain_table

STYLES = {
    State.PROVEN: "green",
    State.BOTH: "yellow",
    State.HEALTHY: "yellow",
    State.UNCHANGED: "",
    State.ROLLED_BACK: "yellow",
    State.OWES: "red",
    State.FENCED: "yellow",
    State.CORDONED: "red",
    State.EXCLUDED: "red",
    State.FAILED: "red",
    State.UNREACHABLE: "red",
    State.UNKNOWN: "red",
}


WIDTH = 80  # characters of a terminal, unless it is told otherwise
ANSWERS = "answers: the service's HTTP status for the new token, the old token, no token, a garbage token"


@dataclass(frozen=True)
class Sheet:
    """What a table may show: a row is a cell for each of `columns`; those of `dropped` go first where room is short."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str | Text]]
    dropped: tuple[str, ...] = ()
    right: tuple[str, ...] = ()  # columns of numbers

    def table(self, width: int) -> Table:
        """As many columns as fit into so many characters. Names and ids are never cut; at the worst they are broken."""
        for count in range(len(self.dropped) + 1):
            table = self._without(self.dropped[:count])
            if MEASURING.measure(table).maximum <= width:
                break
        return table

    def _without(self, dropped: tuple[str, ...]) -> Table:
        table = plain_table(self.title)
        shown = [place for place, name in enumerate(self.columns) if name not in dropped]
        for place in shown:
            name = self.columns[place]
            table.add_column(name, justify="right" if name in self.right else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) if isinstance(cell := row[place], str) else cell for place in shown))
        return table


UNPROVEN, IN_FILE = Text("healthy, not proven", "yellow"), Text("token in its file", "green")
MEASURING = Console(width=100_000)


def result_table(run: Run, fleet: Fleet, width: int = WIDTH) -> Table:
    """One row a host, in the inventory's order; `legend` says what its columns mean."""
    columns = ("host", "service", "old → now", "state", "answers", "gap", "took")
    rows = [
        (
            part.name,
            host.service.title if host else "–",
            f"{part.was or '–'} → {part.now or '–'}",
            Text(part.state.value, STYLES[part.state]),
            calls(part),
            gap_of(run.gap(part)),
            f"{part.seconds:.1f} s",
        )
        for part, host in members(run, fleet)
    ]
    dropped = ("service", "took", "old → now", "answers")
    sheet = Sheet(f"run {run.id} on fleet {run.fleet}", columns, rows, dropped, ("gap", "took"))
    return sheet.table(width)


def legend(run: Run, table: Table) -> list[str]:
    """What the columns of a result mean, to be said below it."""
    shown = any(column.header == "answers" for column in table.columns)
    return [*([ANSWERS] if shown else []), *gap_lines(run)]


def states_table(run: Run) -> Table:
    """One row a state, for fleets that fill more than a screen."""
    table = plain_table(f"run {run.id} on fleet {run.fleet}")
    for column in ("state", "hosts", "longest gap", "which"):
        table.add_column(column, justify="right" if column in ("hosts", "longest gap") else "left", overflow="fold")
    for state, style in STYLES.items():
        parts = [host for host in run.hosts.values() if host.state is state]
        if parts:
            gap = longest_gap(map(run.gap, parts))
            which = fold_names(host.name for host in parts)
            table.add_row(Text(state.value, style), str(len(parts)), gap, Text(which, overflow="fold"))
    return table


def plan_table(run: Run, fleet: Fleet, width: int = WIDTH) -> Table:
    """What a rotation would meet and change, one row a host."""
    turns = {name: number for number, (_, names) in enumerate(run.waves, 1) for name in names}
    grouped = bool(fleet.groups)
    rows: list[tuple[str | Text, ...]] = []
    for host in fleet.hosts:
        part = run.hosts[host.name]
        through = "–"
        if part.seen:
            through = "credential" if part.seen.unit.credential else "file"
        turn, unit = str(turns.get(host.name, "–")), host.service.title
        now = _now(part, host.name in turns, IN_FILE if host.service.is_client else UNPROVEN)
        groups = [" ".join(host.groups) or "–"] if grouped else []
        rows.append((turn, host.name, *groups, unit, str(part.was or "–"), age(part), through, now))
    columns = ("turn", "host", *(["groups"] if grouped else []), "service", "token", "age", "read as", "now")
    dropped = ("read as", "service", "age", "groups", "turn", "token")
    return Sheet(f"fleet {fleet.name}: what a rotation would do", columns, rows, dropped).table(width)


def _now(part: HostRun, has_a_turn: bool, unproven: Text) -> Text:
    if not has_a_turn:
        return Text("excluded" if part.state is State.EXCLUDED else "left out", "yellow")
    if part.cause:
        return Text(part.cause.trouble.value, "red")
    proven = part.proof is not None and part.proof.proven
    return Text("token proven", "green") if proven else unproven


def history_table(runs: Iterable[Run], width: int = WIDTH) -> Table:
    """One row a run."""
    columns = ("run", "task", "started (UTC)", "who", "token", "hosts", "debts", "took", "ended")
    rows = [
        (
            run.id,
            run.task,
            datetime.fromtimestamp(run.started, UTC).strftime("%Y-%m-%d %H:%M"),
            run.who,
            str(run.left_with or "–"),
            str(len(run.hosts)),
            str(len(run.debts)),
            f"{run.seconds:.1f} s",
            ", ".join(filter(None, (ended(run), "not approved yet" if run.lacks_approval else ""))),
        )
        for run in runs
    ]
    dropped = ("hosts", "took", "who", "token", "task", "started (UTC)", "debts")
    return Sheet("runs, newest first", columns, rows, dropped).table(width)
