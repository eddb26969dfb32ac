"""Where the chain through a journal is broken, in words that say which events to look for."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from hivekeys.journal.chain import Row, first_break, head_after, link
from hivekeys.journal.events import PhaseStarted
from hivekeys.journal.store import Journal
from tests.builders.recorded import Teller, fleet_of

FAULTS = {
    "nothing": ("", []),
    "a run": ("DELETE FROM events WHERE run = 'two'", ["the events 5 to 8 are gone"]),
    "the first event": ("DELETE FROM events WHERE place = 1", ["the events 1 to 1 are gone"]),
    "two parts": (
        "DELETE FROM events WHERE place IN (2, 6, 7)",
        ["the events 2 to 2 are gone", "the events 6 to 7 are gone"],
    ),
    "a hash": (
        "UPDATE events SET hash = 'another' WHERE place = 3",
        ["event 3 does not follow from the one before it"],
    ),
    "a head": (
        "UPDATE events SET head = 'another' WHERE place = 3",
        [f"event {place} does not follow from the one before it" for place in (3, 4)],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_place_at_which_the_chain_over_all_runs_is_broken_is_named(tmp_path: Path, fault: str) -> None:
    teller = Teller(fleet_of(1))
    teller.begin()
    teller.before()
    with contextlib.closing(Journal(tmp_path)) as journal:
        for run in ("one", "two", "three"):
            journal.append(run, *teller.events[:4])
    words, expected = FAULTS[fault]
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as base:
        base.execute(words)
    with contextlib.closing(Journal(tmp_path, as_it_is=True)) as journal:
        found = [line.removeprefix(f"{tmp_path / 'journal.db'}: ") for line in journal.faults()]
    assert [line for line in found if " of 12 events are missing" not in line] == expected


def test_the_chain_of_a_run_is_whole_up_to_its_first_break() -> None:
    rows, before = [], ""
    for number in (1, 2, 3):
        before = link(before, "one", number, PhaseStarted.__name__, "{}")
        rows.append(Row(number, PhaseStarted.__name__, "{}", before))
    assert first_break("one", rows) is None
    assert first_break("one", []) is None
    assert first_break("two", rows) == 1, "another run's"
    assert first_break("one", rows[1:]) == 1
    assert first_break("one", [rows[0], rows[2]]) == 2


def test_a_link_depends_on_all_that_was_before_and_on_its_place() -> None:
    assert len({head_after("", 1, "a"), head_after("", 2, "a"), head_after("b", 1, "a"), head_after("", 1, "b")}) == 4
