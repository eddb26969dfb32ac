"""Our own proofs in the services' records, which v0.1.0 writes without an address: told from those of clients."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.host.own_calls import CLOCK, MOST_CALLS, Explained, sound
from hivekeys.host.state import STATE
from hivekeys.journal.events import CensusTaken
from hivekeys.journal.run import REVOKE
from hivekeys.token import Token
from tests.builders.operator import Operator, slots_used
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost

UNKNOWN = "0.0.0.0"  # noqa: S104  the address in a record of v0.1.0


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """Services that write every call to their trail, as v0.1.0 does."""
    found = InProcessFleet(tmp_path, hives=2, policy=Policy(revocation_recheck=0.0))
    for host in found.hosts.values():
        host.is_audited = host.records_calls = True
    return found


def census(operator: Operator) -> CensusTaken:
    (found,) = (event for event in operator.events if isinstance(event, CensusTaken))
    return found


def fp6(token: Token) -> str:
    return token.fingerprint(KEY).fp6


def audited(host: SimulatedHost, **query: Any) -> dict[str, Any]:
    """What `fab audit` is told, in a session of its own."""
    session = Session(host, write=False, run="audit")
    result = session.do("audit", **query)
    assert result["ok"], result
    return dict(result["facts"])


def late(host: SimulatedHost, token: Token, **how: Any) -> None:
    """Somebody's call with this token, long after all hosts had turned."""
    host.writes(token, after=60.0, **{"path": host.protected, **how})


def settles_late(fleet: InProcessFleet) -> None:
    """All hosts are proven once more a minute after they had turned: that is no gap of the fleet's own any more."""
    for name in fleet.hosts:
        fleet.at(name, "prove", lambda host: setattr(host, "ahead", 60.0), nth=3)


def test_our_own_proofs_are_no_clients_of_the_old_token(fleet: InProcessFleet) -> None:
    settles_late(fleet)
    operator = Operator(fleet, census=True)
    assert operator.rotate() is ExitCode.DONE
    assert (census(operator).uses, census(operator).unread) == ((), ())
    assert report.census_lines(operator.runner.run) == []


def test_a_revocation_that_asks_every_place_finds_no_client_but_clients(fleet: InProcessFleet) -> None:
    for name in fleet.hosts:
        fleet.at(name, "prove", lambda host: setattr(host, "ahead", 60.0), nth=2)
    fleet.at("hive2", "audit", lambda host: late(host, fleet.token, ok=False, address=UNKNOWN))
    operator = Operator(fleet, task=REVOKE, census=True)
    assert operator.revoke() is ExitCode.DONE
    assert [(use.host, use.count, use.ok) for use in census(operator).uses] == [("hive2", 1, False)]


def test_a_caller_whose_address_is_not_recorded_is_called_that(fleet: InProcessFleet) -> None:
    fleet.at("hive2", "audit", lambda host: late(host, fleet.token, ok=False, address=UNKNOWN))
    operator = Operator(fleet, census=True)
    operator.rotate()
    (_, line) = report.census_lines(operator.runner.run)
    assert "hive2: a caller whose address is not recorded called /v1/workers/list of rbee-hive.service" in line
    assert UNKNOWN not in line
    assert "None" not in line


def test_a_thief_at_the_very_moment_of_a_proof_is_not_explained_away(fleet: InProcessFleet) -> None:
    """As many records as we made calls are ours; his is one more, whichever of them it is."""
    hive = fleet.hosts["hive1"]
    fleet.at("hive1", "prove", lambda host: host.writes(fleet.token, ok=False, path=host.protected, address=UNKNOWN))
    Operator(fleet, census=True).rotate()
    rows = [row for row in audited(hive)["groups"] if row["token"] == fp6(fleet.token) and not row["ok"]]
    assert [row["count"] for row in rows] == [1]


@pytest.mark.parametrize(
    "how",
    [
        {"address": "10.0.0.9", "ok": False},  # from elsewhere, for certain
        {"address": UNKNOWN, "ok": True},  # we were refused, he was let in
        {"address": UNKNOWN, "ok": False, "path": "/v1/work"},  # a path that we did not ask
    ],
)
def test_what_was_not_our_call_in_every_point_is_somebody_elses(fleet: InProcessFleet, how: dict[str, Any]) -> None:
    hive = fleet.hosts["hive1"]
    Operator(fleet).rotate()
    began = time.time()
    hive.writes(fleet.token, **{"path": hive.protected, **how})
    rows = [row for row in audited(hive, since=None)["groups"] if row["token"] == fp6(fleet.token)]
    alike = [row for row in rows if row["ok"] is how["ok"] and row["path"] == how.get("path", hive.protected)]
    assert [row["count"] for row in alike if row["last"] > began] == [1]


def test_an_audit_of_later_knows_the_calls_of_every_run_before(fleet: InProcessFleet) -> None:
    hive = fleet.hosts["hive1"]
    Operator(fleet).rotate()
    found = audited(hive)
    ours = [row for row in found["groups"] if row["token"] == fp6(fleet.token) and not row["ok"]]
    assert ours == []
    assert found["own"] > 0
    kept = json.loads((hive.root / STATE / "calls").read_text())
    assert fleet.token.reveal() not in str(kept)


def test_a_session_that_only_looks_writes_nothing_down(fleet: InProcessFleet) -> None:
    hive = fleet.hosts["hive1"]
    Session(hive, write=False).do("prove")
    assert not (hive.root / STATE).exists()


def test_a_disk_that_is_full_costs_the_run_nothing(fleet: InProcessFleet) -> None:
    hive = fleet.hosts["hive1"]
    session = Session(hive)
    hive.fault = "var-full"
    assert session.do("prove")["ok"]
    assert not (hive.root / STATE / "calls").exists()
    hive.fault = None
    session.do("prove")
    assert len(json.loads((hive.root / STATE / "calls").read_text())) == 6, (
        "what could not be kept is kept with the next"
    )


def test_a_service_beside_another_has_its_calls_in_the_same_trail(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=1, policy=Policy(revocation_recheck=0.0), beside={"hive1": "queen"})
    for host in fleet.hosts.values():
        host.is_audited = host.records_calls = True
    settles_late(fleet)
    operator = Operator(fleet, census=True)
    assert operator.rotate() is ExitCode.DONE
    assert census(operator).uses == ()
    assert slots_used(fleet) == []


def test_what_is_kept_is_bounded_and_what_is_none_is_left_out(fleet: InProcessFleet) -> None:
    hive = fleet.hosts["hive1"]
    session = Session(hive)
    many = [[1.0, 2.0, "abcdef", "/x", 401]] * (MOST_CALLS + 5)
    (hive.root / STATE / "calls").write_text(json.dumps([*many, "x", [1], [1.0, 2.0, "abcdef", None, 401]]))
    session.do("prove")
    kept = sound((hive.root / STATE / "calls").read_text())
    assert len(kept) == MOST_CALLS
    assert kept[-1][2] == fp6(fleet.token)
    assert sound("[[[[") == sound("7") == []


NOW = 1_700_000_000.0


def foreign(calls: list[tuple[float, float]], records: list[float]) -> list[float]:
    """The times of the records that none of the calls, from then until then, explains."""
    found = Explained([[NOW + begun, NOW + answered, "abcdef", "/x", 401] for begun, answered in calls], ("::1",))
    named = [(NOW + at, ("hive", False, "abcdef", "/x?y", ""), "a @ 0") for at in records]
    left = found.others([record for record in named if found.may_be(record[0], *record[1][1:])])
    none = [at for at, key, _ in named if not found.may_be(at, *key[1:])]
    return sorted(round(at - NOW, 3) for at in [*none, *(at for at, _, _ in left)])


def test_a_call_explains_one_record_at_its_own_time() -> None:
    """A second before it began, to a second after it was answered: the clocks of record and call need not agree."""
    assert foreign([(0.0, 0.2)], [-1.1, 1.3]) == [-1.1, 1.3]
    assert foreign([(0.0, 0.2), (0.0, 0.2)], [0.0, 0.1, 0.2]) == [0.2]


@pytest.mark.parametrize("at", [-0.9, 0.0, 0.2, 1.1])
def test_within_a_second_of_the_call_it_is_ours(at: float) -> None:
    assert foreign([(0.0, 0.2)], [at]) == []


@pytest.mark.parametrize(
    ("address", "ours"), [("", True), (UNKNOWN, True), ("::1", True), ("127.8.0.1", True), ("10.0.0.9", False)]
)
def test_a_call_of_ours_comes_from_the_host_or_from_where_nobody_says(address: str, ours: bool) -> None:
    found = Explained([[NOW, NOW + 0.2, "abcdef", "/x", 200]], ("::1",))
    assert found.may_be(NOW, True, "abcdef", "/x", address) is ours


def test_of_two_callers_at_one_call_the_nearer_is_ours() -> None:
    assert foreign([(0.0, 0.01)], [-0.5, 0.015]) == [-0.5]
    assert foreign([(0.0, 0.01)], [0.005, 0.7]) == [0.7]


def test_records_that_are_written_late_are_all_ours() -> None:
    """Each lies nearer to the call behind its own: the last one would be left over."""
    calls = [(at / 10, at / 10 + 0.01) for at in range(20)]
    assert foreign(calls, [answered + 0.06 for _, answered in calls]) == []
    assert foreign(calls, [begun - 0.97 for begun, _ in calls]) == []


def test_calls_that_are_noted_together_explain_as_many_records() -> None:
    found = Explained([[NOW, NOW + 20.0, "abcdef", "/x", 200, 200], [NOW + 20.1, NOW + 21.0, "abcdef", "/x", 200]], ())
    key = ("hive", True, "abcdef", "/x", "")
    records = [(NOW + at / 10, key, "a @ 0") for at in range(210)]
    assert len(found.others(records)) == 9
    assert found.others(records[:3]) == records[:3], "a call explains nothing another time"


@given(
    calls=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8)), max_size=7),
    records=st.lists(st.integers(0, 80), max_size=7),
)
def test_as_many_records_are_ours_as_there_can_be(calls: list[tuple[int, int]], records: list[int]) -> None:
    times = [(begun / 10, (begun + lasted) / 10) for begun, lasted in calls]

    def most(number: int, free: frozenset[int]) -> int:
        """By trying all."""
        if number == len(records):
            return 0
        at = records[number] / 10 + 0.03  # on no border
        near = [call for call in free if times[call][0] - CLOCK <= at <= times[call][1] + CLOCK]
        return max([most(number + 1, free), *(1 + most(number + 1, free - {call}) for call in near)])

    left = foreign(times, [record / 10 + 0.03 for record in records])
    assert len(records) - len(left) == most(0, frozenset(range(len(times))))
