"""The journal: what it holds is whole, what it cannot hold is not done."""

import sqlite3
import threading
from pathlib import Path

import pytest

from hivekeys.audit.audited import CensusTaken, Use
from hivekeys.causes import Cause, Trouble
from hivekeys.errors import ExitCode, UserError
from hivekeys.journal import Journal
from hivekeys.model import (
    Event,
    Intent,
    Outcome,
    Phase,
    PhaseStarted,
    Proof,
    Result,
    RunEnded,
    RunStarted,
    State,
    Status,
    Stopped,
    TokenChosen,
    Verb,
)
from hivekeys.moment import Moment
from hivekeys.run import fold
from hivekeys.token import Token, generate

KEY = b"k" * 32


def moment(seconds: float) -> Moment:
    return Moment(1_700_000_000 + seconds, seconds)


def story(run: str, token: Token, began: float = 0.0) -> list[Event]:
    """A short run with an event of nearly every kind."""
    want = token.fingerprint(KEY)
    proof = Proof({"new": 200, "old": 401, "none": 401, "garbage": 401}, proven=True, path="/v1/workers/list")
    failed = Cause(Trouble.NEW_REFUSED, "the unit reads [bold]/etc/other[/bold]")
    waves = ((Phase.QUEEN, ("queen",)), (Phase.WAVE, ("hive1",)))
    return [
        RunStarted(run, "lab", "ann@bastion", "routine", ("queen", "hive1"), waves, (), moment(began)),
        TokenChosen(want, moment(began + 1)),
        PhaseStarted(Phase.QUEEN, ("queen",), moment(began + 2), "queen"),
        Intent("queen", Phase.QUEEN, (Verb.SWAP, Verb.RESTART, Verb.PROVE), moment(began + 3)),
        Outcome(
            "queen",
            Phase.QUEEN,
            Status.FAILED,
            State.FAILED,
            moment(began + 4),
            failed,
            proof=proof,
            results=(Result(Verb.SWAP, True, 0.1),),
        ),
        CensusTaken(
            (Use("hive1", "rbee-hive", "0ddba1", "/v1", "10.0.0.9", True, 2, 1.5),),
            (("queen", "off"),),
            False,
            moment(5),
        ),
        Stopped(Phase.QUEEN, "queen failed", moment(began + 5)),
        RunEnded(ExitCode.ROLLED_BACK, moment(began + 6)),
    ]


def written(folder: Path, run: str = "run-1", began: float = 0.0) -> list[Event]:
    """A journal with one run in it; its events."""
    events = story(run, generate(), began)
    journal = Journal(folder)
    for event in events:
        journal.append(run, event)
    journal.close()
    return events


def test_what_is_written_is_read_back_as_it_was(tmp_path: Path) -> None:
    events = written(tmp_path)
    journal = Journal(tmp_path)
    assert journal.events("run-1") == events
    assert fold(journal.events("run-1")) == fold(events)


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    written(tmp_path, "run-old", began=0)
    written(tmp_path, "run-new", began=1000)
    assert Journal(tmp_path).runs() == ["run-new", "run-old"]


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    written(tmp_path)
    for path in tmp_path.glob("journal.db*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_it_never_holds_a_token(tmp_path: Path) -> None:
    token = generate()
    journal = Journal(tmp_path)
    for event in story("run-1", token):
        journal.append("run-1", event)
    journal.close()
    assert all(token.reveal().encode() not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET facts = replace(facts, 'hive1', 'hive2') WHERE number = 1",
        "UPDATE events SET kind = 'Stopped' WHERE number = 3",
        "DELETE FROM events WHERE number = 4",
        "DELETE FROM events WHERE number = 1",
        "UPDATE events SET number = 99 WHERE number = 7",
    ],
)
def test_a_changed_or_missing_event_shows(tmp_path: Path, change: str) -> None:
    written(tmp_path)
    base = sqlite3.connect(tmp_path / "journal.db")
    base.execute(change)
    base.commit()
    base.close()
    with pytest.raises(UserError, match="not whole at number"):
        Journal(tmp_path).events("run-1")


def test_a_journal_of_a_newer_hivekeys_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    base = sqlite3.connect(tmp_path / "journal.db")
    base.execute("PRAGMA user_version=99")
    base.close()
    with pytest.raises(UserError, match="newer hivekeys"):
        Journal(tmp_path)


def test_a_corrupt_journal_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(UserError, match="cannot be used") as refused:
        Journal(tmp_path)
    assert refused.value.code is ExitCode.USAGE


def test_a_journal_that_somebody_else_locks_is_an_error_in_known_time(tmp_path: Path) -> None:
    events = written(tmp_path)
    journal = Journal(tmp_path)
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match="cannot be used: database is locked") as refused:
        journal.append("run-1", events[0])
    assert refused.value.code is ExitCode.INCOMPLETE


def test_who_only_reads_writes_nothing_and_waits_for_nobody(tmp_path: Path) -> None:
    """A status beside a run. Whoever is about to write hears at once that he cannot."""
    events = written(tmp_path)
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert Journal(tmp_path).events("run-1") == events
    with pytest.raises(UserError, match="cannot be used: database is locked") as refused:
        Journal(tmp_path, writes=True)
    assert refused.value.code is ExitCode.USAGE


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    written(tmp_path)
    journal = Journal(tmp_path)
    (pages,) = journal._base.execute("PRAGMA page_count").fetchone()
    journal._base.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(UserError, match="full") as refused:
        for number in range(1000):
            journal.append("run-2", Stopped(Phase.LOOK, f"event {number} " + "x" * 500, moment(number)))
    assert "fab resume" in refused.value.hint
    journal.close()
    assert fold(Journal(tmp_path).events("run-1")).code is ExitCode.ROLLED_BACK


def test_events_that_come_together_are_all_on_the_disk_or_none(tmp_path: Path) -> None:
    events = written(tmp_path)
    journal = Journal(tmp_path)
    (pages,) = journal._base.execute("PRAGMA page_count").fetchone()
    journal._base.execute(f"PRAGMA max_page_count={pages}")
    many = [Stopped(Phase.LOOK, f"event {number} " + "x" * 500, moment(number)) for number in range(1000)]
    with pytest.raises(UserError, match="full"):
        journal.append("run-1", *many)
    assert journal.events("run-1") == events
    journal.append("run-1", many[0], many[1])
    assert journal.events("run-1") == [*events, many[0], many[1]]


def test_many_threads_write_one_whole_chain(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    def write(host: str) -> None:
        for number in range(20):
            journal.append("run-1", Intent(host, Phase.STAGE, (Verb.STAGE,), moment(number)))

    threads = [threading.Thread(target=write, args=(f"hive{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.events("run-1")) == 160
