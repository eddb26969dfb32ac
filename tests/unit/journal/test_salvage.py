"""A damaged journal is put aside; what leaked stays known, as far as the damage lets it be read."""

import contextlib
import json
import random
import sqlite3
from pathlib import Path

import pytest

from hivekeys.errors import DamagedError, UserError
from hivekeys.journal import salvage
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Phase, RunStarted, Stopped, TokensRevoked
from hivekeys.journal.run import REVOKE
from hivekeys.journal.store import KINDS, Journal
from hivekeys.token import Fingerprint, generate

NOW = Moment(1_700_000_000.0, 5.0)
KEY = b"k" * 32


def revocations(folder: Path, runs: int = 20, tokens: int = 3) -> dict[Fingerprint, str]:
    """A journal in which so many runs revoked so many tokens each, among much else; what they revoked."""
    gone: dict[Fingerprint, str] = {}
    with contextlib.closing(Journal(folder)) as journal:
        for number in range(runs):
            run = f"paper-{number:08x}"
            leaked = tuple(generate().fingerprint(KEY) for _ in range(tokens))
            talk = [Stopped(Phase.LOOK, "nobody answers " * 20, NOW)] * 5
            begun = RunStarted(run, "paper", "ann", "leaked", (), (), (), NOW, REVOKE)
            journal.append(run, begun, *talk, TokensRevoked(leaked, NOW), *talk)
            gone |= dict.fromkeys(leaked, run)
    return gone


def damaged(folder: Path, place: int, content: bytes) -> None:
    journal = folder / "journal.db"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:place] + content + whole[place + len(content) :])


def test_what_is_put_aside_is_kept_whole_under_a_name_that_says_so(tmp_path: Path) -> None:
    revocations(tmp_path)
    before = (tmp_path / "journal.db").read_bytes()
    aside = salvage.set_aside(tmp_path, 1_795_900_000.0)
    assert aside.name == "journal.damaged-20261128T210640Z.db"
    assert aside.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "journal.damaged-20261128T210640Z.db",
        "journal.damaged-20261128T210640Z.mark",
        "journal.damaged-20261128T210640Z.tombstones",
    ]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
    assert Journal(tmp_path, writes=True).runs() == [], "and a new one begins"


def test_two_of_one_second_lie_side_by_side(tmp_path: Path) -> None:
    found = set()
    for _ in range(3):
        revocations(tmp_path, runs=1)
        found.add(salvage.set_aside(tmp_path, 0.0).name)
    assert len(found) == 3
    assert len(salvage.tombstones(tmp_path)) == 9


@pytest.mark.parametrize("seed", range(20))
def test_of_a_damaged_byte_or_page_anywhere_at_most_what_it_hit_is_lost(tmp_path: Path, seed: int) -> None:
    gone = revocations(tmp_path)
    chance = random.Random(seed)  # noqa: S311  damage, not a secret
    size = (tmp_path / "journal.db").stat().st_size
    hit = 1 if seed % 2 else 4096
    damaged(tmp_path, chance.randrange(0, size - hit), chance.randbytes(hit))
    salvage.set_aside(tmp_path, 0.0)
    left = salvage.tombstones(tmp_path)
    most = 3 if hit == 1 else 12  # an event, or those of a page and of the next one's beginning
    assert len(gone.keys() - left.keys()) <= most
    assert left.keys() <= gone.keys()


@pytest.mark.parametrize("tokens", [1, 500], ids=["one", "on many pages"])
def test_no_tombstone_is_lost_with_the_head_of_the_file(tmp_path: Path, tokens: int) -> None:
    """Then it is no database any more. Of a list that goes over many pages, one may be torn at each page's edge."""
    gone = revocations(tmp_path, runs=3, tokens=tokens)
    damaged(tmp_path, 0, bytes(100))
    with pytest.raises(DamagedError):
        Journal(tmp_path)
    salvage.set_aside(tmp_path, 0.0)
    left = salvage.tombstones(tmp_path)
    assert left.keys() <= gone.keys()
    assert len(left) >= len(gone) * (1.0 if tokens == 1 else 0.9)
    assert set(left.values()) == {"journal.damaged-19700101T000000Z"}, "nobody can say any more which run it was"


def test_what_only_the_log_beside_the_journal_has_is_read_too(tmp_path: Path) -> None:
    """A run that was killed leaves its newest events there."""
    gone = revocations(tmp_path, runs=1)
    reader = sqlite3.connect(tmp_path / "journal.db")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM events").fetchone()  # so that nothing is moved from the log into the journal
    with contextlib.closing(Journal(tmp_path)) as journal:
        leaked = generate().fingerprint(KEY)
        journal.append("paper-9", TokensRevoked((leaked,), NOW))
        assert (tmp_path / "journal.db-wal").stat().st_size
        damaged(tmp_path, 0, bytes(100))
        salvage.set_aside(tmp_path, 0.0)
    reader.close()
    assert salvage.tombstones(tmp_path).keys() == {*gone, leaked}


def test_whoever_revoked_is_said_where_it_can_be_read_and_never_in_words_that_hosts_refuse(tmp_path: Path) -> None:
    gone = revocations(tmp_path, runs=2, tokens=1)
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as base:
        base.execute("UPDATE events SET run = 'no name at all' WHERE run = 'paper-00000000'")
    salvage.set_aside(tmp_path, 0.0)
    (first, _), (second, by) = gone.items()
    assert salvage.tombstones(tmp_path) == {first: "journal.damaged-19700101T000000Z", second: by}


def test_no_other_token_of_the_journal_becomes_a_tombstone(tmp_path: Path) -> None:
    """Least of all the one that the fleet serves."""
    with contextlib.closing(Journal(tmp_path)) as journal:
        keyed = generate().fingerprint(KEY)
        text = json.dumps({"fingerprints": [{"fp6": keyed.fp6, "keyed": keyed.keyed}]})
        journal.append("paper-1", Stopped(Phase.LOOK, text, NOW))
    damaged(tmp_path, 0, bytes(100))
    salvage.set_aside(tmp_path, 0.0)
    assert salvage.tombstones(tmp_path) == {}


def test_no_other_event_has_a_list_of_fingerprints() -> None:
    """By that alone a tombstone is told from a token that is served, where the rest of the event is lost."""

    def lists(schema: object) -> bool:
        if isinstance(schema, list):
            return any(map(lists, schema))
        if not isinstance(schema, dict):
            return False
        items = schema.get("items") or schema.get("prefixItems")
        return "#/$defs/Fingerprint" in json.dumps(items or "") or any(map(lists, schema.values()))

    assert {name for name, kind in KINDS.items() if lists(kind.json_schema())} == {"TokensRevoked", "Condemned"}


@pytest.mark.parametrize("size", [1, 31, 33])
def test_a_key_of_another_length_goes_with_the_journal_and_a_whole_one_stays(tmp_path: Path, size: int) -> None:
    (tmp_path / "fingerprint.key").write_bytes(b"k" * size)
    salvage.set_aside(tmp_path, 0.0)
    assert (tmp_path / "journal.damaged-19700101T000000Z.key").read_bytes() == b"k" * size
    (tmp_path / "fingerprint.key").write_bytes(KEY)
    salvage.set_aside(tmp_path, 0.0)
    assert (tmp_path / "fingerprint.key").read_bytes() == KEY


@pytest.mark.parametrize("content", ["", "{", "[1]", '[["x", "y", "z"]]', '{"a": 1}'])
def test_tombstones_that_cannot_be_read_are_never_none(tmp_path: Path, content: str) -> None:
    revocations(tmp_path)
    salvage.set_aside(tmp_path, 0.0)
    (tmp_path / "journal.damaged-19700101T000000Z.tombstones").write_text(content)
    with pytest.raises(UserError, match="is not what hivekeys writes"):
        salvage.tombstones(tmp_path)
