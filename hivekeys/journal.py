"""The journal: every event of every run of a fleet, append-only, on the disk before anything is acted on.

SQLite in the fleet's state folder, WAL, `synchronous=FULL`; each event carries the hash of the one before it, so a
changed or missing event shows. Holds fingerprints, never a token. What cannot be written is not done.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter

from hivekeys.chain import Row, first_break, link
from hivekeys.errors import ExitCode, UserError
from hivekeys.model import Condemned, Event
from hivekeys.text import LONGEST, cleaned, of_record
from hivekeys.token import Fingerprint

E = TypeVar("E", bound=Event)
SCHEMA = 1
CHANGED = "somebody changed the journal: keep the file, compare it with a backup"
KINDS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Event)}
TABLE = """
CREATE TABLE IF NOT EXISTS events (
    run TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, facts TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID, STRICT
"""


class Journal:
    """One fleet's journal. Many threads may append; raises UserError for whatever is wrong with the file."""

    def __init__(self, folder: Path, writes: bool = False) -> None:
        """`writes`: whether it can be written is tried at once, which takes the disk as long as an event does."""
        self.path = folder / "journal.db"
        self._mutex = threading.Lock()
        self._last: dict[str, tuple[int, str]] = {}
        with self._explained(ExitCode.USAGE, "nothing was touched"):
            self.path.touch(mode=0o600)
            self._base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
            version = self._version()
            for words in ("journal_mode=WAL", "synchronous=FULL"):
                self._base.execute(f"PRAGMA {words}")
            self._base.execute(TABLE)
            if writes or version < SCHEMA:
                self._base.execute(f"PRAGMA user_version={SCHEMA}")

    @staticmethod
    def is_in(folder: Path) -> bool:
        """True when there is one, for who must not make one by looking."""
        return (folder / "journal.db").exists()

    def append(self, run: str, *events: Event) -> None:
        """More events, all of them on the disk when this returns, or none."""
        told = [(type(event).__name__, _facts(event)) for event in events]
        hint = "no host is told anything any more; mend it, then `fab resume`"
        with self._mutex, self._explained(ExitCode.INCOMPLETE, hint), self._whole():
            number, before = self._last.get(run) or self._tail(run)
            rows = []
            for kind, facts in told:
                number, before = number + 1, link(before, run, number + 1, kind, facts)
                rows.append((run, number, kind, facts, before))
            self._base.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
            self._base.execute("COMMIT")
            self._last[run] = (number, before)

    def runs(self) -> list[str]:
        """All runs, newest first."""
        with self._explained(ExitCode.USAGE, "nothing was touched"):
            rows = self._base.execute(
                "SELECT run FROM events WHERE number = 1 ORDER BY json_extract(facts, '$.when.at') DESC"
            )
            return [row[0] for row in rows]

    def rows(self, run: str) -> list[Row]:
        """A run's events in order, as they were written. Refuses a chain that is not whole."""
        with self._explained(ExitCode.USAGE, CHANGED):
            found = self._base.execute(
                "SELECT number, kind, facts, hash FROM events WHERE run = ? ORDER BY number", (run,)
            ).fetchall()
        rows = [Row(*row) for row in found]
        broken = first_break(run, rows)
        if broken is not None:
            raise UserError(f"{self.path}: the events of run {run} are not whole at number {broken}", hint=CHANGED)
        return rows

    def events(self, run: str) -> list[Event]:
        """A run's events in order. Refuses a chain that is not whole."""
        return [self.event(run, row) for row in self.rows(run)]

    def event(self, run: str, row: Row) -> Event:
        """The event of a row."""
        try:
            found: Event = KINDS[row.kind].validate_json(_cleaned(row.facts))
        except (KeyError, ValueError, RecursionError) as error:
            message = f"{self.path}: event {row.number} of run {run} cannot be read"
            raise UserError(message, hint=CHANGED) from error
        return found

    def tombstones(self) -> dict[Fingerprint, str]:
        """The tokens that leaked, and the run that revoked each: nothing may write them again."""
        return {fingerprint: run for run, event in self.all_of(Condemned) for fingerprint in event.fingerprints}

    def all_of(self, kind: type[E]) -> list[tuple[str, E]]:
        """Every event of one kind with its run, of each run in order."""
        with self._explained(ExitCode.USAGE, "nothing was touched"):
            rows = self._base.execute(
                "SELECT run, facts FROM events WHERE kind = ? ORDER BY run, number", (kind.__name__,)
            ).fetchall()
        return [(run, KINDS[kind.__name__].validate_json(facts)) for run, facts in rows]

    def close(self) -> None:
        """Safe to repeat."""
        self._base.close()

    def _tail(self, run: str) -> tuple[int, str]:
        row = self._base.execute(
            "SELECT number, hash FROM events WHERE run = ? ORDER BY number DESC LIMIT 1", (run,)
        ).fetchone()
        return (row[0], row[1]) if row else (0, "")

    def _version(self) -> int:
        version: int = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise UserError(
                f"{self.path}: written by a newer hivekeys (schema {version}, this one knows {SCHEMA})",
                hint="update hivekeys on this bastion; nothing was touched",
            )
        return version

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """A transaction that the block commits, or that never was."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")

    @contextmanager
    def _explained(self, code: ExitCode, hint: str) -> Iterator[None]:
        """Every failure of the file as one sentence."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise UserError(f"the journal {self.path} cannot be used: {reason}", hint=hint, code=code) from error


def _cleaned(facts: str) -> str:
    """An event's facts with every text as it may be shown: what older versions wrote down, a host may have said so."""
    if facts.isprintable() and "\\" not in facts and len(facts) <= LONGEST:
        return facts
    return json.dumps(cleaned(json.loads(facts), of_record))


def _facts(event: Event) -> str:
    return json.dumps(KINDS[type(event).__name__].dump_python(event, mode="json"), sort_keys=True)
