"""Sums up the audit records of all hosts: who used which token, and who still uses the replaced one. Pure.

All of it is evidence. The services log 24 bits of a token (fp6): too few to decide which token a host holds. A call's
time is its host's clock, and so is the moment at which that host's token was replaced.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from hivekeys.errors import ExitCode
from hivekeys.fleet import Host
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import CensusTaken
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.audited import Audited, Call, Group, Query, Time, Use
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.seen import Seen
from hivekeys.protocol.verbs import Audit
from hivekeys.service import Apply

USES = 20  # uses that are recorded for a host: a journal is not for whole trails
TICK = 0.01  # seconds: a kernel tells when a process started in ticks, rounded down (proc(5), "starttime")
FRESH = 3600.0  # seconds: an older use does not keep a token from being retired
SIZE = 64 << 20  # bytes of records that a host reads before an old token goes, the newest first
SECONDS = 5.0
TURNING = 2.0  # seconds after a host's restart in which others may still call it as before


@dataclass(frozen=True)
class Tokens:
    """The fleet's tokens by fp6: those that hosts serve now, and those that they served before."""

    current: frozenset[str] = frozenset()
    previous: frozenset[str] = frozenset()

    def word(self, token: str) -> str:
        """What a token is, in one word; "" for an unknown one."""
        return "current" if token in self.current else "previous" if token in self.previous else ""


@dataclass(frozen=True)
class Row:
    """Calls that are alike, accepted and refused ones. `after`: after the token was replaced."""

    host: str
    service: str
    token: str
    path: str
    address: str
    ok: int
    failed: int
    ok_after: int
    failed_after: int
    first: float
    last: float

    @property
    def is_local(self) -> bool:
        """True for calls from the host itself, as hivekeys' own proofs are."""
        return _is_loopback(self.address)


@dataclass(frozen=True)
class HostCensus:
    """One host's answer, or why there is none. `off`: how far its clock is ahead, in seconds; None if not known."""

    host: str
    audited: Audited | None
    cause: Cause | None
    off: float | None = None


@dataclass(frozen=True)
class Census:
    """The fleet's answer, in the order of the inventory."""

    fleet: str
    tokens: Tokens
    hosts: tuple[HostCensus, ...]

    @property
    def rows(self) -> list[Row]:
        """Every group of calls; the replaced token's first, then the newest."""
        rows = [row for one in self.hosts if one.audited for row in _rows(one.host, one.audited.groups)]
        return sorted(rows, key=lambda row: (row.token not in self.tokens.previous or not _after(row), -row.last))

    @property
    def forgotten(self) -> list[Row]:
        """Clients that presented the old token after it was replaced; calls from the host itself last."""
        rows = [row for row in self._behind if not self._is_gap(row)]
        return sorted(rows, key=lambda row: (row.is_local, not row.ok_after, -row.last))

    @property
    def gap(self) -> list[Row]:
        """Refused calls with the old token until the last host had turned: hosts had different tokens until then."""
        return [row for row in self._behind if self._is_gap(row)]

    @property
    def _behind(self) -> list[Row]:
        return [row for row in self.rows if row.token in self.tokens.previous and _after(row)]

    def _is_gap(self, row: Row) -> bool:
        return not row.ok_after and row.last <= last_turned(one.audited for one in self.hosts) + TURNING

    @property
    def newest(self) -> list[tuple[str, Call]]:
        """The newest records that were asked for, with their hosts."""
        calls = [(one.host, call) for one in self.hosts if one.audited for call in one.audited.newest]
        return sorted(calls, key=lambda found: -found[1].at)

    @property
    def code(self) -> ExitCode:
        """4 when a host could not be read, or not to the end of what was asked for, else 0."""
        whole = all(one.audited and not one.audited.cut and not one.audited.unread for one in self.hosts)
        return ExitCode.DONE if whole else ExitCode.INCOMPLETE


def _after(row: Row) -> int:
    return row.ok_after + row.failed_after


def _rows(host: str, groups: Iterable[Group]) -> Iterable[Row]:
    """Groups that differ in nothing but the answer become one row."""
    rows: dict[tuple[str, ...], Row] = {}
    for group in groups:
        key = (group.service, group.token, group.path, group.address)
        before = rows.get(key, Row(host, *key, 0, 0, 0, 0, group.first, group.last))
        rows[key] = Row(
            host,
            *key,
            before.ok + group.count * group.ok,
            before.failed + group.count * (not group.ok),
            before.ok_after + group.after * group.ok,
            before.failed_after + group.after * (not group.ok),
            min(before.first, group.first),
            max(before.last, group.last),
        )
    return rows.values()


def census_of(
    fleet: str, tokens: Tokens, looks: Mapping[Host, Reply | Cause], answers: Mapping[Host, Reply | Cause], now: float
) -> Census:
    """Puts together what hosts showed and what their trails say. `now`: the bastion's clock when they answered."""

    def one(host: Host) -> HostCensus:
        answer = answers.get(host, looks[host])
        audited = None if isinstance(answer, Cause) else answer.to(Audit)
        cause = answer if isinstance(answer, Cause) else answer.cause
        if audited is None and cause is None:
            cause = Cause(Trouble.RUBBISH, "the agent did not report the audit trail")
        return HostCensus(host.name, audited, cause, audited.clock - now if audited else None)

    return Census(fleet, tokens, tuple(one(host) for host in looks))


def known_tokens(looks: Mapping[Host, Reply | Cause], run: Run | None) -> Tokens:
    """The tokens by what hosts show, and by the newest run whose token the fleet went on with."""
    seen = [found for found in map(_seen, looks.values()) if found]
    current = {found.token.fp6 for found in seen if found.token}
    previous = {found.previous.fingerprint.fp6 for found in seen if found.previous and found.previous.fingerprint}
    if run and run.want:
        previous |= {host.was.fp6 for host in run.hosts.values() if host.was} | {old.fp6 for old in run.revoked}
        current |= {run.want.fp6} if not current else set()
    return Tokens(frozenset(current), frozenset(previous - current))


def replaced_at(host: Host, look: Reply | Cause, run: Run | None) -> float | None:
    """When this host's old token was replaced, by its own clock: the start of the process that first had the new one.

    By the journal where it knows it, else the start of the process that runs now: then at that time at the latest.
    """
    part = run.hosts.get(host.name) if run else None
    if host.service.apply is not Apply.RESTART:
        return had_since(part, _seen(look))
    if part and part.seen and run and part.seen.token == run.want and part.seen.unit.started:
        return turned_at(part.seen)
    return turned_at(_seen(look))


def turned_at(seen: Seen | None) -> float | None:
    """When the present process of a host's service certainly ran, by the host's clock; the earlier one ran until then.

    A call accepted less than a tick before was accepted by the earlier one; hosts that call each other make such calls.
    """
    started = seen.unit.started if seen else None
    return None if started is None else started + TICK


def had_since(part: HostRun | None, seen: Seen | None) -> float | None:
    """The same of a service that takes a new token without a restart: when it was first seen with the one it has."""
    if part and part.had_at is not None:
        return part.had_at
    return seen.active.modified if seen and seen.active else None


# -- before an old token goes


def query_of_uses(tokens: Collection[str], replaced: float | None) -> Query:
    """The question who has used these tokens (fp6) in the last hour, after they were `replaced` on that host."""
    since = Time(FRESH, before_now=True)
    return Query(since, None, tuple(tokens), replaced=replaced, fresh=FRESH, size=SIZE, seconds=SECONDS, chain=False)


def census_taken(
    answers: Mapping[str, Reply | Cause], tokens: Collection[str], now: Moment, anyway: bool = False
) -> CensusTaken:
    """What the hosts, by their names, have answered to that. `anyway`: the tokens are retired whatever they say."""
    turned = last_turned(reply.to(Audit) for reply in answers.values() if isinstance(reply, Reply))
    uses = [use for name, reply in answers.items() for use in uses_of(name, reply, tokens, turned)]
    unread = [(name, why) for name, reply in answers.items() if (why := unread_of(reply))]
    return CensusTaken(tuple(uses), tuple(unread), anyway, now)


def last_turned(answers: Iterable[Audited | None]) -> float:
    """When the last host had the new token, as far as their clocks agree; 0 when no host says."""
    return max((one.replaced for one in answers if one and one.replaced is not None), default=0.0)


def uses_of(host: str, reply: Reply | Cause, tokens: Iterable[str], turned: float) -> list[Use]:
    """Uses of these tokens on a host after they were replaced, newest first; without our own proofs and the gap.

    `turned`: until then hosts of the fleet called with them and were refused.
    """
    audited = None if isinstance(reply, Cause) else reply.to(Audit)
    found = [one for one in audited.groups if one.after and one.token in tokens] if audited else []
    meant = [one for one in found if one.ok or (one.last > turned + TURNING and not _is_loopback(one.address))]
    uses = [Use(host, one.service, one.token, one.path, one.address, one.ok, one.after, one.last) for one in meant]
    return sorted(uses, key=lambda use: (not use.ok, -use.last))[:USES]


def unread_of(reply: Reply | Cause) -> str:
    """Why a host's records were not read, or not all, in one line; "" when all were read."""
    found = None if isinstance(reply, Cause) else reply.to(Audit)
    if found is None:
        return str(reply if isinstance(reply, Cause) else reply.cause or "no answer")
    if not found.on and not found.found:
        return "no audit trail is written"
    if not found.found and not found.unread:
        return f"there are no records in {found.folder}"
    return found.cut or "; ".join(found.unread)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _seen(look: Reply | Cause) -> Seen | None:
    return None if isinstance(look, Cause) else look.seen
