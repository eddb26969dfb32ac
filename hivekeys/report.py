"""A run as people and programs read it: a table, failures by cause, one JSON document. Pure.

Only fp6 is ever shown. Text that came from a host goes into `rich.text.Text`, where markup means nothing.
"""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hivekeys import __version__
from hivekeys.causes import Cause, one_line
from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.model import State
from hivekeys.run import HostRun, Run

STYLES = {
    State.PROVEN: "green",
    State.HEALTHY: "yellow",
    State.UNCHANGED: "",
    State.ROLLED_BACK: "yellow",
    State.OWES: "red",
    State.FAILED: "red",
    State.UNREACHABLE: "red",
    State.UNKNOWN: "red",
}
CALLS = ("new", "old", "none", "garbage")
MEANS = {
    ExitCode.DONE: "done, and proven, on every host",
    ExitCode.ROLLED_BACK: "failed; the fleet serves the token that it had",
    ExitCode.INCOMPLETE: "incomplete: see the hosts above",
    ExitCode.LOCKED: "another run works on these hosts: this one changes nothing any more",
    ExitCode.INTERRUPTED: "interrupted: the run is not over",
}


def ago(seconds: float) -> str:
    """A duration in its two largest units: 95 s is "1 min 35 s"."""
    rest = max(0, round(seconds))
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def age(host: HostRun) -> str:
    """How long ago the active token file was written, by the host's own clock."""
    if host.seen is None or host.seen.active is None or not host.seen.active.modified:
        return "–"
    return ago(host.seen.clock - host.seen.active.modified)


def settled_age(run: Run) -> float | None:
    """Seconds since the oldest active file was written; None unless every host is settled on one and the same token."""
    seen = [host.seen for name, host in run.hosts.items() if name not in run.left_out]
    settled = [one for one in seen if one and one.active and one.token and not one.staged and not one.previous]
    if not settled or len(settled) < len(seen) or len({one.token for one in settled}) > 1:
        return None
    return max(one.clock - one.active.modified for one in settled if one.active)


def calls(host: HostRun) -> str:
    """The four calls as their statuses: new/old/none/garbage."""
    if host.proof is None or not host.proof.calls:
        return "–"
    return " ".join(str(host.proof.calls.get(name, "–")) for name in CALLS)


def plain_table(title: str) -> Table:
    """The common look: seven columns fit into 80 characters."""
    return Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def result_table(run: Run, fleet: Fleet) -> Table:
    """One row a host, in the inventory's order."""
    table = plain_table(f"run {run.id} on fleet {run.fleet}")
    for column in ("host", "service", "old → now", "state", "new old non gar", "gap", "took"):
        table.add_column(column, justify="right" if column in ("gap", "took") else "left")
    for host in fleet.hosts:
        part = run.hosts[host.name]
        gap = run.gap(part)
        table.add_row(
            host.name,
            host.service.unit.removesuffix(".service"),
            f"{part.was or '–'} → {part.now or '–'}",
            Text(part.state.value, STYLES[part.state]),
            calls(part),
            "–" if gap is None else f"{gap:.1f} s",
            f"{part.seconds:.1f} s",
        )
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
            now = Text("left out", "yellow")
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


def wave_lines(run: Run) -> list[str]:
    """The order of change, a line a wave."""
    return [
        f"{number}. {phase.value}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}"
        for number, (phase, names) in enumerate(run.waves, 1)
    ]


def failures(run: Run) -> list[tuple[Cause, list[str]]]:
    """Failures grouped by cause, most hosts first; the detail is the first host's."""
    groups: dict[str, list[HostRun]] = defaultdict(list)
    for host in run.hosts.values():
        if host.cause:
            groups[host.cause.trouble.value].append(host)
    grouped = [(hosts[0].cause, [host.name for host in hosts]) for hosts in groups.values() if hosts[0].cause]
    return sorted(grouped, key=lambda group: -len(group[1]))


def failure_lines(run: Run) -> list[str]:
    """Each cause with its hosts and the next step."""
    lines = []
    for cause, names in failures(run):
        lines += [f"{', '.join(names)}: {cause}", f"    next: {cause.hint}"]
    owing = [host.name for host in run.hosts.values() if host.state is State.OWES]
    if owing:
        lines += [
            f"{', '.join(owing)}: still on the old token",
            "    next: mend the cause, then `fab reconcile`",
        ]
    return lines


def summary(run: Run, code: ExitCode) -> str:
    """What a run came to, in one line."""
    counts: dict[State, int] = defaultdict(int)
    for host in run.hosts.values():
        counts[host.state] += 1
    states = ", ".join(f"{count} {state.value}" for state, count in counts.items())
    means = MEANS.get(code, code.name.lower())
    if code is ExitCode.DONE and run.rolled_back:
        means = "taken back: the fleet serves the token that it had"
    return f"{means} ({states}; {run.seconds:.1f} s; exit code {int(code)})"


def document(run: Run, fleet: Fleet) -> dict[str, Any]:
    """The run as one JSON document. Holds no token and no keyed fingerprint."""
    return {
        "hivekeys": __version__,
        "run": run.id,
        "fleet": run.fleet,
        "who": run.who,
        "reason": run.reason,
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="milliseconds"),
        "seconds": round(run.seconds, 3),
        "token": str(run.want) if run.want else None,
        "stopped": run.stopped or None,
        "exit_code": None if run.code is None else int(run.code),
        "next": next_step(run) or None,
        "waves": [{"phase": phase.value, "hosts": list(names)} for phase, names in run.waves],
        "hosts": [_host(run, fleet, name) for name in (host.name for host in fleet.hosts)],
    }


def _host(run: Run, fleet: Fleet, name: str) -> dict[str, Any]:
    part = run.hosts[name]
    host = next(host for host in fleet.hosts if host.name == name)
    gap = run.gap(part)
    seen = part.seen
    active = seen.active if seen else None
    return {
        "host": name,
        "role": host.role.value,
        "address": host.address,
        "unit": host.service.unit,
        "state": part.state.value,
        "old": str(part.was) if part.was else None,
        "now": str(part.now) if part.now else None,
        "age_seconds": round(seen.clock - active.modified) if seen and active and active.modified else None,
        "loaded_by": one_line(seen.loaded.evidence) if seen else None,
        "proofs": dict(part.proof.calls) if part.proof else None,
        "path": one_line(part.proof.path) if part.proof else None,
        "logged": list(part.proof.logged) if part.proof and part.proof.logged is not None else None,
        "gap_seconds": None if gap is None else round(gap, 3),
        "seconds": round(part.seconds, 3),
        "cause": _cause(part.cause),
    }


def _cause(cause: Cause | None) -> dict[str, str] | None:
    return {"trouble": cause.trouble.value, "detail": cause.detail, "hint": cause.hint} if cause else None


def digest(run: Run) -> dict[str, Any]:
    """A run in a few words, for a list of runs."""
    return {
        "run": run.id,
        "task": run.task,
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="seconds"),
        "who": run.who,
        "reason": run.reason,
        "token": str(run.want) if run.want else None,
        "hosts": len(run.hosts),
        "debts": list(run.debts),
        "exit_code": None if run.code is None else int(run.code),
        "seconds": round(run.seconds, 3),
    }


def history_table(runs: list[Run]) -> Table:
    """One row a run."""
    table = plain_table("runs, newest first")
    for column in ("run", "task", "started (UTC)", "who", "token", "hosts", "debts", "took", "ended"):
        table.add_column(column)
    for run in runs:
        ended = (
            "cut off"
            if run.is_open
            else "–"
            if run.code is None
            else f"{int(run.code)} {run.code.name.lower().replace('_', ' ')}"
        )
        started = datetime.fromtimestamp(run.started, UTC).strftime("%Y-%m-%d %H:%M")
        row = (run.id, run.task, started, run.who, str(run.want or "–"), str(len(run.hosts)), str(len(run.debts)))
        table.add_row(*(Text(cell) for cell in (*row, f"{run.seconds:.1f} s", ended)))
    return table


def disagreement(run: Run) -> str:
    """A line when the hosts that were looked at do not all hold the same token."""
    held = {host.now for host in run.hosts.values() if host.now}
    return (
        f"the hosts hold {len(held)} different tokens: some owe the newest one (fab reconcile)" if len(held) > 1 else ""
    )


def next_step(run: Run) -> str:
    """What to type now, as the last line of a run; "" when there is nothing that only this run can do."""
    resume, rollback, reconcile = (f"fab {verb} --fleet {run.fleet}" for verb in ("resume", "rollback", "reconcile"))
    if run.is_open:
        return f"go on: {resume}" + ("" if run.retiring else f"   go back: {rollback}")
    if run.debts and not run.rolled_back:
        return f"when {_few(run.debts)} can be reached and the causes are mended: {reconcile}"
    if run.behind:
        return f"when {_few(run.behind)} can be reached and the causes are mended: {rollback}"
    return ""


def _few(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"


def standing(run: Run, since: str) -> str:
    """Where a run of the past stands, in one line; `since` is how long ago it began."""
    if run.is_open:
        phase = run.phase.value if run.phase else "–"
        return f"cut off in phase {phase}, begun {since} ago: fab resume goes on, fab rollback goes back"
    if run.debts and not run.rolled_back:
        return f"{len(run.debts)} of {len(run.hosts)} hosts owe token:{run.want} for {since}: fab reconcile"
    if run.behind:
        return f"{len(run.behind)} of {len(run.hosts)} hosts are not back on their token for {since}: fab rollback"
    return f"begun {since} ago; {MEANS.get(run.code, 'never began') if run.code is not None else 'nothing was changed'}"
