"""Shows how services were freed of work before their restarts. Pure."""

from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.text.clean import cut
from hivekeys.text.documents import run as documents
from hivekeys.text.durations import ago
from hivekeys.text.names import fold_names

MOST = 8  # hosts that are worth a line of text
LONGEST = 120  # characters of what a host says of its work


def drain_lines(run: Run) -> list[str]:
    """Lines: which hosts were waited for, for how long, and where the restart ended work."""
    waited = [host for host in run.hosts.values() if host.drained and host.drained.seconds >= 1.0]
    lines = []
    if waited:
        longest = max(waited, key=_seconds)
        most = f" at the longest ({longest.name})" if len(waited) > 1 else ""
        lines.append(f"waited for the end of work on {fold_names(_names(waited))}: {ago(_seconds(longest))}{most}")
    forced = [host for host in run.hosts.values() if host.drained and host.drained.forced]
    if forced:
        shown = [f"{host.name}: {cut(host.drained.busy, LONGEST)}" for host in forced[:MOST] if host.drained]
        more = f"; and {len(forced) - MOST} more" if len(forced) > MOST else ""
        lines.append(f"work that the restart ended: {'; '.join(shown)}{more}")
    return lines


def drain_of(host: HostRun) -> documents.Drain | None:
    """For a program: how its service was freed of work; None where it has no drain, or did not come to it."""
    drained = host.drained
    if drained is None and not host.cordoned:
        return None
    return {
        "seconds": round(_seconds(host), 3),
        "busy": drained.busy if drained else "",
        "forced": drained.forced if drained else False,
        "output": drained.output if drained else "",
        "cordoned": host.cordoned,
    }


def _seconds(host: HostRun) -> float:
    return host.drained.seconds if host.drained else 0.0


def _names(hosts: list[HostRun]) -> list[str]:
    return [host.name for host in hosts]
