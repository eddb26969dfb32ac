"""A metered rotation: each host's agent calls its service as clients do, and the run says what was refused."""

import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.host.verbs.meter import Meter
from hivekeys.journal.events import MeterRead, PhaseStarted
from hivekeys.journal.fold import fold
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.metered import Metered
from hivekeys.service import Accepts, Apply
from tests.builders.documents import valid
from tests.builders.operator import Operator, serving
from tests.inprocess import InProcessFleet, Session


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path / "hosts", hives=2, policy=Policy(stable_seconds=0.0))


class AtEachPhase:
    """Waits until every meter has counted some more: they keep real time, and a run on paper is over before."""

    def __init__(self, fleet: InProcessFleet) -> None:
        self.fleet = fleet

    def __call__(self, event: object) -> None:
        if isinstance(event, PhaseStarted):
            agents = [line.agent for host in self.fleet.hosts.values() for line in host.lines]
            meters = [agent.meter for agent in agents if agent.meter and not agent.meter.held]
            for meter, count in [(meter, meter.counts["requests"] + 2) for meter in meters]:
                until_counted(meter, count)


def test_a_rotation_of_services_with_one_token_says_what_it_refused(fleet: InProcessFleet) -> None:
    """Once the queen has turned, clients have the new token, and each hive refuses it until it turns, too."""
    operator = Operator(fleet, meters=True, on_event=AtEachPhase(fleet))

    assert operator.rotate() is ExitCode.DONE

    counted = operator.run.metered
    assert counted is not None
    assert counted.requests > 10
    hives = [operator.run.hosts[name].metered for name in ("hive1", "hive2")]
    assert all(hive is not None and hive.refused > 0 for hive in hives)
    assert f"{counted.refused:,} of {counted.requests:,} requests refused" in report.meter_lines(operator.run)[-1]
    assert valid(report.document(operator.run, fleet.inventory))["meter"]["refused"] == counted.refused


def test_one_that_may_refuse_no_request_goes_back_at_the_first(fleet: InProcessFleet) -> None:
    operator = Operator(fleet, no_refusal=True, on_event=AtEachPhase(fleet))

    assert operator.rotate() is ExitCode.ROLLED_BACK

    assert "requests were refused or broke (--no-refusal)" in operator.run.stopped
    assert set(serving(fleet, operator.token).values()) == {"old"}


def test_what_is_counted_is_the_same_when_the_journal_is_read_again(fleet: InProcessFleet) -> None:
    operator = Operator(fleet, meters=True, on_event=AtEachPhase(fleet))
    operator.rotate()

    assert fold(operator.events).metered == operator.run.metered


def test_without_it_no_call_is_made(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    operator.rotate()

    assert operator.run.metered is None
    assert not any(isinstance(event, MeterRead) for event in operator.events)
    assert "meter" not in {entry.verb for entry in fleet.log}
    assert report.meter_lines(operator.run) == []


@pytest.mark.parametrize("counts", [(-1, 0, 0), (1, 2, 0), (3, 2, 2)])
def test_a_host_cannot_say_that_more_was_refused_than_asked(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not a count"):
        Metered(*counts)


LIES: dict[str, tuple[dict[str, object], str]] = {
    "requests": ({"requests": 1_000_000, "refused": 0}, "it has counted 1000000 requests in"),
    "refused": ({"requests": 1_000_000, "refused": 999_999}, "it has counted 1000000 requests in"),
    "a pause": ({"pause": 86_400.0}, "no request was let in for 86400 s, and it was dialed"),
    "a pause before its time": ({"pause": -1.0}, "the agent's answer is malformed at"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_host_that_has_counted_what_it_cannot_have_fails_and_is_in_no_sum(fleet: InProcessFleet, what: str) -> None:
    """Ten calls a second are what a meter makes; the others' counts are as without it."""
    facts, why = LIES[what]

    def lie(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        for result in answer.get("results", []):
            if result["verb"] == "meter":
                result["facts"] |= facts
        return answer

    fleet.hosts["hive2"].lies = lie
    operator = Operator(fleet, meters=True, on_event=AtEachPhase(fleet))

    operator.rotate()

    cause = operator.run.hosts["hive2"].cause
    assert cause is not None
    assert (cause.trouble, why in cause.detail) == (Trouble.RUBBISH, True), cause.detail
    assert operator.run.hosts["hive2"].metered is None
    assert operator.run.metered is not None
    assert operator.run.metered.requests < 1_000


def test_the_line_names_hosts_and_the_longest_pause(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    operator.look()
    moment = operator.runner.recorder.now()
    for name, counted in (
        ("queen", Metered(20_000)),
        ("hive1", Metered(1_438, 3, 2, pause=2.54)),
        ("hive2", Metered(why="there is no path that needs a token, or no token to call with")),
    ):
        operator.runner.recorder.record(MeterRead(name, counted, moment))

    assert report.meter_lines(operator.run) == [
        "requests that were not let in: hive1: 3 refused and 2 broken",
        "not metered: hive2: no path in `protected` could be called",
        "3 of 21,438 requests refused, 2 broken; the longest pause 2.5 s on hive1",
    ]


def test_passes_refuse_none_and_the_meter_shows_it(tmp_path: Path) -> None:
    """Clients have the old token until every host uses the new one, and both are accepted by then."""
    service = {"accepts": Accepts.LINES, "apply": Apply.RELOAD}
    fleet = InProcessFleet(tmp_path, hives=2, policy=Policy(stable_seconds=0.0), service=service)
    operator = Operator(fleet, no_refusal=True, on_event=AtEachPhase(fleet))

    assert operator.rotate() is ExitCode.DONE

    counted = operator.run.metered
    assert counted is not None
    assert (counted.refused, counted.broken) == (0, 0)
    assert counted.requests > 20


def test_in_passes_its_calls_with_the_old_token_are_no_clients_of_the_census(tmp_path: Path) -> None:
    service = {"accepts": Accepts.LINES, "apply": Apply.RELOAD}
    fleet = InProcessFleet(tmp_path, hives=2, policy=Policy(stable_seconds=0.0), service=service)
    for host in fleet.hosts.values():
        host.is_audited = host.records_calls = True
    operator = Operator(fleet, meters=True, census=True, on_event=AtEachPhase(fleet))

    assert operator.rotate() is ExitCode.DONE, operator.run.census


def test_what_it_has_called_until_the_line_ends_is_noted(fleet: InProcessFleet) -> None:
    """Between the last request and the end of the run it has called on: an audit of later finds no client in that."""
    hive = fleet.hosts["hive1"]
    hive.is_audited = hive.records_calls = True
    session = Session(hive)
    session.do("meter")
    until_counted(session.line.agent.meter, 3)
    session.line.drop()

    found = Session(hive, write=False, run="audit").do("audit", since=None)["facts"]
    assert found["groups"] == []
    assert found["own"] >= 4


def until_counted(meter: Meter, count: int) -> None:
    end = time.monotonic() + 10
    while meter.counts["requests"] < count and time.monotonic() < end:
        Event().wait(0.02)


def test_no_call_is_lost_while_others_are_written_down(fleet: InProcessFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meter notes many calls as one; it began a new one just then."""
    monkeypatch.setattr("hivekeys.host.verbs.meter.SPAN", 0.0)  # each call by itself
    hive = fleet.hosts["hive1"]
    hive.is_audited = hive.records_calls = True
    session = Session(hive)
    session.do("meter")
    meter, state = session.line.agent.meter, session.line.agent.state
    keep = state.keep

    def slowly(name: str, text: str) -> None:
        until_counted(meter, meter.counts["requests"] + 3)
        keep(name, text)

    monkeypatch.setattr(state, "keep", slowly)
    session.do("prove")
    monkeypatch.setattr(state, "keep", keep)
    session.line.drop()

    assert Session(hive, write=False, run="audit").do("audit", since=None)["facts"]["groups"] == []
