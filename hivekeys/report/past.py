"""What stays true after a run is over: why it went back, and which services are down. Pure."""

from collections import defaultdict
from collections.abc import Iterable

from hivekeys.fleet import Fleet
from hivekeys.journal.events import State
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.hints import hint
from hivekeys.text.names import fold_names

OUT = "out of service now"
MOST = 8  # hosts that get a line each
LAST_WORDS = (Trouble.START_FAILED, Trouble.UNSTABLE)  # their details are the last lines of the service's journal
BECAUSE = "the run was taken back because of this"


def by_cause(causes: Iterable[tuple[str, Cause]]) -> list[tuple[Cause, list[str]]]:
    """Hosts grouped by the trouble that they have, most hosts first."""
    groups: dict[Trouble, list[tuple[str, Cause]]] = defaultdict(list)
    for name, cause in causes:
        groups[cause.trouble].append((name, cause))
    grouped = [(hosts[0][1], [name for name, _ in hosts]) for hosts in groups.values()]
    return sorted(grouped, key=lambda group: -len(group[1]))


def earlier(run: Run) -> list[tuple[Cause, list[str]]]:
    """Causes of failures in earlier sittings, grouped; without hosts that have the same cause now."""
    return by_cause(
        (host.name, host.failed) for host in run.hosts.values() if host.failed and not _has_same_cause(host)
    )


def stops_before(run: Run) -> list[str]:
    """Why a run that was taken back had stopped in earlier sittings."""
    return [reason for reason in run.reasons if reason != run.stopped] if run.rolled_back else []


def because_lines(run: Run, fleet: Fleet) -> list[str]:
    """Why a run was rolled back, by its earlier sittings: each new sitting clears the hosts' failures."""
    if not run.rolled_back:
        return []
    lines = [f"stopped before: {reason}" for reason in stops_before(run)]
    for cause, names in earlier(run):
        lines += [f"{fold_names(names)}: {cause} ({BECAUSE})", f"    next: {hint(cause, fleet, *names)}"]
    return lines


def out_lines(run: Run) -> list[str]:
    """The hosts whose service did not run when they were last seen, with what it said last."""
    out = [host for host in run.counted if host.is_out and host.state is not State.FENCED]
    lines = [f"{host.name}: {OUT}{said}" for host, said in ((host, _last_words(host)) for host in out[:MOST])]
    rest = out[MOST:]
    return [*lines, f"{OUT} as well: {fold_names(host.name for host in rest)}"] if rest else lines


def _last_words(host: HostRun) -> str:
    unit = f" (the unit is {host.seen.unit.state})" if host.seen else ""
    cause = host.cause or host.failed
    if cause and cause.trouble in LAST_WORDS and cause.detail:
        return f"{unit}; last lines: {cause.detail}"
    return unit


def _has_same_cause(host: HostRun) -> bool:
    return host.cause is not None and host.failed is not None and host.cause.trouble is host.failed.trouble
