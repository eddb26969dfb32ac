"""Shows who opened the token files (auditd): tables and JSON. Pure.

Names of programs came from hosts: they go into `rich.text.Text`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from hivekeys.audit.census_report import ROWS, iso, stamp
from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.run import Run
from hivekeys.protocol import hints
from hivekeys.protocol.audited import Access, Accessed, Reader
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.verbs import Accesses
from hivekeys.text.commands import as_typed
from hivekeys.text.documents import audit as documents
from hivekeys.text.documents.head import head
from hivekeys.text.names import fold_names
from hivekeys.text.table import plain_table

WORDS = {"service": "the service", "systemd": "systemd, for a unit", "hivekeys": "hivekeys, probably", "other": "other"}
FIRST = ("other", "hivekeys", "systemd", "service")  # the readers that an operator looks for come first
NEAR = 10.0  # seconds by which a run's own accesses may lie outside of its times


@dataclass(frozen=True)
class HostAccesses:
    """One host's answer, or why there is none."""

    host: str
    accesses: Accessed | None
    cause: Cause | None
    off: float = 0.0  # seconds that its clock is ahead of the bastion's


def accesses_of(answers: Mapping[Host, Reply | Cause], now: float) -> list[HostAccesses]:
    """The answers in the order of the inventory. `now`: the bastion's clock when they came."""

    def one(host: Host, answer: Reply | Cause) -> HostAccesses:
        found = None if isinstance(answer, Cause) else answer.to(Accesses)
        cause = answer if isinstance(answer, Cause) else answer.cause
        if found is None and cause is None:
            cause = Cause(Trouble.RUBBISH, "the agent did not report who opened the file")
        return HostAccesses(host.name, found, cause, found.clock - now if found else 0.0)

    return [one(host, answer) for host, answer in answers.items()]


def exit_code(hosts: Iterable[HostAccesses]) -> ExitCode:
    """4 when a host could not be asked, or not to the end, else 0."""
    whole = all(one.accesses and not one.accesses.cut for one in hosts)
    return ExitCode.DONE if whole else ExitCode.INCOMPLETE


def table(hosts: Sequence[HostAccesses]) -> Table:
    """One row for each reader of each host."""
    shown = plain_table("who opened the token file, by auditd")
    for column in ("who", "host", "account", "login", "program", "answer", "times", "first", "last"):
        shown.add_column(column, justify="right" if column == "times" else "left", overflow="fold")
    rows = [(one.host, reader) for one in hosts if one.accesses for reader in one.accesses.readers]
    rows.sort(key=lambda row: (FIRST.index(row[1].kind), -row[1].last))
    for host, reader in rows[:ROWS]:
        shown.add_row(Text(WORDS[reader.kind], _style(reader)), Text(host), *map(Text, _cells(reader)))
    return shown


def _style(reader: Reader | Access) -> str:
    return "yellow" if reader.kind == "other" else ""


def _cells(reader: Reader) -> tuple[str, ...]:
    answer = "opened" if reader.ok else "refused"
    times = (str(reader.count), stamp(reader.first), stamp(reader.last))
    return (reader.account or "–", reader.login or "–", reader.program or "–", answer, *times)


def newest_table(hosts: Sequence[HostAccesses], runs: Sequence[Run], most: int) -> Table:
    """The newest accesses one by one; those of hivekeys with the run that they may belong to."""
    shown = plain_table("the newest accesses")
    for column in ("when", "host", "who", "account", "program", "pid", "answer"):
        shown.add_column(column, overflow="fold")
    for one, access in _newest(hosts)[:most]:
        who = WORDS[access.kind]
        run = run_at(runs, one.host, access.at - one.off) if access.kind == "hivekeys" else ""
        cells = (f"{who}: run {run}" if run else who, access.account, access.program, str(access.pid))
        answer = "opened" if access.ok else "refused"
        shown.add_row(Text(stamp(access.at)), Text(one.host), *map(Text, cells), Text(answer))
    return shown


def _newest(hosts: Sequence[HostAccesses]) -> list[tuple[HostAccesses, Access]]:
    every = [(one, access) for one in hosts if one.accesses for access in one.accesses.newest]
    return sorted(every, key=lambda found: -found[1].at)


def run_at(runs: Iterable[Run], host: str, at: float) -> str:
    """The run that worked on a host at that time (the bastion's clock), by the journal; "" for none."""
    for run in runs:
        is_on = host in run.hosts and host not in run.left_out
        if is_on and run.started - NEAR <= at <= run.started + run.seconds + NEAR:
            return run.id
    return ""


def lines(hosts: Sequence[HostAccesses], fleet: Fleet) -> list[str]:
    """The lines below the tables: hosts that could not be asked, hosts that are not watched, and the sum."""
    said = [hints.line(one.cause, fleet, one.host) for one in hosts if one.cause]
    said += [
        f"{one.host}: cut, {one.accesses.cut} (narrow --since)" for one in hosts if one.accesses and one.accesses.cut
    ]
    bare = [one.host for one in hosts if one.accesses and not one.accesses.watched]
    if bare:
        watch = as_typed(f"`fab watch --fleet {fleet.typed}`")
        said.append(f"no rule watches the token file, so nothing is noted: {fold_names(bare)} ({watch})")
    return [*said, _sum(hosts)]


def _sum(hosts: Sequence[HostAccesses]) -> str:
    """The last line: how many there were."""
    readers = [reader for one in hosts if one.accesses for reader in one.accesses.readers]
    others = sum(reader.count for reader in readers if reader.kind == "other")
    total = sum(reader.count for reader in readers)
    return f"{total} accesses noted, {others} of them by other programs; times are each host's own, in UTC"


def _next(hosts: Sequence[HostAccesses], fleet: Fleet) -> str:
    """What the first host needs that could not be asked, or the command that has hosts watched."""
    ill = next((one for one in hosts if one.cause), None)
    if ill and ill.cause:
        return hints.hint(ill.cause, fleet, ill.host)
    is_bare = any(one.accesses and not one.accesses.watched for one in hosts)
    return as_typed(f"fab watch --fleet {fleet.typed}") if is_bare else ""


def document(hosts: Sequence[HostAccesses], fleet: Fleet, runs: Sequence[Run], code: ExitCode) -> documents.Accesses:
    """Everything, for a program."""
    return {
        "form": "accesses",
        **head(_sum(hosts), _next(hosts, fleet)),
        "fleet": fleet.name,
        "exit_code": int(code),
        "hosts": [_host(one, fleet, runs) for one in hosts],
    }


def _host(one: HostAccesses, fleet: Fleet, runs: Sequence[Run]) -> documents.HostAccesses:
    cause = hints.document(one.cause, fleet, one.host)
    if one.accesses is None:
        return {"host": one.host, "cause": cause}
    return {
        "host": one.host,
        "cause": cause,
        "watched": one.accesses.watched,
        "folded": one.accesses.folded,
        "cut": one.accesses.cut or None,
        "clock_off": round(one.off, 3),
        "readers": [_reader(reader) for reader in one.accesses.readers],
        "newest": [_access(access, one, runs) for access in one.accesses.newest],
    }


def _reader(reader: Reader) -> documents.Reader:
    return {
        "kind": reader.kind,
        "account": reader.account,
        "login": reader.login,
        "program": reader.program,
        "ok": reader.ok,
        "count": reader.count,
        "first": iso(reader.first),
        "last": iso(reader.last),
    }


def _access(access: Access, host: HostAccesses, runs: Sequence[Run]) -> documents.Access:
    return {
        "kind": access.kind,
        "account": access.account,
        "login": access.login,
        "program": access.program,
        "ok": access.ok,
        "at": iso(access.at),
        "pid": access.pid,
        "run": run_at(runs, host.host, access.at - host.off) or None if access.kind == "hivekeys" else None,
    }
