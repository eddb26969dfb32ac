"""Rotations of services that accept two tokens: accept everywhere, use everywhere, drop everywhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import Phase, PhaseStarted, State
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.report.picture import picture
from hivekeys.report.timeline import timeline
from hivekeys.service import Accepts, Apply
from hivekeys.token import Token
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.inprocess import InProcessFleet, SimulatedHost

POLICY = Policy(batch=Amount(100, percent=True), revocation_recheck=0.0)
WAYS: dict[str, dict[str, Any]] = {
    f"{accepts.value}-{apply.value}": {"accepts": accepts, "apply": apply}
    for accepts in (Accepts.LINES, Accepts.PAIR)
    for apply in (Apply.RESTART, Apply.RELOAD, Apply.WATCH)
    if (accepts, apply) != (Accepts.PAIR, Apply.WATCH)
}
in_each_way = pytest.mark.parametrize("service", WAYS.values(), ids=WAYS)
RELOADS = WAYS["lines-reload"]
COURSE = ["accept", "use", "settle", "drop", "retire"]


def fleet_of(folder: Path, service: Mapping[str, Any] = RELOADS, policy: Policy = POLICY) -> InProcessFleet:
    return InProcessFleet(folder, service=service, policy=policy)


def phases(ann: Operator) -> list[str]:
    """The phases in which services change, in order, each once."""
    begun = [event.phase.value for event in ann.events if isinstance(event, PhaseStarted)]
    return [phase for phase in dict.fromkeys(begun) if phase not in ("look", "claim", "stage")]


def everybody_takes(fleet: InProcessFleet, *tokens: Token) -> list[str]:
    """The hosts that refuse one of these tokens. One that restarts just now refuses none."""
    hosts = {name: host for name, host in fleet.hosts.items() if host.process}
    return [name for name, host in hosts.items() if not all(host.accepts(token) for token in tokens)]


def watched(fleet: InProcessFleet, ann: Operator) -> list[str]:
    """What clients with the old token, and later with the new one, would have seen at each verb of each host.

    They change over when every host uses the new one, as the settled pass shows.
    """
    refused: list[str] = []

    def on_request(host: SimulatedHost, request: dict[str, Any]) -> None:
        if not ann.events:
            return
        late = any(isinstance(event, PhaseStarted) and event.phase is Phase.DROP for event in ann.events)
        token = ann.token if late else fleet.token
        refused.extend(f"{name} in {ann.run.phase}" for name in everybody_takes(fleet, token))

    fleet.on_request = on_request
    return refused


@in_each_way
def test_every_host_accepts_both_before_any_uses_the_new_one(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service)
    ann = Operator(fleet)
    refused = watched(fleet, ann)
    assert ann.rotate() is ExitCode.DONE
    assert phases(ann) == COURSE
    assert set(ann.states.values()) == {State.PROVEN}
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert not slots_used(fleet)
    assert refused == []


@in_each_way
def test_afterwards_the_next_rotation_goes_the_same_way(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service)
    assert Operator(fleet).rotate() is ExitCode.DONE
    bob = Operator(fleet, run="run-2")
    assert bob.rotate() is ExitCode.DONE
    assert phases(bob) == COURSE
    assert everybody_takes(fleet, bob.token) == []


def test_the_list_has_the_token_to_present_first(tmp_path: Path) -> None:
    fleet, ann = fleet_of(tmp_path), None
    ann = Operator(fleet)
    lists: dict[str, list[str]] = {}

    def note(host: SimulatedHost) -> None:
        lists[str(ann.run.phase)] = host.listed()

    for nth in range(1, 20):
        fleet.at("hive2", "prove", note, nth=nth, when="before")
    assert ann.rotate() is ExitCode.DONE
    old, new = fleet.token.reveal(), ann.token.reveal()
    assert lists[str(Phase.ACCEPT)] == [old, new]
    assert lists[str(Phase.USE)] == lists[str(Phase.SETTLE)] == [new, old]
    assert lists[str(Phase.DROP)] == [new]


@pytest.mark.parametrize("service", [{"accepts": Accepts.ONE}, {"accepts": Accepts.LINES}], ids=["one", "mixed"])
def test_where_one_service_accepts_one_token_the_usual_way_is_gone(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, {"apply": Apply.RELOAD, **service})
    host = fleet.inventory.hosts[-1]
    object.__setattr__(host.service, "accepts", Accepts.ONE)
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert phases(ann) == ["queen", "canary", "wave", "settle", "retire"]
    assert set(serving(fleet, ann.token).values()) == {"new"}


@in_each_way
def test_a_revocation_leaves_no_host_that_accepts_the_leaked_token(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service)
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert not set(phases(ann)) & {"accept", "use", "drop"}


# -- what fails


@in_each_way
@pytest.mark.parametrize("verb", ["accept", "swap"])
def test_a_host_that_fails_before_the_drop_takes_all_back(tmp_path: Path, service: dict[str, Any], verb: str) -> None:
    fleet = fleet_of(tmp_path, service)
    fleet.at("hive2", verb, breaks("read-only"))
    ann = Operator(fleet)
    refused = watched(fleet, ann)
    assert ann.rotate() in (ExitCode.ROLLED_BACK, ExitCode.INCOMPLETE)
    for host in fleet.hosts.values():
        host.fault = None
    if ann.run.code is ExitCode.INCOMPLETE:
        assert Operator(fleet, past=ann.run).roll_back() in (ExitCode.ROLLED_BACK, ExitCode.DONE)
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert not slots_used(fleet)
    assert not any(ann.token.reveal() in host.listed() for host in fleet.hosts.values())
    assert refused == []


def test_services_that_take_one_token_after_all_are_turned_in_the_usual_way(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    for host in fleet.hosts.values():
        host.ignores_second = True
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert ann.run.fell_back == "not two tokens at a time on queen, as the inventory says"
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert not slots_used(fleet)


def test_one_hive_alone_that_takes_one_token_is_a_failed_host(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    fleet.hosts["hive2"].ignores_second = True
    ann = Operator(fleet)
    refused = watched(fleet, ann)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ann.troubles["hive2"] is Trouble.TAKES_ONE
    assert not ann.run.fell_back
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert refused == []


def test_a_service_that_never_drops_the_old_token_is_named_and_the_others_are_proven(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    fleet.hosts["hive2"].never_drops = True
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.INCOMPLETE
    assert ann.troubles == {"hive2": Trouble.OLD_ACCEPTED}
    assert {name for name, state in ann.states.items() if state is State.PROVEN} == {"queen", "hive1", "hive3"}
    assert ann.run.debts == ("hive2",)
    fleet.hosts["hive2"].never_drops = False
    bob = Operator(fleet, past=ann.run)
    assert bob.reconcile() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert not slots_used(fleet)


def test_a_client_that_still_uses_the_old_token_keeps_it_accepted(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    ann = Operator(fleet, census=True)
    used = fleet.hosts["hive1"]
    fleet.at("hive1", "audit", lambda host: used.writes(fleet.token, after=3.0))
    assert ann.rotate() is ExitCode.INCOMPLETE
    assert ann.run.is_held
    assert set(ann.states.values()) == {State.BOTH}
    assert set(serving(fleet, ann.token).values()) == {"both"}
    bob = Operator(fleet, past=ann.run, census=True, retire_anyway=True)
    assert bob.reconcile() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_a_list_with_a_strangers_token_is_left_alone(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    stranger = Token("s" * 64)
    path = fleet.hosts["hive1"].root / fleet.inventory.hives[0].service.accepted.lstrip("/")
    path.write_text(f"{fleet.token.reveal()}\n# of the other team\n{stranger.reveal()}\n")
    ann = Operator(fleet)
    assert not ann.look()
    assert ann.troubles == {"hive1": Trouble.TOKEN_UNSAFE}


def test_a_host_that_calls_a_strangers_token_leaked_speaks_for_its_own_list_alone(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    stranger = Token("s" * 64)
    for name in ("hive1", "hive2"):
        path = fleet.hosts[name].root / fleet.inventory.hives[0].service.accepted.lstrip("/")
        path.write_text(f"{fleet.token.reveal()}\n{stranger.reveal()}\n")

    def lies(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        for result in answer["results"]:
            if accepted := result["facts"].get("accepted"):
                accepted["revoked"] = [True, True]
        return answer

    fleet.hosts["hive1"].lies = lies
    ann = Operator(fleet)
    assert not ann.look()
    assert ann.troubles == {"hive2": Trouble.TOKEN_UNSAFE}


# -- cut off, and taken up again


@in_each_way
@pytest.mark.parametrize("phase", [Phase.ACCEPT, Phase.USE, Phase.DROP], ids=lambda phase: phase.value)
@pytest.mark.parametrize("then", ["resume", "roll_back"])
def test_a_run_that_was_interrupted_goes_on_or_back(
    tmp_path: Path, service: dict[str, Any], phase: Phase, then: str
) -> None:
    fleet = fleet_of(tmp_path, service)
    ann = Operator(fleet)
    for nth in range(1, 8):
        fleet.at("hive1", "prove", lambda _: ann.runner.interrupt() if ann.run.phase is phase else None, nth=nth)
    assert ann.rotate() is ExitCode.INTERRUPTED
    bob = Operator(fleet, past=ann.run)
    refused = watched(fleet, bob)
    bob.token = ann.token
    if then == "resume":
        assert bob.resume(lambda: pytest.fail("a second token")) is ExitCode.DONE
    elif phase is Phase.DROP:
        return  # past the point of no return
    else:
        assert bob.roll_back() is ExitCode.DONE
    want = "new" if then == "resume" else "old"
    assert set(serving(fleet, ann.token).values()) == {want}
    assert not slots_used(fleet)
    assert refused == [] or phase is Phase.DROP


@in_each_way
def test_on_the_way_back_every_host_accepts_what_any_other_presents(tmp_path: Path, service: dict[str, Any]) -> None:
    """All use the old token again before any drops the new one: hosts call each other, too."""
    fleet = fleet_of(tmp_path, service)
    ann = Operator(fleet, stops_in=Phase.SETTLE)
    assert ann.rotate() is ExitCode.INTERRUPTED
    bob = Operator(fleet, past=ann.run)
    refused: list[str] = []

    def on_request(_: SimulatedHost, __: dict[str, Any]) -> None:
        presented = {host.process.token for host in fleet.hosts.values() if host.process and host.process.token}
        refused.extend(name for token in presented for name in everybody_takes(fleet, Token(token)))

    fleet.on_request = on_request
    assert bob.roll_back() is ExitCode.DONE
    assert refused == []
    assert phases(bob) == ["reuse", "rollback"]
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert not slots_used(fleet)


def test_the_picture_of_passes_says_what_is_done_in_each(tmp_path: Path) -> None:
    ann = Operator(fleet_of(tmp_path))
    assert ann.rotate() is ExitCode.DONE
    drawn = picture(timeline(ann.events), ann.run)
    assert drawn is not None
    words = dict(drawn.legend)
    assert words["turn"].startswith("accept, use, drop: ")
    assert "swap" not in " ".join(words.values())
