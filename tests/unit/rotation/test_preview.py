"""What `--dry-run` says of each host: by which steps it would come to which token, or why by none."""

from dataclasses import replace

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.journal.hostrun import HostRun
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.rotation.preview import Foreseen, brought, document, foreseen, table
from hivekeys.token import Token
from tests.builders.printed import printed
from tests.builders.seen import seen

OLD, NEW = (Token(letter * 64).fingerprint(b"k") for letter in "ab")
HIVE = HostRun("hive1", was=OLD, now=OLD, seen=seen(OLD, staged=NEW), touched=True)
AWAY = HostRun("hive2", cause=Cause(Trouble.NO_CONNECTION, "timed out"))


def words(host: Foreseen) -> str:
    return " ".join(verb.value for verb in host.steps)


def test_a_token_that_is_yet_to_be_made_comes_to_every_host_by_the_same_steps() -> None:
    assert foreseen([HIVE], None) == [Foreseen("hive1", OLD, None, brought(HIVE_SERVICE))]
    assert words(foreseen([HIVE], None)[0]) == "stage swap restart prove retire"


def test_a_token_that_is_there_comes_by_what_is_left_to_do() -> None:
    (host,) = foreseen([HIVE], NEW)
    assert (host.now, host.then, words(host)) == (OLD, NEW, "swap restart prove retire")


def test_a_host_that_is_there_is_proven_all_the_same() -> None:
    there = replace(HIVE, now=NEW, seen=seen(NEW))
    assert words(foreseen([there], NEW)[0]) == "prove"
    untidy = replace(there, seen=seen(NEW, previous=OLD))
    assert words(foreseen([untidy], NEW)[0]) == "prove retire"


def test_on_the_way_back_each_host_comes_to_its_own_token() -> None:
    turned = replace(HIVE, now=NEW, seen=seen(NEW, previous=OLD))
    (host,) = foreseen([turned], NEW, goes_back=True)
    assert (host.then, words(host)) == (OLD, "revert restart prove retire")


def test_a_host_that_the_run_has_not_touched_stays_as_it_is() -> None:
    why = "the run has not touched it"
    for host in (replace(HIVE, touched=False), replace(HIVE, was=None)):
        assert foreseen([host], NEW, goes_back=True) == [Foreseen("hive1", OLD, OLD, why=why)]
    assert foreseen([replace(HIVE, touched=False)], NEW)[0].why == "", "forward it is told what it needs"


def test_a_host_that_cannot_be_seen_or_has_failed_is_named_with_the_reason() -> None:
    assert foreseen([AWAY], NEW)[0].why == str(AWAY.cause)
    assert foreseen([HostRun("hive3")], NEW)[0].why == "its state was not reported"
    ill = replace(HIVE, cause=Cause(Trouble.UNIT_MISSING))
    assert foreseen([ill], NEW) == [Foreseen("hive1", OLD, OLD, why=str(ill.cause))]


def test_table_and_document_say_the_same() -> None:
    hosts = [*foreseen([HIVE], NEW), *foreseen([HIVE], None), *foreseen([AWAY], NEW)]
    lines = [line.split("  ") for line in printed(table(hosts, "would")).splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines if line and "hive" in line[0]]
    assert rows == [
        ["hive1", str(OLD), str(NEW), "swap restart prove retire"],
        ["hive1", str(OLD), "a new one", "stage swap restart prove retire"],
        ["hive2", "–", "–", str(AWAY.cause)],
    ]
    rows_of = document(hosts)
    assert rows_of[0] == {
        "host": "hive1",
        "now": OLD.fp6,
        "then": NEW.fp6,
        "steps": ["swap", "restart", "prove", "retire"],
        "why": None,
    }
    assert [host["then"] for host in rows_of] == [NEW.fp6, None, None]
    assert rows_of[2]["why"] == str(AWAY.cause)
    assert rows_of[2]["now"] is None
