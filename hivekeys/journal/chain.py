"""The hash chains of a journal: one through the events of each run, one through all runs. Pure."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One event as the journal keeps it. `facts` is JSON text, byte for byte as it was hashed."""

    number: int
    kind: str
    facts: str
    hash: str


def link(before: str, run: str, number: int, kind: str, facts: str) -> str:
    """The hash of an event that follows the one with the hash `before` ("" for the first)."""
    return hashlib.sha256(json.dumps([before, run, number, kind, facts]).encode()).hexdigest()


def head_after(before: str, place: int, hash: str) -> str:
    """The head of the chain over all runs after the event at `place`, from 1 on; `before`: the head until then."""
    return hashlib.sha256(json.dumps([before, place, hash]).encode()).hexdigest()


def first_break(run: str, rows: Iterable[Row]) -> int | None:
    """The place, from 1 on, of the first event that does not follow from those before it; None for a whole chain."""
    before = ""
    for place, row in enumerate(rows, 1):
        if row.number != place or row.hash != link(before, run, row.number, row.kind, row.facts):
            return place
        before = row.hash
    return None
