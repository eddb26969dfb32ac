"""Shows the census: tables, the lines below them, JSON. Pure.

Paths, addresses and file names came from hosts: they go into `rich.text.Text`.
"""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import cast

from rich.table import Table
from rich.text import Text

from hivekeys.audit.census import Census, HostCensus, Row, Tokens
from hivekeys.fleet import Fleet
from hivekeys.protocol import hints
from hivekeys.protocol.audited import who
from hivekeys.text.documents import audit as documents
from hivekeys.text.documents.head import head
from hivekeys.text.names import fold_names
from hivekeys.text.table import plain_table

ROWS = 60  # of a table; --json has them all
OFF = 5.0  # seconds by which a clock may be off before a line says so
MIB = 1 << 20
UNTOLD = "not recorded"
OTHERS = "*"  # stands for several tokens


def stamp(at: float) -> str:
    """A host's time for people: UTC, to the second."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "?"


def token_text(token: str, tokens: Tokens) -> str:
    """A fingerprint with what it is."""
    word = tokens.word(token)
    return f"{token} {word}".strip() if token else "none"


def tally_table(census: Census) -> Table:
    """Who used which token: one row for each host, service, token, path and address."""
    shown = plain_table(f"fleet {census.fleet}: calls by the services' own records")
    for column in ("host", "service", "token", "path", "address", "let in", "refused", "first", "last"):
        shown.add_column(column, justify="right" if column in ("let in", "refused") else "left", overflow="fold")
    for row in _rows_to_show(census)[:ROWS]:
        old = row.token in census.tokens.previous
        token = "others" if row.token == OTHERS else token_text(row.token, census.tokens)
        cells = (row.host, row.service, token, row.path or "–", row.address or UNTOLD)
        shown.add_row(
            *(Text(cell, "yellow" if old else "") for cell in cells),
            *(Text(str(count) if count else "–") for count in (row.ok, row.failed)),
            *(Text(stamp(at)) for at in (row.first, row.last)),
        )
    return shown


def _rows_to_show(census: Census) -> list[Row]:
    """The rows; refused calls with unknown tokens share one, if they come from the host itself or an unknown address.

    Proofs make such calls, and the calls of a mere look are not noted on the host.
    """
    rows: list[Row] = []
    places: dict[tuple[str, ...], int] = {}
    for row in census.rows:
        is_near = row.is_local or not row.address
        if row.ok or not is_near or not row.token or census.tokens.word(row.token):
            rows.append(row)
            continue
        key = (row.host, row.service, row.path, row.address)
        if key not in places:
            places[key] = len(rows)
            rows.append(replace(row, token=OTHERS))
        else:
            before = rows[places[key]]
            first, last = min(before.first, row.first), max(before.last, row.last)
            rows[places[key]] = replace(before, failed=before.failed + row.failed, first=first, last=last)
    return rows


def newest_table(census: Census, most: int) -> Table:
    """The newest records one by one."""
    shown = plain_table("the newest records")
    for column in ("when", "host", "service", "answer", "token", "path", "address", "where it stands"):
        shown.add_column(column, overflow="fold")
    for host, call in census.newest[:most]:
        answer = Text("let in" if call.ok else "refused", "" if call.ok else "yellow")
        words = (token_text(call.token, census.tokens), call.path or "–", call.address or UNTOLD, call.place)
        shown.add_row(Text(stamp(call.at)), Text(host), Text(call.service), answer, *map(Text, words))
    return shown


def lines(census: Census, fleet: Fleet) -> list[str]:
    """The lines below the tables: clients with the old token, what could not be read, and the sum."""
    said = [*forgotten_lines(census), *(line for one in census.hosts for line in _troubles(one, fleet))]
    if len(_rows_to_show(census)) > ROWS:
        said.append(f"{len(_rows_to_show(census)) - ROWS} more rows: --json has them all")
    off = [one.host for one in census.hosts if one.audited and not one.audited.on]
    if off:
        said.append(f"no audit trail is written (LLORCH_AUDIT_MODE is not local): {fold_names(off)}")
    own = sum(one.audited.own for one in census.hosts if one.audited)
    if own:
        said.append(f"{own} more calls are hivekeys' own proofs, by the hosts' own notes")
    return [*said, _sum(census)]


def _sum(census: Census) -> str:
    """The last line: how much was read."""
    read = [one.audited for one in census.hosts if one.audited]
    counts = f"{sum(one.matched for one in read)} calls in {sum(one.lines for one in read)} records"
    size = sum(one.size for one in read) / MIB
    return f"{counts} of {len(read)} hosts ({size:.1f} MiB read); times are each host's own, in UTC"


def forgotten_lines(census: Census) -> list[str]:
    """The clients that present the old token after it was replaced: what an operator looks for first."""
    if not census.tokens.previous:
        return []
    gap = sum(row.failed_after for row in census.gap)
    said = (
        [f"while hosts had different tokens, {gap} calls with the old token were refused, and none later"]
        if gap
        else []
    )
    told = [_forgotten(row) for row in census.forgotten]
    if told:
        return [*said, "clients that still present the old token after it was replaced:", *told]
    return [*said, "no client presented the old token after it was replaced, in the records that were read"]


def _forgotten(row: Row) -> str:
    answers = [f"let in {row.ok_after} times"] if row.ok_after else []
    answers += [f"refused {row.failed_after} times"] if row.failed_after else []
    where = f"{row.host}: {who(row.address)} calls {row.path or 'it'} of {row.service or 'a service'}"
    own = " (from the host itself: hivekeys' own proofs are such calls)" if row.is_local and not row.ok_after else ""
    return f"  {where} with token:{row.token}, {', '.join(answers)}, last {stamp(row.last)}{own}"


def _troubles(one: HostCensus, fleet: Fleet) -> list[str]:
    if one.audited is None:
        return [hints.line(one.cause, fleet, one.host)] if one.cause else []
    found = one.audited
    said = [f"audit chain broken: {place}" for place in found.breaks]
    said += [f"not read: {name}" for name in found.unread]
    if found.cut:
        said.append(f"cut after {found.size / MIB:.0f} MiB: {found.cut}; older records were not read (narrow --since)")
    if found.chain_cut:
        said.append(f"the hash chain was followed for {found.chained} records, newest first, then {found.chain_cut}")
    if found.broken:
        said.append(f"{found.broken} lines are no records, the first at {', '.join(found.places)} (file @ byte)")
    if found.folded:
        said.append(f"{found.folded} calls are counted without path and address: there were too many different ones")
    if found.on and not found.found and not found.unread:
        said.append(f"there are no records in {found.folder}")
    if one.off is not None and abs(one.off) > OFF:
        said.append(f"its clock is {abs(one.off):.0f} s {'ahead of' if one.off > 0 else 'behind'} this machine's")
    return [f"{one.host}: {words}" for words in said]


def document(census: Census, fleet: Fleet) -> documents.Audit:
    """Everything, for a program. Times are ISO 8601, by each host's clock."""
    ill = next((one for one in census.hosts if one.cause), None)
    return {
        "form": "audit",
        **head(_sum(census), hints.hint(ill.cause, fleet, ill.host) if ill and ill.cause else ""),
        "fleet": census.fleet,
        "exit_code": int(census.code),
        "tokens": {"current": sorted(census.tokens.current), "previous": sorted(census.tokens.previous)},
        "forgotten": [_row(row, census.tokens) for row in census.forgotten],
        "rows": [_row(row, census.tokens) for row in census.rows],
        "newest": [
            {
                "host": host,
                "service": call.service,
                "ok": call.ok,
                "token": call.token or None,
                "path": call.path,
                "address": call.address,
                "at": iso(call.at),
                "place": call.place,
            }
            for host, call in census.newest
        ],
        "hosts": [_host(one, fleet) for one in census.hosts],
    }


def _row(row: Row, tokens: Tokens) -> documents.NamedRow:
    return {
        "host": row.host,
        "service": row.service,
        "token": row.token or None,
        "path": row.path,
        "address": row.address,
        "ok": row.ok,
        "failed": row.failed,
        "ok_after": row.ok_after,
        "failed_after": row.failed_after,
        "first": iso(row.first),
        "last": iso(row.last),
        "is": tokens.word(row.token) or None,
        "local": row.is_local,
    }


def _host(one: HostCensus, fleet: Fleet) -> documents.HostTrail:
    made: documents.HostTrail = {
        "host": one.host,
        "cause": hints.document(one.cause, fleet, one.host),
        "clock_off": None if one.off is None else round(one.off, 3),
    }
    if one.audited is None:
        return made
    facts = {name: value for name, value in asdict(one.audited).items() if name not in ("groups", "newest", "clock")}
    replaced = one.audited.replaced
    facts["replaced"] = None if replaced is None else iso(replaced)
    made.update(cast("documents.HostTrail", facts))
    return made


def iso(at: float) -> str | None:
    """A time for programs; None for a number that is none."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
