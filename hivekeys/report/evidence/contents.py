"""The members of an archive: the events of a run as the journal has them, and a report made of them. Pure.

The events hold keyed fingerprints: HMAC-SHA256 of a token under a key that never leaves the bastion. The chain of
hashes runs over them, so they stay; without the key no token can be compared with them. The pages show fp6 only.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hivekeys import __version__
from hivekeys.fleet import Fleet
from hivekeys.journal.chain import Row
from hivekeys.journal.events import Approved, Event
from hivekeys.journal.run import Run
from hivekeys.report.approvals import approval_document, how_to_check, signed_files
from hivekeys.report.documents import document
from hivekeys.report.evidence.check import EVENTS
from hivekeys.report.evidence.seal import folder_of
from hivekeys.report.page import Page
from hivekeys.report.verdict import came_to
from hivekeys.report.writing import html, markdown
from hivekeys.text.commands import as_typed

README = """\
Evidence of run {run} on fleet {fleet}, made by hivekeys.

evidence.json   who, when, why, versions, inventory, and what is in here
events.ndjson   the run's journal: one event a line, each with the hash of the one before it. The "keyed" fingerprints
                are HMAC-SHA256 of a token under a key that stays on the bastion; "fp6" are the first six hex digits of
                a token's SHA-256, as the services log them. No token is in here.
report.json     every host with its state and its proofs, for a program
report.md       the same for people, as Markdown
report.html     the same with a timeline: open it in a browser; it needs nothing else

{approval}\
To check it with the public key of the one who signed it (evidence.pub here; get it on another way than this file):

    fab evidence --check FILE --key evidence.pub

or without hivekeys:

    tar xf FILE && cd {folder}
    openssl pkeyutl -verify -pubin -inkey ../evidence.pub -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
    sha256sum --strict -c SHA256SUMS

An event's hash is SHA-256 of the JSON list [hash before ("" for the first), run, number, kind, facts], as Python's
json.dumps writes it; "facts" is a text, byte for byte.
"""


def members(
    run: Run, rows: Sequence[Row], events: Sequence[Event], fleet: Fleet, page: Page, attached: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The members by name; `attached` are further documents, such as the audit extract."""
    ended = next(event.when.at for event in reversed(events) if not isinstance(event, Approved))
    facts = _facts(run, rows, ended, fleet, attached)
    readme = as_typed(README).format(run=run.id, fleet=run.fleet, folder=folder_of(run.id), approval=how_to_check(run))
    return {
        "README.txt": readme.encode(),
        "evidence.json": _json(facts),
        EVENTS: b"".join(_line(row) for row in rows),
        "report.json": _json({**document(run, fleet), "debts": list(run.debts), "open": run.is_open}),
        "report.md": markdown(page).encode(),
        "report.html": html(page).encode(),
        **signed_files(run),
        **attached,
    }


def _facts(run: Run, rows: Sequence[Row], ended: float, fleet: Fleet, attached: Mapping[str, bytes]) -> dict[str, Any]:
    pythons = Counter(
        host.host_record.python for host in run.hosts.values() if host.host_record and host.host_record.python
    )
    known = run.inventory and fleet.digest
    code = came_to(run)
    return {
        "format": "hivekeys evidence 1",
        "run": run.id,
        "task": run.task,
        "fleet": run.fleet,
        "operator": run.who,
        "reason": run.reason,
        "started": _time(run.started),
        "ended": _time(ended),
        "exit_code": None if code is None else int(code),
        "hivekeys": {"run": run.version or None, "evidence": __version__},
        "python_on_hosts": dict(sorted(pythons.items())),
        "inventory": {
            "sha256_at_start": run.inventory or None,
            "sha256_now": fleet.digest or None,
            "changed_since": run.inventory != fleet.digest if known else None,
        },
        "events": len(rows),
        "last_hash": rows[-1].hash if rows else None,
        "approval": approval_document(run),
        "attached": list(attached),
    }


def _line(row: Row) -> bytes:
    found = {"number": row.number, "kind": row.kind, "facts": row.facts, "hash": row.hash}
    return json.dumps(found).encode() + b"\n"


def _json(found: dict[str, Any]) -> bytes:
    return (json.dumps(found, indent=2) + "\n").encode()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
