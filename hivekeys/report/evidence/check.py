"""Checks an archive against its signer's public key, and names every fault. Pure.

It needs the archive and the public key only.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hivekeys.journal.chain import Row, first_break
from hivekeys.report.evidence.archive import BrokenError, unpack
from hivekeys.report.evidence.seal import SIGNATURE, SUMS, Sums, folder_of, is_signed, key_id, read_sums

EVENTS = "events.ndjson"
MOST_FAULTS = 50  # that are worth a line each


@dataclass(frozen=True)
class Verdict:
    """What does not match, nothing for a valid archive; and whose run it is, where that can be told."""

    faults: tuple[str, ...]
    run: str = ""
    key: str = ""
    members: int = 0
    events: int = 0


def check(data: bytes, key: Ed25519PublicKey) -> Verdict:
    """The verdict over the bytes of an archive."""
    try:
        folder, members = unpack(data)
    except BrokenError as error:
        return Verdict((str(error),))
    if list(members)[:2] != [SUMS, SIGNATURE]:
        return Verdict(("this is no evidence archive: it does not begin with its digests and their signature",))
    listed = members.pop(SUMS)
    faults = list(_signature(listed, members.pop(SIGNATURE), key))
    sums = read_sums(listed)
    if sums is None:
        return Verdict((*faults, f"{SUMS} is not as it was written"))
    if folder != folder_of(sums.run):
        faults.append(f"the folder is {folder}, and the run {sums.run}")
    faults += _digests(sums, members)
    faults += _chain(sums.run, members.get(EVENTS, b""))
    events = members.get(EVENTS, b"").count(b"\n")
    if len(faults) > MOST_FAULTS:
        faults = [*faults[: MOST_FAULTS - 1], f"and {len(faults) - MOST_FAULTS + 1} more faults"]
    return Verdict(tuple(faults), sums.run, sums.key, len(members), events)


def _signature(listed: bytes, signature: bytes, key: Ed25519PublicKey) -> Iterator[str]:
    if is_signed(listed, signature, key):
        return
    sums = read_sums(listed)
    if sums and sums.key != key_id(key):
        yield f"signed with another key: it names {sums.key}, and you gave {key_id(key)}"
    else:
        yield f"the signature does not match {SUMS}"


def _digests(sums: Sums, members: dict[str, bytes]) -> Iterator[str]:
    for name, digest in sums.digests.items():
        if name not in members:
            yield f"{name} is missing"
        elif hashlib.sha256(members[name]).hexdigest() != digest:
            yield f"{name} was changed: its digest does not match"
    for name in members:
        if name not in sums.digests:
            yield f"{name} was added: it is not among the signed digests"
    if not [name for name in members if name not in sums.digests] and list(members) != list(sums.digests):
        yield "the members are in another order"


def _chain(run: str, events: bytes) -> Iterator[str]:
    """The journal's own chain, from the first event to the last."""
    read = [_row(line) for line in events.splitlines()]
    if None in read:
        yield f"{EVENTS}: event {read.index(None) + 1} cannot be read"
        return
    broken = first_break(run, [row for row in read if row])
    if broken is not None:
        yield f"{EVENTS}: the chain is broken at event {broken}"
    elif not read:
        yield f"{EVENTS}: there is no event"


def _row(line: bytes) -> Row | None:
    try:
        found = json.loads(line)
        row = Row(found["number"], found["kind"], found["facts"], found["hash"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    texts = (row.kind, row.facts, row.hash)
    return row if type(row.number) is int and all(isinstance(text, str) for text in texts) else None
