"""The state of a fleet from one look at each host and from the journal (`fab status`). Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.events import CensusTaken
from hivekeys.journal.run import Run
from hivekeys.protocol import hints
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.doubles import doubles
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.seen import ANSWERED, NO_UNIT, Place, Seen
from hivekeys.report import Sheet, use_lines
from hivekeys.report.documents import uses_document
from hivekeys.text.clean import cut
from hivekeys.text.commands import as_typed
from hivekeys.text.documents import status as documents
from hivekeys.text.documents.head import head
from hivekeys.text.durations import ago
from hivekeys.text.names import fold_names
from hivekeys.verify.findings import DAY, Record, token_age

WIDEST = 40  # characters of a column that is not wrapped: one host must not push the others off the screen

KNOWN = Place()  # stands where no strange run was

# The words of `loaded`, by the evidence that agents give.
LOADED = {
    "credential": "credential",
    "younger": "file",
    "touched": "file, touched since",
    "answers": "file, if it answers so",
    "older": "file, changed since",
    "file": "file alone",
}


@dataclass(frozen=True)
class HostStatus:
    """One host. Times are in seconds; None for what could not be seen."""

    host: Host
    seen: Seen | None
    cause: Cause | None
    age: float | None  # of its token
    owes_for: float | None  # how long it has owed the newest token
    last_run: str
    unknown_run: Place = KNOWN  # the last run that changed the host, where the journal has no such run
    is_overtaken: bool = False  # that run came after all runs of the journal

    @property
    def up(self) -> float | None:
        """Seconds since the service's process started, by the host's clock."""
        started = self.seen.unit.started if self.seen else None
        return None if self.seen is None or started is None else max(0.0, self.seen.clock - started)

    @property
    def is_fine(self) -> bool:
        """True when it was seen, runs, has a token and the running process has read it, as far as can be told."""
        if self.cause or self.seen is None or self.seen.token is None or self.owes_for is not None or self.revoked_by:
            return False
        if self.seen.cordoned:
            return False
        loaded = self.seen.loaded
        current = loaded.fingerprint == self.seen.token if loaded.fingerprint else loaded.evidence in ANSWERED
        return self.seen.unit.runs and current

    @property
    def revoked_by(self) -> str:
        """The run that revoked the host's token, "" where it may be used."""
        return self.seen.active.revoked if self.seen and self.seen.active else ""

    @property
    def loaded(self) -> str:
        """Where the running process has its token from; names the token where it is not the file's."""
        if self.seen is None:
            return "–"
        loaded = self.seen.loaded
        word = LOADED.get(loaded.evidence, "–")
        return f"{word}: {loaded.fingerprint}" if loaded.fingerprint not in (None, self.seen.token) else word


@dataclass(frozen=True)
class FleetStatus:
    """The chosen hosts, in the inventory's order, at the time `now` (seconds since the epoch, the bastion's clock)."""

    fleet: Fleet
    hosts: tuple[HostStatus, ...]
    now: float
    brings: str = "rotate"  # the verb that brings the newest token to a host, or another to all
    newer: Place | None = None  # a run of another bastion that worked here after all runs of this bastion
    uses: CensusTaken | None = None  # who has used the old token in the last hour, while two are accepted

    @property
    def tokens(self) -> dict[str, tuple[str, ...]]:
        """The names of the hosts that hold each token, by its fingerprint."""
        held: dict[str, tuple[str, ...]] = {}
        for one in self.hosts:
            if one.seen and one.seen.token:
                token = str(one.seen.token)
                held[token] = (*held.get(token, ()), one.host.name)
        return held

    @property
    def agrees(self) -> bool:
        """True when every host was seen and all hold the same token."""
        return len(self.tokens) == 1 and all(one.seen and one.seen.token for one in self.hosts)

    @property
    def due(self) -> float | None:
        """When the next rotation is due: the oldest token's last day. None while no token was seen."""
        ages = [one.age for one in self.hosts if one.age is not None]
        return self.now + self.fleet.token_age.fail * DAY - max(ages) if ages else None

    @property
    def code(self) -> ExitCode:
        """0 when all hosts were seen, are fine and agree, else 4."""
        fine = self.agrees and all(one.is_fine for one in self.hosts)
        return ExitCode.DONE if fine else ExitCode.INCOMPLETE


def status_of(
    fleet: Fleet,
    shown: Mapping[Host, Reply | Cause],
    record: Record,
    runs: Iterable[Run] | None,
    now: float,
    uses: CensusTaken | None = None,
) -> FleetStatus:
    """Puts together what hosts showed and what the journal knows. `runs`: newest first, upkeep too; None where the
    journal cannot be asked. `uses`: who used the old token, where two are accepted.
    """
    last: dict[str, str] = {}
    known = set() if runs is None else {""}
    for run in runs or ():
        known.add(run.id)
        for name in run.hosts:
            if name not in run.left_out:
                last.setdefault(name, run.id)
    replies = {host.name: reply for host, reply in shown.items() if isinstance(reply, Reply)}
    changed = {name: reply.host_record.changed for name, reply in replies.items() if reply.host_record}
    strange = {name: place for name, place in changed.items() if known and place.run not in known}
    newer = _newer(fleet, strange, record.epoch)
    same = doubles(shown, {name: reply.host_record.machine for name, reply in replies.items() if reply.host_record})

    def one(host: Host, answer: Reply | Cause) -> HostStatus:
        seen = None if isinstance(answer, Cause) else answer.seen
        cause = answer if isinstance(answer, Cause) else same.get(host.name) or answer.cause
        if seen is None and cause is None:
            cause = Cause(Trouble.RUBBISH, "the agent did not report the state of the host")
        cause = cause or (seen.directory.bar or seen.unit.bar if seen else None)
        aged = token_age(seen, record, now) if seen else None
        owes = host.name in record.owing and (seen is None or seen.token != record.want)
        owes = owes and not newer and strange.get(host.name, KNOWN).epoch <= record.epoch
        since = record.made.get(record.want.keyed, now) if owes and record.want else None
        owes_for = None if since is None else max(0.0, now - since)
        here = strange.get(host.name, KNOWN)
        return HostStatus(
            host,
            seen,
            cause,
            aged[0] if aged else None,
            owes_for,
            here.run or last.get(host.name, ""),
            here,
            here.epoch > record.epoch,
        )

    brings = record.verb if record.want and not newer else "rotate"
    return FleetStatus(fleet, tuple(one(host, answer) for host, answer in shown.items()), now, brings, newer, uses)


def _newer(fleet: Fleet, strange: Mapping[str, Place], epoch: int) -> Place | None:
    """The last run after that place that the journal lacks. The queen or two hosts must name it: one may be hostile."""
    later = {name: place for name, place in strange.items() if place.epoch > epoch}
    times = Counter(later.values())
    borne_out = [place for place in times if times[place] > 1 or later.get(fleet.queen.name) == place]
    return max(borne_out, key=lambda place: place.epoch, default=None)


def table(status: FleetStatus, worst_first: bool = False, width: int = 80) -> Table:
    """One row a host, in the inventory's order or with those first that are not fine."""
    columns = ("host", "service", "since", "token", "age", "loaded from", "owes", "last run")
    hosts = sorted(status.hosts, key=lambda one: worst_first and one.is_fine)
    dropped = ("last run", "since", "loaded from", "age", "owes")
    rows = [_cells(one) for one in hosts]
    return Sheet(f"fleet {status.fleet.name}", columns, rows, dropped, ("since", "age", "owes")).table(width)


def _cells(one: HostStatus) -> tuple[Text, ...]:
    unit = one.seen.unit if one.seen else None
    service = "not seen"
    if unit:
        running = unit.state or NO_UNIT
        service = running if unit.runs else f"{unit.state} ({unit.sub})"
    return (
        Text(one.host.name),
        Text(cut(service, WIDEST), "" if unit and unit.runs else "red"),
        Text("–" if one.up is None else ago(one.up)),
        Text(str(one.seen.token) if one.seen and one.seen.token else "–"),
        Text("–" if one.age is None else ago(one.age)),
        Text(one.loaded),
        Text("–" if one.owes_for is None else ago(one.owes_for), "" if one.owes_for is None else "red"),
        Text(one.last_run or "–"),
    )


def lines(status: FleetStatus) -> list[str]:
    """Below the table: why hosts were not seen, what the fleet holds, when the next rotation is due."""
    said = [hints.line(one.cause, status.fleet, one.host.name) for one in status.hosts if one.cause]
    said += [
        f"{one.host.name} holds a token that leaked (run {one.revoked_by} revoked it): "
        + as_typed(f"fab {status.brings} --fleet {status.fleet.typed}")
        for one in status.hosts
        if one.revoked_by
    ]
    said += [
        f"{one.host.name}: run {one.seen.cordoned} has drained it, and it was not given work again"
        for one in status.hosts
        if one.seen and one.seen.cordoned
    ]
    said += _strange_lines(status)
    said += _use_lines(status)
    said.append(_agreement(status))
    if status.due is not None:
        left = status.due - status.now
        day = _day(status.due)
        said.append(
            f"next rotation due in {ago(left)}, on {day}"
            if left > 0
            else f"rotation overdue for {ago(-left)}, since {day}"
        )
    return said


def _agreement(status: FleetStatus) -> str:
    """What the fleet holds, in a sentence."""
    if status.agrees:
        return f"all {len(status.hosts)} hosts hold token:{next(iter(status.tokens))}"
    held = [f"token:{token} on {fold_names(names)}" for token, names in status.tokens.items()]
    without = [one.host.name for one in status.hosts if one.seen and not one.seen.token]
    held += [f"no token on {fold_names(without)}"] if without else []
    unseen = [one.host.name for one in status.hosts if not one.seen]
    held += [f"not seen: {fold_names(unseen)}"] if unseen else []
    return f"not all hosts are seen to hold one token: {'; '.join(held)}"


def _strange_lines(status: FleetStatus) -> Iterator[str]:
    """Hosts remember which run changed them last, also when the journal has lost it."""
    strange: dict[tuple[Place, bool], list[str]] = {}
    for one in status.hosts:
        if one.unknown_run.run:
            strange.setdefault((one.unknown_run, one.is_overtaken), []).append(one.host.name)
    for (place, is_newer), names in strange.items():
        run = f"run {place.run} of {place.who}" if place.who else f"run {place.run}"
        said = f"a newer {run} worked here" if is_newer else f"last changed by {run}"
        yield (
            f"{fold_names(names)}: {said}, which this bastion's journal does not have: another bastion's, or lost here"
        )


def _use_lines(status: FleetStatus) -> list[str]:
    """Who still uses the old token while two are accepted; or on which hosts nobody does."""
    if status.uses is None:
        return []
    unread = {name for name, _ in status.uses.unread}
    called = [one.host.name for one in status.hosts if not one.host.service.is_client]
    read = [name for name in called if name not in unread]
    silent = "nobody has used the old token in the last hour, by the records of"
    return use_lines(status.uses) + ([f"{silent} {fold_names(read)}"] if read and not status.uses.uses else [])


def _next(status: FleetStatus) -> str:
    """What to type next where a host is not fine: what brings it the newest token, or what it needs."""
    if any(one.revoked_by or one.owes_for is not None for one in status.hosts):
        return as_typed(f"fab {status.brings} --fleet {status.fleet.typed}")
    return next((hints.hint(one.cause, status.fleet, one.host.name) for one in status.hosts if one.cause), "")


def document(
    status: FleetStatus,
    next_line: str = "",
    at_work: documents.AtWork | None = None,
    window: str = "",
    code: ExitCode | None = None,
    unapproved: Iterable[str] = (),
) -> documents.Status:
    """Everything, for a program. Times are seconds. `next_line`: what the journal's runs need first; `code`: of the
    command, where that knows more; `unapproved`: the runs that are still to be approved.
    """
    return {
        "form": "status",
        **head(_agreement(status), next_line or _next(status)),
        "fleet": status.fleet.name,
        "exit_code": int(status.code if code is None else code),
        "agrees": status.agrees,
        "newer_run": {"run": status.newer.run, "who": status.newer.who or None} if status.newer else None,
        "tokens": {token: list(names) for token, names in status.tokens.items()},
        "rotation_due": None if status.due is None else datetime.fromtimestamp(status.due, UTC).isoformat(),
        "hosts": [_host(one, status.fleet) for one in status.hosts],
        "old_token": None if status.uses is None else uses_document(status.uses),
        "at_work": at_work,
        "window": window or None,
        "unapproved": list(unapproved),
    }


def _host(one: HostStatus, fleet: Fleet) -> documents.HostStatus:
    return {
        "host": one.host.name,
        "reachable": one.seen is not None,
        "fine": one.is_fine,
        "cause": hints.document(one.cause, fleet, one.host.name),
        "service": one.seen.unit.state or None if one.seen else None,
        "up": one.up,
        "token": str(one.seen.token) if one.seen and one.seen.token else None,
        "revoked_by": one.revoked_by or None,
        "age": one.age,
        "loaded": one.loaded if one.seen else None,
        "owes_for": one.owes_for,
        "cordoned_by": one.seen.cordoned or None if one.seen else None,
        "last_run": one.last_run or None,
        "strange_run": one.unknown_run.run or None,
    }


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")
