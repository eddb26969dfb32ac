"""The guide's incident checklist, ticked by what a run saw. Pure.

A box is ticked by what the run observed on every host of the inventory, never by what it tried to do. A box that only
people can tick stays open, and says so.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from hivekeys.journal.events import Event, Outcome, TokenChosen
from hivekeys.journal.hostrun import HostRun, is_double
from hivekeys.journal.run import Run
from hivekeys.protocol.verbs import Verb
from hivekeys.report.cuts import cut_words
from hivekeys.report.inputs import Review
from hivekeys.text.commands import as_typed
from hivekeys.text.names import fold_names


@dataclass(frozen=True)
class Item:
    """One box: the guide's words, whether it is ticked, and the evidence."""

    text: str
    done: bool
    note: str


def checklist(run: Run, events: Iterable[Event], review: Review | None = None) -> tuple[Item, ...]:
    """The checklist; the audit records count as reviewed when every one of them could be read."""
    told = list(events)
    restarted = _hosts_with(told, Verb.RESTART)
    on_it = "restarted on it" if not _hosts_with(told, Verb.NOTIFY) else "restarted on it, or took it without a restart"
    return (
        _generated(run, any(isinstance(event, TokenChosen) for event in told)),
        _everywhere("Update all services", run, "hold the new token", lambda host: _holds(run, host)),
        _with_cuts(_of_services("Restart all services", run, on_it, lambda host: _runs(run, host, restarted)), run),
        _of_services("Verify services healthy", run, "are healthy with it", lambda host: _is_healthy(run, host)),
        Item(
            "Review audit logs for unauthorized access",
            review is not None and review.whole,
            review.figures if review else as_typed("who used it before it was replaced: fab audit --token previous"),
        ),
        Item("Document incident", False, "for people; this report is a beginning"),
        Item("Update security procedures", False, "for people"),
    )


def _hosts_with(events: Iterable[Event], verb: Verb) -> set[str]:
    """The hosts on which that was done."""
    outcomes = (event for event in events if isinstance(event, Outcome))
    return {event.host for event in outcomes if any(result.verb is verb for result in event.results)}


def _generated(run: Run, chosen: bool) -> Item:
    if not chosen or run.want is None:
        return Item("Generate new token", False, "no token was chosen")
    return Item("Generate new token", True, f"token:{run.want}" + (", given by the operator" if run.given else ""))


def _everywhere(text: str, run: Run, what: str, holds: Callable[[HostRun], bool]) -> Item:
    """Ticked when it was seen on every host of the inventory."""
    return _of(tuple(run.hosts.values()), text, what, holds)


def _of_services(text: str, run: Run, what: str, holds: Callable[[HostRun], bool]) -> Item:
    """The same of hosts that accept tokens: a client is not called."""
    return _of(run.services, text, what, holds)


def _of(hosts: Sequence[HostRun], text: str, what: str, holds: Callable[[HostRun], bool]) -> Item:
    missing = [host.name for host in hosts if is_double(host) or not holds(host)]
    note = f"{len(hosts) - len(missing)} of {len(hosts)} {what}"
    if missing:
        note += f"; not seen on {fold_names(missing)}"
    return Item(text, bool(hosts) and not missing, note)


def _with_cuts(item: Item, run: Run) -> Item:
    """The same box, which also says whose requests were not let go on."""
    return replace(item, note="; ".join(filter(None, (item.note, cut_words(run)))))


def _holds(run: Run, host: HostRun) -> bool:
    return run.want is not None and host.now == run.want


def _runs(run: Run, host: HostRun, restarted: set[str]) -> bool:
    """True when its process has the new token and no older process runs; the service's own answer counts first."""
    if host.proof and host.proof.survivors:
        return False
    calls = host.proof.calls if host.proof else {}
    asked = calls.get("new")
    if asked is None:  # no path of it needs a token; or it accepts calls without one, and was sent none
        return _holds(run, host) and host.name in restarted and not calls
    return _holds(run, host) and 200 <= asked < 300


def _is_healthy(run: Run, host: HostRun) -> bool:
    answer = host.proof.health if host.proof else None
    return _holds(run, host) and host.cause is None and answer is not None and 200 <= answer.status < 300
