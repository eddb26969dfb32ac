"""Earlier runs, read from the journal: which one a verb means, what became of it, and whose it is at this moment."""

import contextlib
import fcntl
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.journal import past
from hivekeys.journal.events import Claimed, Event, RunStarted, Superseded, TokenChosen
from hivekeys.journal.history import History
from hivekeys.journal.state_folder import Holder, at_work, folder_for, hold_lock
from hivekeys.journal.store import Journal
from hivekeys.token import Token
from tests.builders.recorded import NEW, OLD, Teller, fleet_of

OTHER = Token("c" * 64).fingerprint(b"k")
FLEET = fleet_of(2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_for("paper", str(tmp_path))


def write(folder: Path, **runs: Iterable[Event]) -> None:
    """Runs of these names, the oldest first."""
    with contextlib.closing(Journal(folder)) as journal:
        for name, events in runs.items():
            named = [replace(event, run=name) if isinstance(event, RunStarted) else event for event in events]
            journal.append(name, *named)


def rotation(*lost: str) -> list[Event]:
    return Teller(FLEET, lost=lost).whole()


def cut_off() -> list[Event]:
    teller = Teller(FLEET)
    teller.before()
    return teller.events


def upkeep() -> list[Event]:
    teller = Teller(FLEET, task="fix")
    teller.begin()
    return teller.events


def named(folder: Path, *, every: bool = False) -> list[str]:
    return [run.id for run in past.past_runs("paper", str(folder.parent), every)]


def test_a_bastion_without_runs_has_no_past_and_gets_no_journal_by_asking(folder: Path) -> None:
    assert named(folder) == []
    assert past.tombstones(folder) == {}
    assert past.history_of(folder) == History()
    assert past.superseded_tokens(folder) == set()
    assert list(folder.iterdir()) == []


def test_runs_come_newest_first_and_upkeep_only_if_it_is_asked_for(folder: Path) -> None:
    write(folder, one=rotation(), two=upkeep(), three=rotation())
    assert named(folder) == ["three", "one"]
    assert named(folder, every=True) == ["three", "two", "one"]


def test_a_run_is_told_in_the_light_of_later_ones(folder: Path) -> None:
    write(folder, one=rotation("hive2"), two=rotation())
    assert [run.settled_by for run in past.past_runs("paper", str(folder.parent))] == ["", "two"]
    served = past.newest_served("paper", str(folder.parent))
    assert served is not None and served.id == "two"


def test_a_run_is_taken_by_its_name_or_the_newest_if_none_is_given(folder: Path) -> None:
    write(folder, one=rotation(), two=rotation(), three=upkeep())
    state = str(folder.parent)
    assert past.past_run("paper", "", state).id == "two"
    assert past.past_run("paper", "one", state).id == "one"
    assert past.past_run("paper", "", state, every=True).id == "three"
    with pytest.raises(UserError, match="the journal of fleet paper has no run three"):
        past.past_run("paper", "three", state)


def test_where_there_was_no_run_a_verb_says_so(folder: Path) -> None:
    with pytest.raises(UserError, match="there was no run over fleet paper from this bastion"):
        past.past_run("paper", "", str(folder.parent))


def test_the_run_that_has_the_lock_is_at_work_and_no_other(folder: Path) -> None:
    write(folder, one=cut_off(), two=cut_off())
    with hold_lock(folder, "paper", "one", "quarterly"):
        runs = {run.id: run.at_work for run in past.past_runs("paper", str(folder.parent))}
    assert runs["one"].endswith(", quarterly")
    assert runs["two"] == ""


def test_a_run_that_has_told_of_its_end_is_not_at_work_though_it_has_the_lock_still(folder: Path) -> None:
    write(folder, one=rotation())
    with hold_lock(folder, "paper", "one", ""):
        assert [run.at_work for run in past.past_runs("paper", str(folder.parent))] == [""]


def test_a_lock_that_is_no_file_is_nobodys(folder: Path) -> None:
    """Whoever only looks is told nothing wrong, and gets no error of the system's."""
    lock = folder / "lock"
    with hold_lock(folder, "paper", "one", ""):
        found = at_work(folder)
        assert isinstance(found, Holder) and found.run == "one"
    lock.unlink()
    assert at_work(folder) is None
    lock.mkdir()
    directory = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        assert at_work(folder) is None
    finally:
        os.close(directory)


def test_history_has_the_tokens_of_all_runs_newest_first_and_their_last_place(folder: Path) -> None:
    teller = Teller(FLEET)
    chosen = [TokenChosen(token, teller.now()) for token in (OLD, NEW)]
    claims = [Claimed(epoch, teller.now()) for epoch in (4, 7)]
    write(folder, one=[*upkeep(), claims[1], chosen[0]], two=upkeep(), three=[*upkeep(), claims[0], chosen[1]])
    assert past.history_of(folder) == History((NEW, OLD), 7)
    (folder / "journal.db").unlink()
    (folder / "journal.mark").unlink()
    write(folder, one=upkeep())
    assert past.history_of(folder) == History((), 0)


def test_the_tokens_of_superseded_runs_are_known_and_no_others(folder: Path) -> None:
    teller = Teller(FLEET)
    tokens = [TokenChosen(token, teller.now()) for token in (OLD, OTHER)]
    write(folder, one=[*upkeep(), tokens[0], Superseded("two", teller.now())], two=[*upkeep(), tokens[1]])
    assert past.superseded_tokens(folder) == {OLD}
