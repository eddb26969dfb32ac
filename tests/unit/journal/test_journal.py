"""The journal: what it holds is whole, what it cannot hold is not done."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from hivekeys.errors import DamagedError, ExitCode, UserError
from hivekeys.journal import tables
from hivekeys.journal.chain import head_after, link
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import (
    CensusTaken,
    Event,
    Intent,
    Outcome,
    Phase,
    PhaseStarted,
    Retried,
    RunEnded,
    RunStarted,
    State,
    Status,
    Stopped,
    TokenChosen,
    TokensRevoked,
)
from hivekeys.journal.fold import fold
from hivekeys.journal.store import Journal
from hivekeys.journal.tables import SCHEMA
from hivekeys.protocol.audited import Use
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Result
from hivekeys.protocol.seen import Proof
from hivekeys.protocol.verbs import Verb
from hivekeys.token import Fingerprint, Token, generate

KEY = b"k" * 32
DAY = 86400.0
STOPPED = """
import sqlite3, sys, time
from pathlib import Path
from hivekeys.journal import state_folder
folder = Path(sys.argv[1])
with state_folder.hold_lock(folder, folder.name, "run-9", ""):
    base = sqlite3.connect(folder / "journal.db", isolation_level=None)
    base.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    time.sleep(60)
"""


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


@pytest.mark.parametrize("began", [DAY, -DAY])
def test_the_newest_run_is_the_one_that_began_last_whatever_the_clock_said(tmp_path: Path, began: float) -> None:
    """After one run under a clock a day ahead, every run of that day was older than it (issue 15, 3.3)."""
    written(tmp_path, "run-1", began=began)
    written(tmp_path, "run-2", began=0)
    assert Journal(tmp_path).runs() == ["run-2", "run-1"]


def test_a_run_that_is_taken_up_again_keeps_its_place_among_the_others(tmp_path: Path) -> None:
    written(tmp_path, "run-1")
    written(tmp_path, "run-2")
    with contextlib.closing(Journal(tmp_path)) as journal:
        journal.append("run-1", Stopped(Phase.LOOK, "once more", moment(99)))
    assert Journal(tmp_path).runs() == ["run-2", "run-1"]


# -- what was cut off, held against the mark


def changed(folder: Path, *words: str) -> None:
    """What somebody who can write the file does to it, or a repair that knows nothing of its meaning."""
    with contextlib.closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as base:
        for each in words:
            base.execute(each)


LOSSES = {
    "its tail": (["DELETE FROM events WHERE place > 12"], "it ends with event 12, and by its mark there were 16"),
    "the newest run": (["DELETE FROM events WHERE run = 'run-2'"], "it ends with event 8, and by its mark"),
    "an older run": (["DELETE FROM events WHERE run = 'run-1'"], "8 of 16 events are missing"),
    "all runs": (["DELETE FROM events"], "it is empty, and by its mark there were 16, the last of run run-2"),
    "an older run, and the rest moved up": (
        ["DELETE FROM events WHERE run = 'run-1'", "UPDATE events SET place = place - 8"],
        "it ends with event 8, and by its mark",
    ),
    "the head of its chain": (["UPDATE events SET head = 'another' WHERE place = 16"], "event 16 is another"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_gone_of_a_journal_is_noticed_before_it_is_used(tmp_path: Path, loss: str) -> None:
    """What is left is whole in itself: each run that is there has its whole chain."""
    written(tmp_path, "run-1")
    written(tmp_path, "run-2")
    words, said = LOSSES[loss]
    changed(tmp_path, *words)
    for writes in (False, True):
        with pytest.raises(DamagedError) as refused:
            Journal(tmp_path, writes)
        assert said in refused.value.message
        assert "fab history --set-aside" in refused.value.hint
    with contextlib.closing(Journal(tmp_path, as_it_is=True)) as journal:
        assert any(said in fault for fault in journal.faults())


@pytest.mark.parametrize("how", ["cut to nothing", "deleted"])
def test_a_journal_that_is_gone_is_not_taken_for_a_new_one(tmp_path: Path, how: str) -> None:
    written(tmp_path)
    for path in tmp_path.glob("journal.db*"):
        path.unlink()
    if how == "cut to nothing":
        (tmp_path / "journal.db").touch(0o600)
    with pytest.raises(DamagedError, match="it is empty, and by its mark there were 8, the last of run run-1"):
        Journal(tmp_path, writes=True)


def test_an_older_copy_of_the_journal_is_noticed(tmp_path: Path) -> None:
    written(tmp_path, "run-1")
    copy = (tmp_path / "journal.db").read_bytes()
    written(tmp_path, "run-2")
    (tmp_path / "journal.db").write_bytes(copy)
    with pytest.raises(DamagedError, match="the last of run run-2"):
        Journal(tmp_path)


def test_another_journal_in_its_place_is_noticed_though_it_is_longer(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "other").mkdir()
    written(tmp_path / "ours")
    written(tmp_path / "other", "run-8")
    written(tmp_path / "other", "run-9")
    (tmp_path / "other" / "journal.db").rename(tmp_path / "ours" / "journal.db")
    with pytest.raises(DamagedError, match="it is not the one that its mark was made of"):
        Journal(tmp_path / "ours")


def test_a_damaged_page_stops_a_run_before_it_begins(tmp_path: Path) -> None:
    """Met in the middle of a run, it would stop that between two hosts."""
    for number in range(40):
        written(tmp_path, f"run-{number}")
    journal = tmp_path / "journal.db"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: 10 * 4096] + b"\xa5" * 4096 + whole[11 * 4096 :])
    with pytest.raises(DamagedError):
        Journal(tmp_path, writes=True)


@pytest.mark.parametrize("older", ["behind", "never on the disk", "not there"])
def test_a_crash_between_the_journal_and_its_mark_is_no_damage(tmp_path: Path, older: str) -> None:
    """The journal is on the disk first; the mark is not synced, so a power cut may take any of it back."""
    mark = tmp_path / "journal.mark"
    written(tmp_path, "run-1")
    before = mark.read_bytes()
    written(tmp_path, "run-2")
    if older == "not there":
        mark.unlink()
    else:
        mark.write_bytes(before if older == "behind" else bytes(len(before)))
    with contextlib.closing(Journal(tmp_path, writes=True)) as journal:
        assert journal.runs() == ["run-2", "run-1"]
    assert b'"events": 16' in mark.read_bytes(), "a run that begins makes it good"


@pytest.mark.parametrize("content", [b"[]\n", b'{"events": "9"}\n', b"\xff\n", b'{"events": 9}', b"[" * 3000])
def test_a_mark_that_nobody_wrote_is_noticed(tmp_path: Path, content: bytes) -> None:
    written(tmp_path)
    (tmp_path / "journal.mark").write_bytes(content)
    with pytest.raises(DamagedError):
        Journal(tmp_path)


def test_whoever_reads_beside_a_run_never_takes_it_for_damage(tmp_path: Path) -> None:
    """The mark and the journal are two files, and between the two a reader may come."""
    events = story("run-1", generate())
    stop = threading.Event()

    def write() -> None:
        with contextlib.closing(Journal(tmp_path, writes=True)) as journal:
            number = 0
            while not stop.is_set():
                number += 1
                journal.append(f"run-{number}", events[0])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            Journal(tmp_path).close()
    finally:
        stop.set()
        writer.join()
    assert Journal(tmp_path).faults() == []


# -- a journal that an older hivekeys wrote


def of_schema_1(folder: Path, *began: float) -> list[str]:
    """A journal as the first schema had it: run-1, run-2 … that began then, by the clock; the runs, newest first."""
    base = sqlite3.connect(folder / "journal.db", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA user_version=1")
    base.execute(
        "CREATE TABLE events (run TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, facts TEXT NOT NULL, "
        "hash TEXT NOT NULL, PRIMARY KEY (run, number)) WITHOUT ROWID, STRICT"
    )
    for number, at in enumerate(began, 1):
        with tempfile.TemporaryDirectory() as elsewhere:
            written(Path(elsewhere), f"run-{number}", at)
            rows = Journal(Path(elsewhere)).rows(f"run-{number}")
        values = [(f"run-{number}", row.number, row.kind, row.facts, row.hash) for row in rows]
        base.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", values)
    base.close()
    return [f"run-{number}" for _, number in sorted(((at, number) for number, at in enumerate(began, 1)), reverse=True)]


def test_it_names_the_tokens_that_leaked_and_the_run_that_revoked_each(tmp_path: Path) -> None:
    leaked, another = (generate().fingerprint(KEY) for _ in range(2))
    with contextlib.closing(Journal(tmp_path)) as journal:
        journal.append("run-1", *story("run-1", generate()))
        journal.append("run-2", RunStarted("run-2", "lab", "ann@bastion", "leak", ("queen",), (), (), moment(10)))
        journal.append("run-2", TokensRevoked((leaked, another), moment(11)))
        assert journal.tombstones() == {leaked: "run-2", another: "run-2"}


def test_whoever_only_reads_a_journal_of_the_first_schema_leaves_it_as_it_is(tmp_path: Path) -> None:
    """A run of the older hivekeys may be at work on it."""
    runs = of_schema_1(tmp_path, 500, 0, 1000)
    before = (tmp_path / "journal.db").read_bytes()
    with contextlib.closing(Journal(tmp_path)) as journal:
        assert journal.runs() == runs == ["run-3", "run-1", "run-2"]
        assert fold(journal.events("run-1")).code is ExitCode.ROLLED_BACK
        assert journal.tombstones() == {}
        assert journal.faults() == []
    assert (tmp_path / "journal.db").read_bytes() == before


def test_the_first_run_takes_a_journal_of_the_first_schema_over_in_the_clocks_order(tmp_path: Path) -> None:
    runs = of_schema_1(tmp_path, 500, 0, 1000)
    rows = {run: Journal(tmp_path).rows(run) for run in runs}
    Journal(tmp_path, writes=True).close()
    written(tmp_path, "run-4", began=-DAY)
    with contextlib.closing(Journal(tmp_path)) as journal:
        assert journal.runs() == ["run-4", *runs], "from now on by the order in which they begin"
        assert {run: journal.rows(run) for run in runs} == rows, "evidence of them is what it was"
        assert journal.faults() == []


def of_schema_2(folder: Path, *leaked: Fingerprint) -> None:
    """A journal as the second schema had it, with one revocation, and the names that its events had then."""
    base = sqlite3.connect(folder / "journal.db", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA user_version=2")
    base.execute(tables.EVENTS.replace("main.", ""))
    base.execute(tables.ABOUT.replace("main.", ""))
    base.execute("CREATE INDEX first_events ON events (place) WHERE number = 1")
    base.execute("CREATE INDEX of_few ON events (kind, place) WHERE kind IN ('Claimed', 'TokensRevoked', 'RunStarted')")
    began = RunStarted("run-1", "lab", "ann@bastion", "leak", ("queen",), (), (), moment(10))
    told: list[tuple[str, Event]] = [
        ("RunStarted", began),
        ("TokensRevoked", TokensRevoked(leaked, moment(11))),
        ("Again", Retried(2, ("queen",), moment(12))),
    ]
    before = head = ""
    for number, (kind, event) in enumerate(told, 1):
        facts = json.dumps(TypeAdapter(type(event)).dump_python(event, mode="json"), sort_keys=True)
        before = link(before, "run-1", number, kind, facts)
        head = head_after(head, number, before)
        base.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (number, "run-1", number, kind, facts, before, head)
        )
    base.close()


@pytest.mark.parametrize("writes", [False, True])
def test_a_journal_of_the_second_schema_tells_which_tokens_leaked(tmp_path: Path, writes: bool) -> None:
    leaked = generate().fingerprint(KEY)
    of_schema_2(tmp_path, leaked)
    with contextlib.closing(Journal(tmp_path, writes=writes)) as journal:
        assert journal.tombstones() == {leaked: "run-1"}
        assert fold(journal.events("run-1")).attempt == 2
        assert journal.faults() == []


def test_once_it_was_written_to_it_is_asked_by_an_index_and_refused_by_the_hivekeys_before(tmp_path: Path) -> None:
    """Which would not find what is revoked from now on."""
    of_schema_2(tmp_path, generate().fingerprint(KEY))
    Journal(tmp_path, writes=True).close()
    base = sqlite3.connect(tmp_path / "journal.db")
    asked = f"WHERE {tables.IS_OF_FEW} AND kind IN ('TokensRevoked')"
    plan = base.execute(f"EXPLAIN QUERY PLAN SELECT run FROM events {asked}").fetchall()  # noqa: S608  our own words
    assert "of_few" in str(plan)
    assert base.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    base.close()


def test_a_journal_that_was_taken_over_is_refused_by_the_hivekeys_before(tmp_path: Path) -> None:
    """It would write events that have no place."""
    of_schema_1(tmp_path, 0)
    Journal(tmp_path, writes=True).close()
    base = sqlite3.connect(tmp_path / "journal.db")
    assert base.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
    assert SCHEMA > 1
    base.close()


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    written(tmp_path)
    for path in tmp_path.iterdir():
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
        Journal(tmp_path, as_it_is=True).events("run-1")


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


def test_a_journal_that_a_stopped_run_locks_is_refused_with_the_run_and_its_process(tmp_path: Path) -> None:
    """A run that was stopped (Ctrl-Z, a debugger) or whose disk hangs, in the middle of a transaction."""
    written(tmp_path)
    with subprocess.Popen([sys.executable, "-c", STOPPED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"another run works on fleet .*run-9.* pid {other.pid}, since") as refused:
            Journal(tmp_path, writes=True)
        other.kill()
    assert refused.value.code is ExitCode.LOCKED


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
    journal._base.execute(f"PRAGMA max_page_count={pages + 4}")  # room for two of them
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
