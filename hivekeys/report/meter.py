"""Shows what the meters counted: how many requests of clients were refused during a run. Pure."""

from hivekeys.journal.run import Run
from hivekeys.protocol.metered import Metered
from hivekeys.text.documents import run as documents
from hivekeys.text.names import fold_names

MOST = 8  # hosts that are worth a line of text
NOTICED = 1.0  # seconds: a pause that people notice


def meter_lines(run: Run) -> list[str]:
    """Lines: on which hosts requests were not let in, the longest pause, and the sum of all."""
    counted = run.metered
    if counted is None:
        return []
    hosts = [(host.name, host.metered) for host in run.hosts.values() if host.metered]
    lost = [f"{name}: {_lost(one)}" for name, one in hosts if one.refused or one.broken]
    more = f"; and {len(lost) - MOST} more hosts" if len(lost) > MOST else ""
    lines = [f"requests that were not let in: {'; '.join(lost[:MOST])}{more}"] if lost else []
    silent = [name for name, one in hosts if not one.requests]
    lines += [f"not metered: {fold_names(silent)}: no path in `protected` could be called"] if silent else []
    if not counted.requests:
        return lines
    name, one = max(hosts, key=lambda host: host[1].pause)
    pause = f"; the longest pause {one.pause:.1f} s on {name}" if one.pause >= NOTICED else ""
    return [*lines, f"{counted.refused:,} of {counted.requests:,} requests refused, {counted.broken:,} broken{pause}"]


def meter_of(run: Run) -> documents.Meter | None:
    """For a program: all counts together, and by host; None for a run that was not metered."""
    counted = run.metered
    if counted is None:
        return None
    hosts = {host.name: _document(host.metered) for host in run.hosts.values() if host.metered}
    return {**_document(counted), "hosts": hosts}


def _document(counted: Metered) -> documents.Counted:
    return {
        "requests": counted.requests,
        "refused": counted.refused,
        "broken": counted.broken,
        "pause": counted.pause,
    }


def _lost(counted: Metered) -> str:
    counts = {"refused": counted.refused, "broken": counted.broken}
    return " and ".join(f"{count} {what}" for what, count in counts.items() if count)
