"""Sets a damaged journal aside and saves its tombstones.

The tombstones are read once, as far as the damage allows, and stored in a file beside the journal.
"""

import itertools
import json
import mmap
import os
import re
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from hivekeys.errors import DamagedError, UserError
from hivekeys.files import write_whole
from hivekeys.journal import mark
from hivekeys.journal.state_folder import KEY, KEY_BYTES
from hivekeys.journal.store import NAME
from hivekeys.token import Fingerprint

ASIDE, TOMBSTONES = "journal.damaged-", ".tombstones"
PARTS = ("-wal", "-shm", "")  # the journal itself last: while it is there, the rest may still be needed
RUN = re.compile(rb"[A-Za-z0-9._-]{1,100}")  # hosts take no other name
FINGERPRINT = re.compile(rb'\{"fp6": "([0-9a-f]{6})", "keyed": "([0-9a-f]{64})"\}')
# A list of fingerprints, as only a TokensRevoked event has one; of a long one each page of the file has its part.
ONE = re.sub(rb"[()]", b"", FINGERPRINT.pattern)
REVOKED = re.compile(rb'\{"fingerprints": \[%b(?:, %b)*|%b(?:, %b)+' % (ONE, ONE, ONE, ONE))


def set_aside(folder: Path, now: float) -> Path:
    """Makes room for a new journal, and for a new key where there is none; where the old journal is now. Under the
    fleet's lock. Raises UserError.
    """
    base = _unused(folder, datetime.fromtimestamp(now, UTC))
    journal, aside = folder / NAME, base.with_name(f"{base.name}.db")
    stones = [[one.keyed, one.fp6, run] for one, run in _read(journal, base.name).items()]
    write_whole(base.with_name(base.name + TOMBSTONES), json.dumps(stones) + "\n", mode=0o600)
    try:
        for part in PARTS:
            with suppress(FileNotFoundError):
                Path(f"{journal}{part}").rename(f"{aside}{part}")
        with suppress(FileNotFoundError):
            (folder / mark.NAME).rename(base.with_name(f"{base.name}.mark"))
        key = folder / KEY
        if key.exists() and key.stat().st_size not in (0, KEY_BYTES):
            key.rename(base.with_name(f"{base.name}.key"))
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise UserError(f"{journal}: cannot be put aside: {error.strerror}", hint="nothing was touched") from error
    return aside


def tombstones(folder: Path) -> dict[Fingerprint, str]:
    """The tombstones of all journals that were put aside, with the run that revoked each, or the journal's name."""
    found: dict[Fingerprint, str] = {}
    for path in sorted(folder.glob(f"{ASIDE}*{TOMBSTONES}")):
        try:
            found |= {Fingerprint(keyed, fp6): run for keyed, fp6, run in json.loads(path.read_text())}
        except OSError as error:
            hint = "it has tokens that leaked: make it readable"
            raise UserError(f"{path}: {error.strerror}", hint=hint) from error
        except (ValueError, TypeError) as error:
            hint = "put back a copy of it; without it, a token that leaked might be brought back"
            raise DamagedError(f"{path}: is not what hivekeys writes", hint=hint) from error
    return found


def _unused(folder: Path, now: datetime) -> Path:
    """A name with the date; with a number where two journals were put aside in one second."""
    name = f"{ASIDE}{now:%Y%m%dT%H%M%SZ}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(folder / name for name in names if not any(folder.glob(f"{name}.*")))


def _read(path: Path, name: str) -> dict[Fingerprint, str]:
    """Every tombstone: from the bytes first, whatever is damaged around them; then by SQL, which knows the runs."""
    found: dict[Fingerprint, str] = {}
    for part in ("", "-wal"):
        with suppress(OSError, ValueError), Path(f"{path}{part}").open("rb") as file:  # ValueError: it is empty
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                texts = [match[0] for match in REVOKED.finditer(content)]
            found |= {one: name for text in texts for one in _in(text)}
    if path.exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as base:
            base.text_factory = bytes
            revoked = "SELECT run, facts FROM events WHERE kind IN ('TokensRevoked', 'Condemned')"  # events.FORMER
            for run, facts in base.execute(revoked):
                known = RUN.fullmatch(run)
                found |= dict.fromkeys(_in(facts), run.decode() if known else name)
    return found


def _in(text: bytes) -> list[Fingerprint]:
    return [Fingerprint(keyed.decode(), fp6.decode()) for fp6, keyed in FINGERPRINT.findall(text)]
