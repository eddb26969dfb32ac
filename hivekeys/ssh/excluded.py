"""Hosts that an operator excluded from the fleet, and a dialer that refuses to contact them. Pure.

Such a host is distrusted, not just absent: it may be hostile, so no verb and no run contacts it until the operator
takes it back on purpose. This bastion's journal decides; another bastion's journal does not know it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hivekeys.fleet import Host
from hivekeys.journal.events import Event, Readmitted, Resumed, RunStarted
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.line import Applicant, Dialer, Line

TELLING = (RunStarted, Resumed, Readmitted)  # the events that say which hosts are excluded


@dataclass(frozen=True)
class CutOut:
    """The run that excluded a host, and its operator."""

    run: str
    who: str


def cut_out(events: Iterable[tuple[str, Event]]) -> dict[str, CutOut]:
    """The hosts that are excluded now, by all events of these kinds, each with its run, in the order of the journal."""
    found: dict[str, CutOut] = {}
    for run, event in events:
        if isinstance(event, Readmitted):
            for name in event.hosts:
                found.pop(name, None)
        elif isinstance(event, RunStarted | Resumed):
            for name in event.excluded:
                found.setdefault(name, CutOut(run, event.who))
    return found


class Guarded:
    """A dialer that dials no excluded host, whatever verb asks for it."""

    def __init__(self, dialer: Dialer, cut: Mapping[str, CutOut]) -> None:
        self._dialer = dialer
        self._cut = cut

    def connect(self, host: Host, applicant: Applicant) -> None:
        """Begins to connect to a host; never to one that is excluded."""
        if host.name in self._cut:
            applicant.ready()
        else:
            self._dialer.connect(host, applicant)

    def dial(self, host: Host) -> Line | Cause:
        """A line, or why there is none."""
        by = self._cut.get(host.name)
        return Cause(Trouble.EXCLUDED, f"by run {by.run} of {by.who}") if by else self._dialer.dial(host)

    def close(self) -> None:
        """Give up what the lines shared."""
        self._dialer.close()
