"""Hosts that an operator cut out of the fleet, and a dialer that refuses to contact them. Pure.

Distrust, not absence: such a host may be an enemy's, so it is told nothing and asked nothing, by no verb and in no run,
until the operator takes it back on purpose. What this bastion's journal says decides; a copy of it knows no more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hivekeys.fleet import Host
from hivekeys.journal.events import Event, Readmitted, Resumed, RunStarted
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.line import Dialer, Line

TELLING = (RunStarted, Resumed, Readmitted)  # the events that say who is cut out


@dataclass(frozen=True)
class CutOut:
    """Which run cut a host out, and whose it was."""

    run: str
    who: str


def cut_out(events: Iterable[tuple[str, Event]]) -> dict[str, CutOut]:
    """The hosts that are cut out now, by all events of these kinds, each with its run, in the order of the journal."""
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
    """A dialer that dials no host that was cut out, whatever verb asks for it."""

    def __init__(self, dialer: Dialer, cut: Mapping[str, CutOut]) -> None:
        self._dialer = dialer
        self._cut = cut

    def dial(self, host: Host) -> Line | Cause:
        """A line, or why there is none."""
        by = self._cut.get(host.name)
        return Cause(Trouble.EXCLUDED, f"by run {by.run} of {by.who}") if by else self._dialer.dial(host)

    def close(self) -> None:
        """Give up what the lines shared."""
        self._dialer.close()
