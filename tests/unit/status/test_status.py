"""`fab status`: what is said of a fleet, from what hosts showed and what the journal knows."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from hivekeys.errors import ExitCode
from hivekeys.fleet import CLIENT_SERVICE, Fleet, Host, Role
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import CensusTaken
from hivekeys.journal.run import Run
from hivekeys.protocol.audited import Use
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.seen import NO_UNIT, HostRecord, LoadedToken, Place, Seen, Slot
from hivekeys.status.status import FleetStatus, document, lines, status_of, table
from hivekeys.token import Fingerprint
from hivekeys.verify.findings import Record
from tests.builders.documents import valid
from tests.builders.observations import DAY, HIVE, NOW, QUEEN, SEEN, TOKEN
from tests.builders.replies import reply_of

OTHER = Fingerprint(keyed="cd" * 32, fp6="cdcdcd")
AWAY = Cause(Trouble.NO_CONNECTION, "no answer in time")
FLEET = Fleet("paper", (QUEEN, HIVE))
OLDER = replace(SEEN, active=Slot(OTHER, modified=NOW - DAY), loaded=LoadedToken(OTHER, "younger"))


def status(hive: Seen | Cause, record: Record | None = None, queen: Seen = SEEN) -> FleetStatus:
    shown = {QUEEN: reply_of(queen), HIVE: hive if isinstance(hive, Cause) else reply_of(hive)}
    return status_of(FLEET, shown, record or Record({}), (), NOW)


def test_a_fleet_whose_hosts_agree_is_fine_and_the_next_rotation_has_a_day() -> None:
    shown = status(SEEN)
    assert (shown.agrees, shown.code) == (True, ExitCode.DONE)
    assert lines(shown) == ["all 2 hosts hold token:abcdef", "next rotation due in 89 d 0 h, on 2027-04-14"]


def test_a_client_without_a_unit_is_fine_where_its_file_holds_the_token() -> None:
    client = Host("ci", Role.CLIENT, "ci.test", service=CLIENT_SERVICE)
    alone = replace(SEEN, unit=replace(SEEN.unit, load=NO_UNIT, state="", pid=0), loaded=LoadedToken(TOKEN, "file"))
    fleet = Fleet("paper", (QUEEN, client))
    shown = status_of(fleet, {QUEEN: reply_of(SEEN), client: reply_of(alone)}, Record({}), (), NOW)
    assert (shown.agrees, shown.code) == (True, ExitCode.DONE)
    assert [host["service"] for host in document(shown)["hosts"]] == ["active", None]
    text = io.StringIO()
    Console(file=text, width=120).print(table(shown))
    assert "no unit" in text.getvalue()


def test_an_old_token_is_overdue_since_the_day_it_became_so() -> None:
    old = replace(SEEN, active=Slot(TOKEN, modified=NOW - 92 * DAY))
    assert lines(status(old))[-1] == "rotation overdue for 2 d 0 h, since 2027-01-13"


def test_a_file_that_was_touched_is_as_old_as_the_journal_says() -> None:
    shown = status(SEEN, Record({TOKEN.keyed: NOW - 80 * DAY}))
    assert lines(shown)[-1] == "next rotation due in 10 d 0 h, on 2027-01-25"


def test_hosts_that_hold_different_tokens_are_named_with_them() -> None:
    shown = status(OLDER)
    assert (shown.agrees, shown.code) == (False, ExitCode.INCOMPLETE)
    assert lines(shown)[0] == "not all hosts are seen to hold one token: token:abcdef on queen; token:cdcdcd on hive1"


def test_a_host_on_a_token_that_leaked_is_not_fine_and_says_so() -> None:
    leaked = replace(SEEN, active=Slot(TOKEN, modified=NOW - DAY, revoked="paper-2"))
    shown = status(leaked, Record({}, "paper-2", OTHER))
    assert shown.code is ExitCode.INCOMPLETE
    assert lines(shown)[0] == "hive1 holds a token that leaked (run paper-2 revoked it): fab reconcile --fleet paper"
    assert [host["revoked_by"] for host in document(shown)["hosts"]] == [None, "paper-2"]

    assert lines(status(leaked))[0].endswith(": fab rotate --fleet paper"), (
        "no journal here: there is nothing to reconcile"
    )


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (("paper-1", "paper-2"), []),
        (
            ("paper-1",),
            ["queen, hive1: a newer run paper-2 of bob@b2 worked here, which this bastion's journal does not have"],
        ),
        (None, []),
    ],
    ids=["all of them", "not the newest", "it cannot be asked"],
)
def test_hosts_bear_witness_to_a_run_that_the_journal_does_not_have(
    known: tuple[str, ...] | None, said: list[str]
) -> None:
    """Whoever can write in the state folder can cut journal and mark, and does not reach the hosts."""
    met = HostRecord(changed=Place(2, "paper-2", "bob@b2"))
    shown = {host: reply_of(SEEN, met) for host in (QUEEN, HIVE)}
    runs = None if known is None else [Run(id=name) for name in known]
    found = status_of(FLEET, shown, Record({}), runs, NOW)
    assert [line.partition(": another")[0] for line in lines(found) if "worked here" in line] == said
    assert [host["strange_run"] for host in document(found)["hosts"]] == ["paper-2" if said else None] * 2
    assert found.code is ExitCode.DONE, "another bastion may have been at work: that is no fault"


def overlapping(*uses: Use, unread: tuple[tuple[str, str], ...] = ()) -> FleetStatus:
    """Two tokens are accepted; the hosts' records name these uses of the old one."""
    shown = {host: reply_of(SEEN) for host in (QUEEN, HIVE)}
    return status_of(FLEET, shown, Record({}), (), NOW, CensusTaken(uses, unread, False, Moment(NOW, 0.0)))


def test_while_two_tokens_are_accepted_it_says_who_uses_the_old_one() -> None:
    use = Use("hive1", "rbee-hive", "1a2b3c", "/v1/x", "10.0.0.9", True, 7, NOW)
    found = overlapping(use)
    (line,) = (line for line in lines(found) if "10.0.0.9" in line)
    assert "hive1: 10.0.0.9 called /v1/x of rbee-hive with token:1a2b3c, was accepted 7 times" in line
    assert valid(document(found))["old_token"]["uses"][0]["address"] == "10.0.0.9"
    assert not [line for line in lines(found) if line.startswith("nobody")]


def test_that_nobody_uses_it_is_said_of_the_hosts_whose_records_were_read() -> None:
    found = overlapping(unread=(("hive1", "the time was up"),))
    said = "nobody has used the old token in the last hour, by the records of queen"
    assert [line for line in lines(found) if line.startswith("nobody")] == [said]
    assert "no audit records could be read on hive1: the time was up" in lines(found)
    nowhere = overlapping(unread=(("queen", "no answer"), ("hive1", "no answer")))
    assert not [line for line in lines(nowhere) if line.startswith("nobody")]


def test_without_an_overlap_nothing_is_said_of_an_old_token() -> None:
    assert document(owing(BOBS, BOBS))["old_token"] is None


BOBS = Place(9, "paper-9", "bob@b2")


def owing(*changed: Place, fleet: Fleet = FLEET, epoch: int = 4) -> FleetStatus:
    """The journal says that hive1 owes token OTHER; the hosts, queen first, were changed by these runs last."""
    shown = {host: reply_of(SEEN, HostRecord(changed=place)) for host, place in zip(fleet.hosts, changed, strict=True)}
    record = Record({OTHER.keyed: NOW - 3 * DAY}, "paper-1", OTHER, ("hive1",), epoch=epoch)
    return status_of(fleet, shown, record, [Run(id="paper-1", epoch=epoch)], NOW)


def test_nobody_owes_an_older_token_once_another_bastions_newer_run_was_here() -> None:
    """Both hosts hold the newest token, which that run brought: the code is 0, and not 4 for ever."""
    found = owing(BOBS, BOBS)
    assert (found.newer, found.code) == (BOBS, ExitCode.DONE)
    assert [one.owes_for for one in found.hosts] == [None, None]
    assert document(found)["newer_run"] == {"run": "paper-9", "who": "bob@b2"}
    assert [one.last_run for one in found.hosts] == ["paper-9", "paper-9"]


def test_an_older_run_of_another_bastion_takes_no_debt_away() -> None:
    found = owing(Place(2, "paper-0"), Place(2, "paper-0"))
    assert (found.newer, found.hosts[1].owes_for) == (None, 3 * DAY)
    assert "queen, hive1: last changed by run paper-0, which this bastion's journal does not have" in lines(found)[0]


def test_what_one_hive_says_of_a_newer_run_counts_for_that_hive_alone() -> None:
    hives = (HIVE, replace(HIVE, name="hive2"))
    fleet = Fleet("paper", (QUEEN, *hives))
    found = owing(Place(4, "paper-1"), Place(4, "paper-1"), BOBS, fleet=fleet)
    assert (found.newer, found.hosts[1].owes_for) == (None, 3 * DAY)
    assert owing(Place(4, "paper-1"), BOBS).hosts[1].owes_for is None, "it is its own row"


def test_a_host_that_no_run_has_changed_yet_bears_no_witness() -> None:
    shown = {host: reply_of(SEEN, HostRecord()) for host in (QUEEN, HIVE)}
    assert not [line for line in lines(status_of(FLEET, shown, Record({}), (), NOW)) if "last changed" in line]


def test_a_host_that_is_away_keeps_its_row_its_cause_and_what_it_owes() -> None:
    shown = status(AWAY, Record({TOKEN.keyed: NOW - 3 * DAY}, "paper-1", TOKEN, ("hive1",)))
    hive = valid(document(shown))["hosts"][1]
    assert (hive["reachable"], hive["cause"]["trouble"], hive["owes_for"]) == (False, "no-connection", 3 * DAY)
    assert lines(shown)[0].startswith("hive1: no-connection: no answer in time\n  hint: ")
    assert "not seen: hive1" in lines(shown)[1]
    assert shown.code is ExitCode.INCOMPLETE


def test_two_names_of_one_machine_are_not_fine_whatever_it_shows() -> None:
    met = HostRecord(machine="a" * 64)
    shown = {host: reply_of(SEEN, met) for host in (QUEEN, HIVE)}
    said = status_of(FLEET, shown, Record({}), (), NOW)
    assert said.code is ExitCode.INCOMPLETE
    assert lines(said)[0].startswith("queen: same-machine: the name hive1 leads here too\n  hint: correct `address`")
    beside = replace(HIVE, beside=QUEEN.name)
    there = {QUEEN: shown[QUEEN], beside: shown[HIVE]}
    assert status_of(replace(FLEET, hosts=(QUEEN, beside)), there, Record({}), (), NOW).code is ExitCode.DONE


def test_a_debt_that_was_paid_without_this_bastion_is_no_debt() -> None:
    shown = status(SEEN, Record({TOKEN.keyed: NOW - 3 * DAY}, "paper-1", TOKEN, ("hive1",)))
    assert (document(shown)["hosts"][1]["owes_for"], shown.code) == (None, ExitCode.DONE)


@pytest.mark.parametrize(
    ("hive", "loaded"),
    [
        (replace(SEEN, loaded=LoadedToken(OTHER, "credential")), "credential: cdcdcd"),
        (replace(SEEN, loaded=LoadedToken(None, "older")), "file, changed since"),
        (replace(SEEN, loaded=LoadedToken(None, "none")), "–"),
        (replace(SEEN, unit=replace(SEEN.unit, state="failed", sub="failed")), "credential"),
    ],
    ids=["credential of another token", "file changed since", "cannot be told", "service failed"],
)
def test_a_host_whose_service_may_use_another_token_is_not_fine(hive: Seen, loaded: str) -> None:
    shown = status(hive)
    one = document(shown)["hosts"][1]
    assert (one["fine"], one["loaded"], shown.code) == (False, loaded, ExitCode.INCOMPLETE)


def test_a_host_without_a_token_is_named() -> None:
    bare = replace(SEEN, active=None, loaded=LoadedToken(None, "none"))
    assert "no token on hive1" in lines(status(bare))[0]


def test_the_table_has_one_row_a_host() -> None:
    told = io.StringIO()
    Console(file=told, width=80).print(table(status(AWAY)))
    rows = [" ".join(line.split()) for line in told.getvalue().splitlines()]
    assert "queen active 1 min 0 s abcdef 1 d 0 h credential – –" in rows
    assert "hive1 not seen – – – – – –" in rows


def test_a_narrow_terminal_has_fewer_columns_and_every_name_whole() -> None:
    long = replace(HIVE, name="gpu-rack-07-node-12")
    shown = status_of(replace(FLEET, hosts=(QUEEN, long)), {QUEEN: reply_of(SEEN), long: AWAY}, Record({}), (), NOW)
    for width, columns in ((60, 6), (200, 8)):
        printed = io.StringIO()
        found = table(shown, width=width)
        Console(file=printed, width=width).print(found)
        assert len(found.columns) <= columns
        assert "…" not in printed.getvalue()
        row = next(line for line in printed.getvalue().splitlines() if long.name in line)
        assert "not seen" in row
    assert len(found.columns) == 8
