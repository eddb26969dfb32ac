"""The census of a fleet: who still has the old token, and what is said of what could not be read."""

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from hivekeys.audit import census_report
from hivekeys.audit.census import TICK, Census, Tokens, census_of, known_tokens, replaced_at, uses_of
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.audited import Call, Time
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.seen import Slot
from hivekeys.tasks.options.times import count, fp6, moment
from hivekeys.token import Fingerprint
from tests.builders.census import NEW, OLD, READ, TOKENS, census, group
from tests.builders.observations import HIVE, NOW, QUEEN, SEEN, TOKEN
from tests.builders.replies import reply_of

AWAY = Cause(Trouble.NO_CONNECTION, "port 22")


def test_calls_of_the_fleet_itself_while_it_turned_are_no_forgotten_clients() -> None:
    found = census(group(last=NOW - 99), group(address="10.0.0.8", last=NOW - 10))
    assert [row.address for row in found.forgotten] == ["10.0.0.8"]
    assert "while hosts had different tokens, 2 calls with the old token were refused, and none later" in said(found)
    assert census(group(last=NOW - 99, ok=True)).gap == [], "a call that was let in is never explained away"


@pytest.mark.parametrize("address", ["::1", ""])
def test_garbage_from_our_own_proofs_takes_one_row(address: str) -> None:
    groups = [group(token=f"{number:06x}", address=address, after=0) for number in range(9)]
    console = Console(width=200)
    with console.capture() as told:
        console.print(census_report.tally_table(census(*groups, group(token="abc123", address="10.0.0.1"))))
    rows = [line.split() for line in told.get().splitlines() if "hive1" in line]
    assert [(row[2], row[-5]) for row in rows] == [("others", "45"), ("abc123", "5")]


PROD = Fleet("prod", ())


def said(census: Census) -> str:
    return "\n".join(census_report.lines(census, PROD))


def test_a_client_with_the_old_token_is_named_with_host_path_and_time() -> None:
    found = census(group(), group(token=NEW, ok=True, last=NOW))
    told = "hive1: 10.0.0.9 calls /v1/workers/list of rbee-hive with token:0ddba1, refused 2 times"
    assert f"{told}, last 2027-01-15 07:59:50Z" in said(found)
    assert found.rows[0].token == OLD, "the row that an operator looks for stands first"


def test_calls_from_before_the_replacement_are_no_forgotten_clients() -> None:
    found = census(group(after=0))
    assert found.forgotten == []
    assert "no client presented the old token after it was replaced" in said(found)


def test_our_own_proof_is_told_from_a_client() -> None:
    found = census(group(address="127.0.0.1", last=NOW), group())
    assert [row.is_local for row in found.forgotten] == [False, True]
    assert "hivekeys' own proofs are such calls" in said(found)
    let_in = census(group(address="127.0.0.1", ok=True))
    assert "own proofs" not in said(let_in), "a proof with the old token is never let in"


def test_what_was_let_in_and_what_was_refused_share_a_row() -> None:
    (row,) = census(group(ok=True, count=4, after=1, first=NOW - 50, last=NOW - 40), group()).rows
    assert (row.ok, row.failed, row.ok_after, row.failed_after) == (4, 5, 1, 2)
    assert (row.first, row.last) == (NOW - 900, NOW - 10)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({}, ExitCode.DONE, "3 calls in 10 records of 1 hosts (1.0 MiB read)"),
        ({"cut": "the time was up"}, ExitCode.INCOMPLETE, "hive1: cut after 1 MiB: the time was up"),
        ({"unread": ("2026.audit: no",)}, ExitCode.INCOMPLETE, "hive1: not read: 2026.audit: no"),
        ({"breaks": ("x.audit, line 3: no",)}, ExitCode.DONE, "hive1: audit chain broken: x.audit, line 3: no"),
        ({"broken": 2, "places": ("x.audit @ 7",)}, ExitCode.DONE, "2 lines are no records, the first at x.audit @ 7"),
        ({"folded": 9}, ExitCode.DONE, "9 calls are counted without path and address"),
        ({"on": False}, ExitCode.DONE, "no audit trail is written (LLORCH_AUDIT_MODE is not local): hive1"),
        ({"found": False}, ExitCode.DONE, "there are no records in /var/log/llama-orch/audit"),
        (
            {"chain_cut": "the time was up"},
            ExitCode.DONE,
            "followed for 10 records, newest first, then the time was up",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_was_not_seen_is_said_and_counts(changes: dict[str, Any], code: ExitCode, words: str) -> None:
    found = census(audited=replace(READ, **changes))
    assert found.code is code
    assert words in said(found)


def test_a_host_that_cannot_be_read_is_listed_with_its_cause() -> None:
    found = census_of("prod", TOKENS, {HIVE: reply_of(SEEN), QUEEN: AWAY}, {HIVE: reply_of(READ)}, NOW)
    assert found.code is ExitCode.INCOMPLETE
    assert "queen: no-connection: port 22\n  hint: check that the host is up" in said(found)
    assert [host["cause"] and host["cause"]["trouble"] for host in census_report.document(found, PROD)["hosts"]] == [
        *(None, "no-connection"),
    ]


def test_a_clock_that_is_off_is_named() -> None:
    found = census_of("prod", TOKENS, {HIVE: reply_of(SEEN)}, {HIVE: reply_of(READ)}, NOW + 90)
    assert "hive1: its clock is 90 s behind this machine's" in said(found)


def test_what_hosts_wrote_is_neither_markup_nor_a_second_line() -> None:
    hostile = group(path="/[red]x\x1b[31m\nhive9: fine", ok=True)
    found = census(hostile, audited=replace(READ, newest=(Call("[b]", True, OLD, "/[red]\n", "a", NOW, "x\ny"),)))
    console = Console(width=200)
    with console.capture() as told:
        console.print(census_report.tally_table(found))
        console.print(census_report.newest_table(found, 10))
    assert "/[red]x" in told.get()
    assert "\x1b" not in told.get()
    assert not any(line.strip().startswith("hive9") for line in (told.get() + said(found)).splitlines())


def test_what_may_hold_a_token_back_is_named_and_bounded() -> None:
    """What was let in, whoever it was; what was refused only if it is neither our proof nor the fleet's own gap."""
    groups = (
        group(ok=True, address="127.0.0.1", path="/cron"),
        group(address="127.0.0.1"),
        group(last=NOW - 99),
        group(address="10.0.0.8", last=NOW - 1),
        group(token=NEW, ok=True),
        group(ok=True, after=0),
    )
    reply = reply_of(replace(READ, groups=groups))
    uses = uses_of("hive1", reply, (OLD,), turned=NOW - 100)
    assert [(use.path, use.address, use.ok) for use in uses] == [
        ("/cron", "127.0.0.1", True),
        ("/v1/workers/list", "10.0.0.8", False),
    ]
    many = reply_of(replace(READ, groups=tuple(group(path=f"/{n}", last=NOW + n) for n in range(99))))
    assert [use.path for use in uses_of("hive1", many, (OLD,), NOW - 100)] == [f"/{n}" for n in range(98, 78, -1)]
    assert uses_of("hive1", AWAY, (OLD,), NOW) == []


def was(keyed: str, short: str) -> Fingerprint:
    return Fingerprint(keyed * 32, short)


def test_the_previous_token_is_known_by_the_hosts_and_by_the_journal() -> None:
    slots = replace(SEEN, previous=Slot(was("cd", "111111")))
    run = Run(want=TOKEN, hosts={"hive1": HostRun("hive1", was=was("ef", "222222"), seen=SEEN)})
    looks: dict[Any, Any] = {HIVE: reply_of(slots), QUEEN: AWAY}
    assert known_tokens(looks, run) == Tokens(frozenset({NEW}), frozenset({"111111", "222222"}))
    assert known_tokens({QUEEN: AWAY}, None) == Tokens()


def test_the_replacement_is_when_the_first_process_with_the_new_token_began() -> None:
    """A host that has restarted since: the journal knows better than the process of now."""
    then = replace(SEEN, unit=replace(SEEN.unit, started=NOW - 5000))
    run = Run(want=TOKEN, hosts={"hive1": HostRun("hive1", seen=then)})
    assert replaced_at(HIVE, reply_of(SEEN), run) == NOW - 5000 + TICK
    assert replaced_at(HIVE, reply_of(SEEN), None) == NOW - 60 + TICK
    assert replaced_at(HIVE, AWAY, None) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", None),
        ("2h", Time(7200.0, before_now=True)),
        ("3d", Time(259200.0, before_now=True)),
        ("2027-01-15T08:00:00Z", Time(NOW)),
        ("2027-01-15T08:00:00+00:00", Time(NOW)),
        ("2027-01-15T09:00:00+01:00", Time(NOW)),
        ("2027-01-15 08:00", Time(NOW)),
    ],
)
def test_a_time_is_an_age_or_iso_8601(text: str, meant: Time | None) -> None:
    assert moment("--since", text) == meant


@pytest.mark.parametrize("text", ["yesterday", "2w", "-1h", "2027-99-01", "1h30m"])
def test_another_time_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(UserError, match=r"--since: found .*, expected an age"):
        moment("--since", text)


def test_a_token_is_named_by_six_digits_and_a_whole_one_is_not_repeated() -> None:
    assert fp6("token:ABCDEF") == "abcdef"
    with pytest.raises(UserError) as refused:
        fp6("5e" * 32)
    assert "5e5e" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize("text", ["x", "-1", "1001", ""])
def test_a_count_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--records: found"):
        count("--records", text, 1000)
