"""Reads the JSON of `fab verify` and `fab audit` for a page. Pure.

They come from files, so they may be anything: what is not understood raises a ValueError that says why.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hivekeys.text.clean import one_line
from hivekeys.text.names import fold_names


@dataclass(frozen=True)
class Finding:
    """A row of the security checklist that did not pass."""

    verdict: str
    check: str
    hosts: str
    title: str
    found: str


@dataclass(frozen=True)
class Review:
    """The figures of a review of the audit records; `whole` when every host could be read to the end."""

    whole: bool
    figures: str


def findings_of(content: bytes, fleet: str) -> tuple[Finding, ...]:
    """The findings that did not pass, from `fab verify --format json`; hosts with the same finding are one row."""
    document = _document(content, fleet, "findings")
    hosts: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for row in _rows(document["findings"], "check", "title", "host", "verdict", "detail"):
        waived = row.get("waived")
        verdict = "waived" if waived else row["verdict"]
        if verdict != "pass":
            hosts[verdict, row["check"], row["title"], row["detail"]].append(row["host"])
    worst = ("fail", "can't tell", "warn", "waived")
    found = [
        Finding(one_line(verdict), one_line(check), one_line(fold_names(names)), one_line(title), one_line(detail))
        for (verdict, check, title, detail), names in hosts.items()
    ]
    return tuple(sorted(found, key=lambda one: worst.index(one.verdict) if one.verdict in worst else 0))


def review_of(content: bytes, fleet: str) -> Review:
    """The figures of `fab audit --json`: accepted calls, and calls with the old token after it was replaced."""
    document = _document(content, fleet, "rows", "forgotten", "hosts")
    rows, late = _counted(document["rows"], "ok", "failed"), _counted(document["forgotten"], "ok_after", "failed_after")
    unread = [row["host"] for row in _rows(document["hosts"], "host") if row.get("cause")]
    figures = f"{rows[0]} calls let in and {rows[1]} refused, by the records of {len(document['hosts'])} hosts; "
    figures += f"with the old token after it was replaced: {late[0]} let in, {late[1]} refused"
    figures += f"; not read: {fold_names(unread)}" if unread else ""
    return Review(document.get("exit_code") == 0 and not unread, one_line(figures))


def _document(content: bytes, fleet: str, *names: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is not JSON: {one_line(str(error))}") from error
    if not isinstance(found, dict) or any(not isinstance(found.get(name), list) for name in names):
        raise ValueError(f"expected an object with the lists {', '.join(names)}")
    if found.get("fleet") != fleet:
        raise ValueError(f"this is of fleet {one_line(str(found.get('fleet')))}, not of {fleet}")
    return found


def _rows(rows: Iterable[Any], *names: str) -> list[dict[str, Any]]:
    found = list(rows)
    if not all(isinstance(row, dict) and all(isinstance(row.get(name), str) for name in names) for row in found):
        raise ValueError(f"expected rows with the texts {', '.join(names)}")
    return found


def _counted(rows: list[Any], *names: str) -> tuple[int, ...]:
    if not all(isinstance(row, dict) and all(type(row.get(name)) is int for name in names) for row in rows):
        raise ValueError(f"expected rows with the numbers {', '.join(names)}")
    return tuple(sum(row[name] for row in rows) for name in names)
