"""What the verbs make of the journal: which run is the newest, and what is done when the journal is not whole."""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from hivekeys.errors import ExitCode
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import RunEnded, RunStarted, TokensRevoked
from hivekeys.journal.fold import fold
from hivekeys.journal.past import tombstones
from hivekeys.journal.run import REVOKE
from hivekeys.journal.state_folder import fingerprint_key, hold_lock
from hivekeys.journal.store import Journal
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.token import key_name
from tests.builders.fab import Fab, refusing, state_of
from tests.builders.recorded import OLD, Teller, fleet_of

DAY = 86400.0


@pytest.fixture
def fab(tmp_path: Path) -> Iterator[Fab]:
    with refusing(tmp_path) as fab:
        yield fab


def told(
    fab: Fab,
    run: str,
    task: str = "rotate",
    *,
    away: float = 0.0,
    cut_off: bool = False,
    ill: Mapping[str, Cause] = MappingProxyType({}),
) -> Teller:
    """A run in the fleet's journal, under a clock that was so many seconds ahead; `ill`: hosts that failed."""
    teller = Teller(fleet_of(2), run, away=away, ill=ill)
    if task == "revoke":
        teller.revoke()
    elif cut_off:
        teller.before()
    else:
        teller.whole()
    fingerprint_key(state_of(fab))
    with contextlib.closing(Journal(state_of(fab))) as journal:
        journal.append(run, *teller.events)
    return teller


# -- a clock that was wrong


@pytest.fixture
def after_a_wrong_clock(fab: Fab) -> Fab:
    """paper-1 ran through under a clock that was a day ahead; then paper-2 was killed (issue 15, 3.3)."""
    told(fab, "paper-1", away=DAY)
    told(fab, "paper-2", cut_off=True)
    return fab


def test_the_last_run_is_the_later_one_whatever_the_clock_said(after_a_wrong_clock: Fab) -> None:
    last = after_a_wrong_clock("status", "--run", "last", "--json")
    assert last.code == 0, last
    assert json.loads(last.out)["run"] == "paper-2"
    listed = json.loads(after_a_wrong_clock("history", "--json").out)["runs"]
    assert [run["run"] for run in listed] == ["paper-2", "paper-1"]
    assert "run paper-2: cut off in phase stage" in after_a_wrong_clock("status").out


def test_a_rotation_does_not_begin_on_top_of_the_later_run(after_a_wrong_clock: Fab) -> None:
    for words in (("rotate", "--yes"), ("reconcile",)):
        answer = after_a_wrong_clock(*words)
        assert answer.code == 2
        assert "run paper-2" in answer.err and "was cut off" in answer.err


@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_resume_and_rollback_mean_the_later_run(after_a_wrong_clock: Fab, verb: str) -> None:
    """No host answers, so it stays where it is; what counts is which run was taken up."""
    answer = after_a_wrong_clock(verb, "--json")
    assert json.loads(answer.out)["run"] == "paper-2"
    assert answer.code == 4


# -- --limit @failed


def shown(fab: Fab, *words: str) -> list[str]:
    """The hosts that a look at them is for."""
    document = json.loads(fab("plan", "--json", *words).out)
    return [host["host"] for host in document["hosts"] if host["state"] != "left out" and host["cause"]]


def test_the_hosts_that_did_not_come_through_can_be_named_together(fab: Fab) -> None:
    told(fab, "paper-1", ill={"hive2": Cause(Trouble.START_FAILED, "")})
    assert shown(fab, "--limit", "@failed") == ["hive2"]
    assert shown(fab, "--limit", "queen, @failed") == ["queen", "hive2"]
    assert shown(fab, "--exclude", "@failed") == ["queen", "hive1"]


def test_no_host_is_meant_where_none_failed(fab: Fab) -> None:
    told(fab, "paper-1", ill={"hive2": Cause(Trouble.START_FAILED, "")})
    told(fab, "paper-2")
    answer = fab("plan", "--limit", "@failed")
    assert answer.code == 2
    assert "--limit @failed: no host of run paper-2 failed, and none owes it anything" in answer.err
    assert "fab status --fleet paper --run paper-2" in answer.err or "fab status --run paper-2" in answer.err


def test_no_host_is_meant_where_there_was_no_run(fab: Fab) -> None:
    answer = fab("plan", "--exclude", "@failed")
    assert answer.code == 2
    assert "--exclude @failed: there was no run over fleet paper from this bastion" in answer.err


def test_a_failed_host_that_is_gone_from_the_inventory_is_not_meant(fab: Fab) -> None:
    told(fab, "paper-1", ill={"hive2": Cause(Trouble.START_FAILED, "")})
    file = fab.folder / "inventory" / "paper.toml"
    file.write_text(file.read_text().replace("hive[1:2]", "hive[1:1]").replace("[2:3]", "2"))
    answer = fab("plan", "--limit", "@failed")
    assert answer.code == 2 and "no host of run paper-1 is left in the inventory" in answer.err


# -- a journal that is not whole


def cut_tail(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as base:
        base.execute("DELETE FROM events WHERE place > 20")


def cut_to_nothing(folder: Path) -> None:
    (folder / "journal.db").write_bytes(b"")


def no_database(folder: Path) -> None:
    """One damaged byte is enough."""
    with (folder / "journal.db").open("r+b") as file:
        file.write(b"s")


def changed_event(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "journal.db", isolation_level=None)) as base:
        base.execute("UPDATE events SET facts = facts || ' ' WHERE place = 3")


def lost_key(folder: Path) -> None:
    (folder / "fingerprint.key").unlink()


def cut_key(folder: Path) -> None:
    (folder / "fingerprint.key").write_bytes(b"k" * 7)


def other_key(folder: Path) -> None:
    (folder / "fingerprint.key").write_bytes(b"o" * 32)


DAMAGES: dict[Callable[[Path], None], str] = {
    cut_tail: "it ends with event 20, and by its mark there were ",
    cut_to_nothing: "it is empty, and by its mark there were ",
    no_database: "cannot be used: file is not a database",
    changed_event: "the events of run paper-1 are not whole at number 3",
    lost_key: "fingerprint.key: is lost, and the journal has runs that know their tokens by it",
    cut_key: "fingerprint.key: has 7 bytes, not 32",
    other_key: "fingerprint.key: is not the key that the journal was written with",
}
damaged = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


def journal_with_an_open_run(fab: Fab) -> Path:
    """One run, killed while it staged; written with the fleet's key, as a run notes it."""
    told(fab, "paper-1", cut_off=True)
    folder = state_of(fab)
    with contextlib.closing(Journal(folder, writes=True)) as journal:
        journal.note_key(key_name(fingerprint_key(folder)))
    return folder


def kept(folder: Path) -> dict[str, bytes]:
    """What lies there, but for the lock and the head of the database, where a first write is tried."""
    return {path.name: path.read_bytes()[path.suffix == ".db" and 100 :] for path in folder.glob("[fj]*")}


@damaged
def test_no_run_goes_on_from_a_damaged_journal_and_the_reason_is_one_sentence(
    fab: Fab, damage: Callable[[Path], None]
) -> None:
    """With the key lost, `resume` turned into a rollback that could never succeed (issue 15, 3.7)."""
    folder = journal_with_an_open_run(fab)
    damage(folder)
    before = kept(folder)
    for words in (("rotate", "--yes"), ("resume",)):
        answer = fab(*words)
        assert (answer.code, answer.out) == (2, ""), answer
        assert DAMAGES[damage] in answer.err
        assert "hint: nothing was touched; put a copy of the state folder back" in answer.err
    assert kept(folder) == before, "no key was made, and nothing was written"


@damaged
def test_history_says_what_is_missing_and_lists_what_is_left(fab: Fab, damage: Callable[[Path], None]) -> None:
    folder = journal_with_an_open_run(fab)
    told(fab, "paper-2")
    damage(folder)
    answer = fab("history", "--json")
    assert answer.code == 2
    assert DAMAGES[damage] in answer.err
    document = json.loads(answer.out)
    assert any(DAMAGES[damage] in fault for fault in document["faults"])
    runs = [run["run"] for run in document["runs"]]
    whole = {"cut_tail": ["paper-1"], "cut_to_nothing": [], "no_database": [], "changed_event": ["paper-2"]}
    assert runs == whole.get(damage.__name__, ["paper-2", "paper-1"]), "a run whose chain is whole is listed"


@damaged
def test_a_revocation_goes_on_beside_what_is_damaged_and_keeps_it(fab: Fab, damage: Callable[[Path], None]) -> None:
    """What leaked cannot wait for a copy of the journal. No host answers here: what counts is that they were asked."""
    folder = journal_with_an_open_run(fab)
    with contextlib.closing(Journal(folder)) as journal:
        begun = RunStarted("paper-9", "paper", "ann", "leaked", (), (), (), Moment(0.0, 0.0), REVOKE)
        journal.append(
            "paper-9", begun, TokensRevoked((OLD,), Moment(0.0, 1.0)), RunEnded(ExitCode.DONE, Moment(0.0, 2.0))
        )
    damage(folder)
    answer = fab("revoke", "--yes", "--reason", "seen in a gist", "--attempts", "1")
    assert answer.code == 4
    assert "queen: unreachable" in answer.err
    if damage is changed_event:
        return  # an old run's, which a revocation need not read
    assert "hivekeys: warning: " in answer.err and DAMAGES[damage] in answer.err
    (aside,) = folder.glob("journal.damaged-*.db")
    assert f"goes on with a new journal; the old one is kept as {aside}" in answer.err
    with contextlib.closing(Journal(folder)) as journal:
        assert len(journal.runs()) == 1
        assert fold(journal.events(journal.runs()[0])).reason == "seen in a gist"
    if damage not in (cut_tail, cut_to_nothing):
        assert tombstones(folder).keys() == {OLD}


def test_a_revocation_that_was_cut_off_is_no_damage(fab: Fab) -> None:
    """A journal that is whole says that it is open: the next one takes its place, in the same journal."""
    folder = journal_with_an_open_run(fab)
    with contextlib.closing(Journal(folder)) as journal:
        teller = Teller(fleet_of(2), "paper-2")
        journal.append("paper-2", *teller.revoke()[:-1])
    assert fab("revoke", "--yes", "--reason", "again", "--attempts", "1").code == 4
    assert not list(folder.glob("journal.damaged-*"))
    with contextlib.closing(Journal(folder)) as journal:
        assert fold(journal.events("paper-2")).superseded_by == journal.runs()[0]


def test_the_hosts_can_be_looked_at_though_the_journal_is_not_whole(fab: Fab) -> None:
    """Which of them owe a token is not known then, so the code is never 0."""
    folder = journal_with_an_open_run(fab)
    cut_tail(folder)
    answer = fab("status")
    assert answer.code == 4
    assert "warning: " in answer.err and DAMAGES[cut_tail] in answer.err and "queen" in answer.out


@damaged
def test_a_damaged_journal_can_be_put_aside_and_a_rotation_begins_anew(
    fab: Fab, damage: Callable[[Path], None]
) -> None:
    folder = journal_with_an_open_run(fab)
    damage(folder)
    answer = fab("history", "--set-aside")
    assert answer.code == 0
    assert DAMAGES[damage] in answer.err and "put aside as " in answer.err
    assert list(folder.glob("journal.damaged-*.db"))
    answer = fab("rotate", "--yes")
    assert answer.code == 3 and "unreachable: no-connection" in answer.err, answer
    assert fab("history").code == 0


def test_a_journal_that_is_whole_is_not_put_aside(fab: Fab) -> None:
    journal_with_an_open_run(fab)
    answer = fab("history", "--set-aside")
    assert answer.code == 2 and "the journal of fleet paper is whole: it stays" in answer.err
    assert "paper-1" in answer.out


def test_a_journal_is_not_put_aside_under_a_run_that_is_at_work(fab: Fab) -> None:
    folder = journal_with_an_open_run(fab)
    cut_tail(folder)
    with hold_lock(folder, "paper", "paper-1", "the yearly one"):
        answer = fab("history", "--set-aside")
    assert answer.code == 5 and "another run works on fleet paper" in answer.err
    assert not list(folder.glob("journal.damaged-*"))
