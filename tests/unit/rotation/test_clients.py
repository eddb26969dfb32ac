"""Hosts that only present the token: turned last, undone first, proven by their file and their unit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import Phase, PhaseStarted, State
from hivekeys.journal.exposure import exposure_of
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.verbs import Verb
from hivekeys.report.incident import checklist
from hivekeys.report.page import page
from hivekeys.report.verdict import verdict
from hivekeys.report.words import exposure_lines, summary_lines
from hivekeys.service import Accepts, Apply, Drain, Hook
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.builders.restricted import GuardedDialer
from tests.inprocess import InProcessFleet, SimulatedHost

POLICY = Policy(batch=Amount(100, percent=True), revocation_recheck=0.0)
UNIT = "runner.service"
RELOADS = {"accepts": Accepts.LINES, "apply": Apply.RELOAD}
ONE: dict[str, Any] = {}
CLIENTS: dict[str, dict[str, Any]] = {
    "restarts": {"unit": UNIT},
    "reloads": {"unit": UNIT, "apply": Apply.RELOAD},
    "watches": {"unit": UNIT, "apply": Apply.WATCH},
    "alone": {},
}
CI = {"ci": {"unit": UNIT}}
with_one_or_two = pytest.mark.parametrize("service", [RELOADS, ONE], ids=["two", "one"])


def fleet_of(
    folder: Path,
    service: Mapping[str, Any] = RELOADS,
    clients: Mapping[str, Mapping[str, Any]] = CI,
    policy: Policy = POLICY,
) -> InProcessFleet:
    return InProcessFleet(folder, hives=2, service=service, policy=policy, clients=clients)


def begun(ann: Operator) -> list[tuple[str, tuple[str, ...]]]:
    """The phases in which hosts change, and their hosts."""
    started = [event for event in ann.events if isinstance(event, PhaseStarted)]
    return [(event.title, event.hosts) for event in started if event.phase.value not in ("look", "claim", "stage")]


def watch(fleet: InProcessFleet, ann: Operator) -> list[str]:
    """Each time that a client presented a token which a running service refused, at any request to any host."""
    refused: list[str] = []
    clients = [host for host in fleet.hosts.values() if host.host.service.is_client]
    services = [host for host in fleet.hosts.values() if not host.host.service.is_client]

    def on_request(_: SimulatedHost, __: dict[str, Any]) -> None:
        for client in clients:
            told = client.presented
            refusing = [host.name for host in services if host.process and told and not host.accepts(told)]
            refused.extend(f"{name} refused {client.name} in {ann.run.phase}" for name in refusing)

    fleet.on_request = on_request
    return refused


# -- forward


@with_one_or_two
def test_every_kind_of_client_is_turned_last_and_proven(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service, CLIENTS)
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert set(ann.states.values()) == {State.PROVEN}
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert not slots_used(fleet)


def test_where_services_accept_two_a_client_uses_the_new_token_once_every_service_accepts_it(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    ann = Operator(fleet)
    refused = watch(fleet, ann)
    assert ann.rotate() is ExitCode.DONE
    services, everybody = ("queen", "hive1", "hive2"), ("queen", "hive1", "hive2", "ci")
    titles = [title for title, hosts in begun(ann) if "ci" in hosts]
    assert titles == ["use, clients", "settle", "drop, settled", "retire"]
    assert dict(begun(ann))["accept, settled"] == services
    assert dict(begun(ann))["drop, settled"] == everybody
    assert refused == []


def test_with_one_token_at_a_time_clients_turn_when_queen_and_hives_have(tmp_path: Path) -> None:
    ann = Operator(fleet_of(tmp_path, ONE))
    assert ann.rotate() is ExitCode.DONE
    assert [title for title, _ in begun(ann)] == ["queen", "canary", "wave 1 of 1", "clients", "settle", "retire"]


def test_a_client_is_told_as_its_entry_says(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, clients=CLIENTS)
    assert Operator(fleet).rotate() is ExitCode.DONE
    moved = {name: {"restart", "notify"} & set(fleet.verbs(name)) for name in CLIENTS}
    assert moved == {"restarts": {"restart"}, "reloads": {"notify"}, "watches": set(), "alone": set()}
    assert not any("accept" in fleet.verbs(name) for name in CLIENTS)


def test_a_client_that_does_not_run_is_found_by_the_look(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    fleet.hosts["ci"].stop()
    ann = Operator(fleet)
    assert not ann.look()
    assert ann.troubles == {"ci": Trouble.START_FAILED}


def test_a_client_is_drained_before_its_restart(tmp_path: Path) -> None:
    drain = Drain(before=Hook(run=("/bin/true",)), after=Hook(run=("/bin/true",)))
    fleet = fleet_of(tmp_path, clients={"ci": {"unit": UNIT, "drain": drain}})
    assert Operator(fleet).rotate() is ExitCode.DONE
    verbs = fleet.verbs("ci")
    assert verbs.index("drain") < verbs.index("restart") < verbs.index("uncordon")


def test_a_host_that_does_not_accept_the_new_token_keeps_clients_on_the_old_one(tmp_path: Path) -> None:
    """One failure is allowed, and nothing may be refused all the same."""
    fleet = fleet_of(tmp_path, policy=Policy(batch=Amount(100, percent=True), canary=0, max_failures=Amount(1)))
    fleet.at("hive2", "accept", breaks("disk-full"))
    ann = Operator(fleet)
    refused = watch(fleet, ann)
    assert ann.rotate() is ExitCode.INCOMPLETE
    assert ann.states["ci"] is State.OWES
    assert fleet.hosts["ci"].presented == fleet.token.reveal()
    assert refused == []
    fleet.hosts["hive2"].fault = None
    bob = Operator(fleet, past=ann.run)
    assert bob.reconcile() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_a_client_that_is_missing_keeps_the_old_token_accepted(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, policy=Policy(batch=Amount(100, percent=True), max_failures=Amount(1)))
    fleet.at("ci", "swap", breaks("link-down"))
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.INCOMPLETE
    assert ann.states["ci"] in (State.UNKNOWN, State.UNREACHABLE)
    assert {serving(fleet, ann.token)[name] for name in ("queen", "hive1", "hive2")} == {"both"}
    fleet.hosts["ci"].fault = None
    fleet.advance(60)  # its agent has heard nothing, and has left
    bob = Operator(fleet, past=ann.run)
    assert bob.reconcile() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_the_census_asks_no_client(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    ann = Operator(fleet, census=True, meters=True)
    assert ann.rotate() is ExitCode.DONE
    assert ann.run.census is not None
    assert "ci" not in dict(ann.run.census.unread)
    assert not {"audit", "meter"} & set(fleet.verbs("ci"))


def test_a_token_that_clients_alone_hold_is_sent_to_no_other_host(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, clients={"ci1": {}, "ci2": {}})
    strange = "c" * 64
    for name in ("ci1", "ci2"):
        fleet.hosts[name].active.write_text(strange + "\n")
    ann = Operator(fleet)
    assert ann.look()
    held = {token for name in ("ci1", "ci2") for token in ann.run.hosts[name].held}
    assert held
    assert not held & (ann.runner.common_tokens() | ann.runner.served_tokens())


def test_clients_in_restricted_mode_are_turned_like_others(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, clients=CLIENTS)
    ann = Operator(fleet, dialer=GuardedDialer(fleet))
    assert ann.rotate() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_what_one_client_says_of_a_newer_run_stops_itself_alone(tmp_path: Path) -> None:
    """It may be hostile. Nothing is dropped while it does not have the new token."""

    def lies(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        answer["results"][0].update(ok=False, trouble="superseded", detail="run-9 of nobody@nowhere")
        return answer

    fleet = fleet_of(tmp_path, policy=Policy(batch=Amount(100, percent=True), max_failures=Amount(1)))
    fleet.at("ci", "stage", lambda host: setattr(host, "lies", lies))
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.INCOMPLETE
    assert not ann.run.is_superseded
    assert {serving(fleet, ann.token)[name] for name in ("queen", "hive1", "hive2")} == {"both"}


# -- back


@with_one_or_two
def test_a_client_that_fails_takes_all_back_clients_first(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service, {"ci1": {"unit": UNIT}, "ci2": {"unit": UNIT}})
    fleet.at("ci2", "restart", breaks("start-fails"))
    fleet.at("ci2", "restart", lambda host: setattr(host, "fault", None), nth=2)
    ann = Operator(fleet)
    refused = watch(fleet, ann)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    rolled = [title for title, _ in begun(ann) if title.startswith("rollback")]
    assert rolled[0] == "rollback, clients"
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert not slots_used(fleet)
    assert refused == [] or not service


def test_the_rollback_of_a_run_that_was_cut_off_undoes_clients_first(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, clients=CLIENTS)
    ann = Operator(fleet, stops_in=Phase.SETTLE)
    assert ann.rotate() is ExitCode.INTERRUPTED
    assert fleet.hosts["alone"].presented == ann.token.reveal()
    bob = Operator(fleet, past=ann.run)
    refused = watch(fleet, bob)
    assert bob.roll_back() is ExitCode.DONE
    assert begun(bob)[0] == ("reuse, clients", tuple(CLIENTS))
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert refused == []


@pytest.mark.parametrize("phase", [Phase.ACCEPT, Phase.USE, Phase.DROP, Phase.RETIRE], ids=lambda phase: phase.value)
def test_a_run_that_was_cut_off_goes_on_and_refuses_no_client(tmp_path: Path, phase: Phase) -> None:
    fleet = fleet_of(tmp_path, clients=CLIENTS)
    ann = Operator(fleet, stops_in=phase)
    assert ann.rotate() is ExitCode.INTERRUPTED
    bob = Operator(fleet, past=ann.run)
    refused = watch(fleet, bob)
    assert bob.resume(lambda: pytest.fail("a second token")) is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert not slots_used(fleet)
    assert refused == []


# -- a leaked token


@with_one_or_two
def test_a_revocation_turns_services_first_and_reaches_clients_too(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service, CLIENTS)
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.DONE
    assert [title for title, _ in begun(ann)] == ["queen", "wave 1 of 1", "clients", "settle", "retire"]
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert exposure_of(ann.run).open == ()
    assert set(exposure_of(ann.run).closed) == {"queen", "hive1", "hive2"}
    assert exposure_lines(ann.run)[0].startswith("the old token was refused on 3 of 3 hosts")
    notes = [item.note for item in checklist(ann.run, ann.events) if item.done]
    assert notes[1].startswith("7 of 7 hold the new token")
    assert [note.partition(" ")[0] for note in notes[2:4]] == ["3", "3"]
    shown = page(ann.run, ann.events, fleet.inventory)
    assert (shown.tiles[0].name, shown.tiles[0].value) == ("refuse the old token", "3 of 3")
    assert verdict(ann.run, ExitCode.DONE).words.startswith("revoked: every host that accepts tokens refuses")
    assert not {"sweep", "end_survivors"} & set(fleet.verbs("restarts"))
    assert "revoke" in fleet.verbs("alone")


def test_a_client_that_cannot_be_turned_is_not_fenced_and_keeps_the_revocation_open(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    fleet.at("ci", "stage", breaks("disk-full"))
    ann = Operator(fleet, task=REVOKE, fence=True)
    assert ann.revoke(attempts=2) is ExitCode.INCOMPLETE
    assert "fence" not in fleet.verbs("ci")
    assert ann.states["ci"] is State.FAILED
    assert {ann.states[name] for name in ("queen", "hive1", "hive2")} == {State.PROVEN}


# -- the proof


def writes_a_strangers_token(host: SimulatedHost) -> None:
    host.active.write_text("d" * 64 + "\n")


def test_a_client_that_a_revocation_leaves_out_presents_the_old_token_and_accepts_none(tmp_path: Path) -> None:
    """Left out for once, or excluded from the fleet: the services all refuse what it has."""
    lines = {}
    for way in ("left out", "excluded"):
        fleet = fleet_of(tmp_path / way)
        hosts = [host for host in fleet.inventory.hosts if host.name != "ci"]
        without = ["ci"] if way == "excluded" else []
        ann = Operator(fleet, task=REVOKE, hosts=hosts, without=without)
        assert ann.revoke() is ExitCode.INCOMPLETE
        assert exposure_of(ann.run).open == ()
        lines[way] = "\n".join(summary_lines(ann.run, ExitCode.INCOMPLETE, fleet.inventory))
        assert "still accept" not in lines[way], way
    assert "ci: still on the old token" in lines["left out"]
    assert "ci: excluded by the operator; a client: it accepts no token" in lines["excluded"]
    excluded = verdict(ann.run, ExitCode.INCOMPLETE).words
    assert excluded == "incomplete: every host that accepts tokens refuses the old token; excluded clients: ci"


def test_a_process_that_is_older_than_its_file_is_no_proof(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    fleet.hosts["ci"].active.write_text(fleet.token.reveal() + "\n")
    ann = Operator(fleet)
    assert not ann.look()
    assert ann.troubles == {"ci": Trouble.STALE_PROCESS}


def test_a_file_whose_owner_or_mode_is_another_is_no_proof(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, clients={"ci": {}})
    fleet.at("ci", "prove", lambda host: host.active.chmod(0o644), nth=3)
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ann.troubles == {"ci": Trouble.TOKEN_UNSAFE}


def test_a_file_that_another_has_written_meanwhile_is_no_proof(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, clients={"ci": {}})
    fleet.at("ci", "swap", writes_a_strangers_token, when="after")
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ann.troubles == {"ci": Trouble.SLOT_CHANGED}


def test_a_client_is_called_by_nothing(tmp_path: Path) -> None:
    """The simulated host fails a test whose agent calls a client; its proof holds no answers."""
    ann = Operator(fleet_of(tmp_path, clients=CLIENTS))
    assert ann.rotate() is ExitCode.DONE
    proofs = [ann.run.hosts[name].proof for name in CLIENTS]
    assert all(proof and proof.calls == {} and not proof.proven for proof in proofs)
    assert any(step.verb is Verb.PROVE for step in ann.outcomes("alone")[-2].steps)
