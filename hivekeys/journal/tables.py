"""The SQL tables of a journal: made, migrated from older versions, and checked for what is missing.

Works on an open connection; raises sqlite3.Error.
"""

import sqlite3
from collections.abc import Iterator

from hivekeys.journal.chain import head_after
from hivekeys.journal.mark import Mark

SCHEMA = 3  # 2 has the same tables, and the kinds that `events.FORMER` names
EVENTS = """
    CREATE TABLE main.events (
        place INTEGER PRIMARY KEY, run TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, facts TEXT NOT NULL,
        hash TEXT NOT NULL, head TEXT NOT NULL, UNIQUE (run, number)
    ) STRICT
"""
# Kinds that a run has one or two events of, and every command asks for.
FEW = ("Claimed", "Condemned", "Readmitted", "Resumed", "RunStarted", "Superseded", "TokenChosen", "TokensRevoked")
IS_OF_FEW = f"kind IN {FEW}"
ABOUT = "CREATE TABLE main.about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT"
# What every command asks for is found without reading all events.
OF_FEW = f"CREATE INDEX main.of_few ON events (kind, place) WHERE {IS_OF_FEW}"
BESIDE = ("CREATE INDEX main.first_events ON events (place) WHERE number = 1", OF_FEW)
# A journal of schema 1 knows no order but the clock's: it is read so, and taken over so by the first run that writes.
OF_SCHEMA_1 = (
    """
    CREATE TEMP VIEW events AS
        SELECT row_number() OVER (ORDER BY json_extract(first.facts, '$.when.at'), each.run, each.number) AS place,
            each.run, each.number, each.kind, each.facts, each.hash, '' AS head
        FROM main.events AS each LEFT JOIN main.events AS first ON first.run = each.run AND first.number = 1
    """,
    "CREATE TEMP VIEW about AS SELECT '' AS name, '' AS value WHERE 0",
)
LACKS = """
    SELECT (SELECT count(*) FROM events), (SELECT coalesce(max(place), 0) FROM events),
        (SELECT head FROM events WHERE place = ?)
"""  # one question, so one moment: a run may be writing


def prepare(base: sqlite3.Connection) -> int:
    """The schema that a journal has, 0 for none yet. Whatever it is, it can be read like ours then; writes nothing."""
    version: int = base.execute("PRAGMA user_version").fetchone()[0]
    for words in {0: (EVENTS.replace("main.", "temp."), ABOUT.replace("main.", "temp.")), 1: OF_SCHEMA_1}.get(
        version, ()
    ):
        base.execute(words)
    return version


def make(base: sqlite3.Connection) -> None:
    """The tables of a journal that has none yet."""
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("DROP TABLE temp.events")
    base.execute("DROP TABLE temp.about")
    base.execute("BEGIN IMMEDIATE")
    if not base.execute("SELECT 1 FROM sqlite_schema").fetchone():  # no other process was quicker
        for words in (EVENTS, ABOUT, *BESIDE, f"PRAGMA user_version={SCHEMA}"):
            base.execute(words)
    base.execute("COMMIT")


def take_over(base: sqlite3.Connection) -> None:
    """Gives the events of schema 1 their places, by the clock for the last time. In the caller's transaction."""
    ordered = base.execute("SELECT place, run, number, kind, facts, hash FROM temp.events ORDER BY place")

    def with_heads() -> Iterator[tuple[object, ...]]:
        head = ""
        for row in ordered:
            head = head_after(head, row[0], row[-1])
            yield (*row, head)

    base.execute(EVENTS.replace("main.events", "main.taken_over"))
    base.executemany("INSERT INTO main.taken_over VALUES (?, ?, ?, ?, ?, ?, ?)", with_heads())
    for words in (
        "DROP VIEW temp.events",
        "DROP VIEW temp.about",
        "DROP TABLE main.events",
        "ALTER TABLE main.taken_over RENAME TO events",
        ABOUT,
        *BESIDE,
    ):
        base.execute(words)


def index_anew(base: sqlite3.Connection) -> None:
    """Gives a journal of schema 2 the index over today's kinds. In the caller's transaction."""
    base.execute("DROP INDEX main.of_few")
    base.execute(OF_FEW)


def end(base: sqlite3.Connection) -> tuple[int, str]:
    """The last event's place, and the head of the chain there."""
    row = base.execute("SELECT place, head FROM events ORDER BY place DESC LIMIT 1").fetchone()
    return (row[0], row[1]) if row else (0, "")


def lacks(base: sqlite3.Connection, mark: Mark) -> str:
    """What is missing by the mark, or between the first event and the last; "" for nothing."""
    count, last, head = base.execute(LACKS, (mark.events,)).fetchone()
    if last < mark.events:
        ends = f"it ends with event {last}" if last else "it is empty"
        return f"{ends}, and by its mark there were {mark.events}, the last of run {mark.run}"
    if mark.events and head != mark.head:
        return f"it is not the one that its mark was made of: event {mark.events} is another"
    return f"{last - count} of {last} events are missing" if count != last else ""


def breaks(base: sqlite3.Connection) -> Iterator[str]:
    """Every place at which the chain over all runs is broken."""
    expected, before = 1, ""
    for place, hash, head in base.execute("SELECT place, hash, head FROM events ORDER BY place"):
        if place != expected:
            yield f"the events {expected} to {place - 1} are gone"
        elif head != head_after(before, place, hash):
            yield f"event {place} does not follow from the one before it"
        expected, before = place + 1, head
