"""Stores the events of every run of a fleet, append-only, on disk before anything is acted on.

SQLite in the fleet's state folder, WAL, `synchronous=FULL`. Each event has the hash of the one before it in its run,
and its place among all events of all runs: the order of runs is that of their first events, whatever the clock said.
A changed or missing event shows; so does, by the mark beside it, an end that was cut off. Holds fingerprints, never
a token. What cannot be written is not done.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter

from hivekeys.errors import DamagedError, ExitCode, UserError
from hivekeys.fleet import MOST_HOSTS
from hivekeys.journal import tables
from hivekeys.journal.chain import Row, first_break, head_after, link
from hivekeys.journal.events import FORMER, Event, TokensRevoked
from hivekeys.journal.mark import Mark, MarkFile
from hivekeys.journal.state_folder import at_work, at_work_error
from hivekeys.journal.tables import SCHEMA
from hivekeys.text.clean import LONGEST, cleaned, of_record
from hivekeys.token import Fingerprint

E = TypeVar("E", bound=Event)
NAME = "journal.db"
FAULTS = 5  # that are worth a line each
DAMAGE = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
UNTOUCHED = "nothing was touched"
KINDS: dict[str, TypeAdapter[Any]] = {kind.__name__: TypeAdapter(kind) for kind in get_args(Event)}
KINDS |= {former: KINDS[name] for former, name in FORMER.items()}


class Journal:
    """One fleet's journal. Many threads may append; raises UserError for whatever is wrong with the file, and
    DamagedError where it is the file's content.
    """

    def __init__(self, folder: Path, writes: bool = False, as_it_is: bool = False) -> None:
        """`writes`: no page of it may be damaged, and whether it can be written is tried at once, which takes the disk
        as long as an event does. `as_it_is`: it is opened also when something is missing of it.
        """
        self.path = folder / NAME
        self._mutex = threading.Lock()
        self._mark = MarkFile(folder)
        self._schema = 0
        with self._explained():
            mark = Mark() if as_it_is else self._mark.read()  # before the journal, which is written before it
            self.path.touch(mode=0o600)
            self._base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            with self._explained():
                self._open()
                if not as_it_is and (lacks := tables.lacks(self._base, mark)):
                    raise DamagedError(f"{self.path}: {lacks}")
                if not (as_it_is or self._schema):
                    tables.make(self._base)
                    self._schema = SCHEMA
                if writes:
                    self._begin_to_write()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def is_in(folder: Path) -> bool:
        """True when there is a journal; does not make one."""
        return (folder / NAME).exists()

    @staticmethod
    def was_in(folder: Path) -> bool:
        """True when there was a journal: its mark is there, so a missing journal is noticed."""
        return MarkFile(folder).path.exists()

    def append(self, run: str, *events: Event) -> None:
        """Adds events: all of them are on the disk when this returns, or none."""
        told = [(type(event).__name__, facts_of(event)) for event in events]
        hint = "nothing more is sent to any host; repair it, then `fab resume`"
        with self._mutex, self._explained(ExitCode.INCOMPLETE, hint):
            with self._whole():
                number, before = self._tail(run)
                place, head = tables.end(self._base)
                rows = []
                for kind, facts in told:
                    number, before = number + 1, link(before, run, number + 1, kind, facts)
                    place, head = place + 1, head_after(head, place + 1, before)
                    rows.append((place, run, number, kind, facts, before, head))
                self._base.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._mark.write(Mark(place, head, run))

    def runs(self) -> list[str]:
        """All runs, newest first: that is the one that began last, whatever the clock said then."""
        with self._explained():
            rows = self._base.execute("SELECT run FROM events WHERE number = 1 ORDER BY place DESC")
            return [row[0] for row in rows]

    def rows(self, run: str) -> list[Row]:
        """A run's events in order, as they were written. Refuses a chain that is not whole."""
        with self._explained():
            found = self._base.execute(
                "SELECT number, kind, facts, hash FROM events WHERE run = ? ORDER BY number", (run,)
            ).fetchall()
        rows = [Row(*row) for row in found]
        broken = first_break(run, rows)
        if broken is not None:
            raise DamagedError(f"{self.path}: the events of run {run} are not whole at number {broken}")
        return rows

    def events(self, run: str) -> list[Event]:
        """A run's events in order. Refuses a chain that is not whole."""
        return [self.event(run, row) for row in self.rows(run)]

    def event(self, run: str, row: Row) -> Event:
        """The event of a row."""
        try:
            return event_of(row.kind, row.facts)
        except (KeyError, ValueError, RecursionError) as error:
            raise DamagedError(f"{self.path}: event {row.number} of run {run} cannot be read") from error

    def tombstones(self) -> dict[Fingerprint, str]:
        """The tokens that leaked, and the run that revoked each: nothing may write them again."""
        return {fingerprint: run for run, event in self.all_of(TokensRevoked) for fingerprint in event.fingerprints}

    def all_of(self, *kinds: type[E]) -> list[tuple[str, E]]:
        """Every event of kinds that `tables.FEW` names, with its run, in the order in which they were written."""
        names = [kind.__name__ for kind in kinds]
        names += [former for former, name in FORMER.items() if name in names]
        asked = ", ".join("?" * len(names))
        rest = f"WHERE {tables.IS_OF_FEW} AND kind IN ({asked}) ORDER BY place"  # in these words it goes by their index
        with self._explained():
            question = f"SELECT run, number, kind, facts, hash FROM events {rest}"  # noqa: S608  our own words only
            rows = self._base.execute(question, names).fetchall()
        found = ((run, self.event(run, Row(*row))) for run, *row in rows)
        return [(run, event) for run, event in found if isinstance(event, kinds)]

    @property
    def key(self) -> str:
        """The name of the key that its fingerprints were made with, "" before that is known."""
        with self._explained():
            row = self._base.execute("SELECT value FROM about WHERE name = 'key'").fetchone()
        return str(row[0]) if row else ""

    def note_key(self, name: str) -> None:
        """Records the key under which the tokens of its runs are fingerprinted."""
        if self.key != name:
            with self._mutex, self._explained(), self._whole():
                self._base.execute("INSERT INTO about VALUES ('key', ?)", (name,))

    def faults(self) -> list[str]:
        """The faults of the journal, a line each: against its mark, and from the first event to the last."""
        with self._explained():
            lacks = tables.lacks(self._base, self._mark.read())
            broken = tables.breaks(self._base) if self._schema != 1 else iter(())
            found = [*filter(None, [lacks]), *islice(broken, FAULTS)]
        return [f"{self.path}: {fault}" for fault in found]

    def close(self) -> None:
        """Safe to repeat."""
        self._base.close()
        self._mark.close()

    # -- the file

    def _open(self) -> None:
        """Ready to be read."""
        self._base.execute("PRAGMA synchronous=FULL")
        self._schema = tables.prepare(self._base)
        if self._schema > SCHEMA:
            raise UserError(
                f"{self.path}: written by a newer hivekeys (schema {self._schema}, this one knows {SCHEMA})",
                hint="update hivekeys on this bastion; nothing was touched",
            )

    def _begin_to_write(self) -> None:
        """Refuses a damaged page, takes over what an older hivekeys wrote, and tries a first write."""
        (found,) = self._base.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise DamagedError(f"{self.path}: {found}")
        with self._whole():
            if self._schema == 1:
                tables.take_over(self._base)
            if self._schema == 2:
                tables.index_anew(self._base)
            self._base.execute(f"PRAGMA user_version={SCHEMA}")
        self._schema = SCHEMA
        place, head = tables.end(self._base)
        newest = self._base.execute("SELECT run FROM events WHERE place = ?", (place,)).fetchone()
        self._mark.write(Mark(place, head, newest[0] if newest else ""))

    def _tail(self, run: str) -> tuple[int, str]:
        row = self._base.execute(
            "SELECT number, hash FROM events WHERE run = ? ORDER BY number DESC LIMIT 1", (run,)
        ).fetchone()
        return (row[0], row[1]) if row else (0, "")

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """A transaction: all that the block did, or nothing of it."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        finally:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")

    @contextmanager
    def _explained(self, code: ExitCode = ExitCode.USAGE, hint: str = UNTOUCHED) -> Iterator[None]:
        """Every failure of the file as one sentence."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._refuse_while_written(error)
            reason = error.strerror if isinstance(error, OSError) else str(error)
            message = f"the journal {self.path} cannot be used: {reason}"
            damaged = code is ExitCode.USAGE and getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE
            raise (DamagedError(message) if damaged else UserError(message, hint=hint, code=code)) from error

    def _refuse_while_written(self, error: BaseException) -> None:
        """Says who is at work where that is why the file is locked: a run that was stopped, or whose disk hangs."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            holder = at_work(self.path.parent)
            if holder and holder.pid != os.getpid():
                raise at_work_error(self.path.parent.name, holder) from error


def _cleaned(facts: str) -> str:
    """An event's facts with every text cleaned for showing: older versions recorded what a host said as it was."""
    if facts.isprintable() and "\\" not in facts and len(facts) <= LONGEST:
        return facts
    return json.dumps(cleaned(json.loads(facts), of_record, most=MOST_HOSTS))


def event_of(kind: str, facts: str) -> Event:
    """The event of this kind with these fields. Raises KeyError, ValueError, RecursionError for what is none."""
    event: Event = KINDS[kind].validate_json(_cleaned(facts))
    return event


def facts_of(event: Event) -> str:
    """An event's fields as the journal has them, beside its kind."""
    return json.dumps(KINDS[type(event).__name__].dump_python(event, mode="json"), sort_keys=True)
