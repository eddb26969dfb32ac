"""Services that take a new token without a restart: told by a reload or a signal, or watching their file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import HIVE_SERVICE, Policy
from hivekeys.journal.events import State
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.wire import service_told
from hivekeys.rotation.question import before_run
from hivekeys.service import Apply
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.inprocess import InProcessFleet

EACH: dict[Apply, dict[str, Any]] = {
    Apply.RELOAD: {"apply": Apply.RELOAD},
    Apply.SIGNAL: {"apply": Apply.SIGNAL, "signal": "USR1"},
    Apply.WATCH: {"apply": Apply.WATCH},
}
POLICY = Policy(revocation_recheck=0.0)
in_each_way = pytest.mark.parametrize("service", EACH.values(), ids=[apply.value for apply in EACH])


def fleet_of(folder: Path, service: Mapping[str, Any]) -> InProcessFleet:
    fleet = InProcessFleet(folder, service=service, policy=POLICY)
    for host in fleet.hosts.values():
        host.outlives_sigterm = True  # it has handlers for signals
    return fleet


def pids(fleet: InProcessFleet) -> dict[str, int]:
    return {name: host.process.pid for name, host in fleet.hosts.items() if host.process}


@in_each_way
def test_a_rotation_restarts_nothing_and_every_host_is_proven(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service)
    before, ann = pids(fleet), Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert set(ann.states.values()) == {State.PROVEN}
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert pids(fleet) == before
    assert not slots_used(fleet)
    told = [] if service["apply"] is Apply.WATCH else ["notify"]
    assert [verb for verb in fleet.verbs("hive2") if verb in ("restart", "notify")] == told


@in_each_way
def test_a_revocation_too_and_every_host_refuses_the_leaked_token(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service)
    before, ann = pids(fleet), Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert pids(fleet) == before


@in_each_way
def test_a_second_rotation_finds_processes_that_are_older_than_their_files(
    tmp_path: Path, service: dict[str, Any]
) -> None:
    fleet = fleet_of(tmp_path, service)
    assert Operator(fleet).rotate() is ExitCode.DONE
    bob = Operator(fleet, run="run-2")
    assert bob.rotate() is ExitCode.DONE
    assert all(host.accepts(bob.token) for host in fleet.hosts.values())


def test_a_service_is_asked_until_it_has_seen_its_file(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, EACH[Apply.WATCH])
    fleet.hosts["hive2"].sees_at = fleet.hosts["hive2"].clock + 20.0
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert fleet.hosts["hive2"].clock >= fleet.hosts["hive2"].sees_at


@in_each_way
def test_one_that_never_takes_the_new_token_fails_and_all_go_back(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service)
    fleet.at("hive2", "swap", breaks("keeps-old-token"))
    before, ann = pids(fleet), Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ann.troubles["hive2"] is Trouble.NEW_REFUSED
    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert pids(fleet) == before, "what did not work once is not tried with a restart"


@in_each_way
def test_a_run_that_was_cut_off_behind_the_swap_goes_on(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service)
    ann = Operator(fleet, on_event=None)
    fleet.at("hive1", "swap", lambda _: fleet.bastion_dies(), when="after")
    ann.rotate()
    bob = Operator(fleet, past=ann.run)
    assert bob.resume(lambda: pytest.fail("a second token")) in (ExitCode.DONE, ExitCode.ROLLED_BACK)
    assert len(set(serving(fleet, ann.token).values())) == 1


def test_a_service_that_does_not_run_is_started(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, EACH[Apply.RELOAD])
    fleet.at("hive3", "notify", lambda host: host.stop())
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert set(serving(fleet, ann.token).values()) == {"old"}, "the way back begins with a fresh process there"


@in_each_way
def test_the_gap_ends_as_a_service_refuses_the_old_token(tmp_path: Path, service: dict[str, Any]) -> None:
    fleet = fleet_of(tmp_path, service)
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    gaps = [ann.run.gap(host) for host in ann.run.hosts.values()]
    assert all(gap is not None and gap.over for gap in gaps)


@in_each_way
def test_what_clients_did_before_the_host_had_the_new_token_keeps_no_old_one(
    tmp_path: Path, service: dict[str, Any]
) -> None:
    """The process is as old as ever: its start says nothing of when the token was replaced."""
    fleet = fleet_of(tmp_path, service)
    for host in fleet.hosts.values():
        host.writes(fleet.token, after=-1.0)
    assert Operator(fleet, census=True).rotate() is ExitCode.DONE


def test_before_a_run_it_is_said_that_nothing_restarts(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, EACH[Apply.RELOAD])
    ann = Operator(fleet)
    assert ann.look()
    said = before_run(ann.runner.fleet, ann.runner.waves, (), ann.run)
    assert said[0].startswith("restarts: none; without a restart: queen-rbee.service on queen; rbee-hive.service on ")
    assert said[2] == "ends: nothing: no service restarts"


def test_a_host_is_told_only_what_differs_from_most(tmp_path: Path) -> None:
    """Hosts in restricted mode compare the service with what they were installed for."""
    assert not {"apply", "signal"} & service_told(HIVE_SERVICE).keys()
    assert service_told(replace(HIVE_SERVICE, apply=Apply.WATCH))["apply"] == "watch"
    told = service_told(replace(HIVE_SERVICE, apply=Apply.SIGNAL, signal="USR2"))
    assert (told["apply"], told["signal"]) == ("signal", "USR2")


# -- what a look refuses


UNFIT = {
    "no ExecReload": (Apply.RELOAD, {"CanReload": "no"}, "cannot be reloaded"),
    "a credential": (Apply.SIGNAL, {"credential": "yes"}, "reads a credential"),
    "a credential that a reload leaves": (Apply.RELOAD, {"credential": "yes", "RefreshOnReload": "no"}, "credential"),
    "no handler": (Apply.SIGNAL, {"handler": "no"}, "has no handler for SIGUSR1"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_unit_that_would_not_take_it_is_named_before_anything_changes(tmp_path: Path, what: str) -> None:
    apply, settings, words = UNFIT[what]
    fleet = InProcessFleet(tmp_path, service=EACH[apply], credentials="credential" in settings)
    for host in fleet.hosts.values():
        host.outlives_sigterm = "handler" not in settings
    fleet.hosts["hive2"].unit_settings.update(settings)
    ann = Operator(fleet)
    assert not ann.look()
    cause = ann.run.hosts["hive2"].cause
    assert cause is not None and cause.trouble is Trouble.NOTIFY_REFUSED
    assert words in cause.detail
    assert "stage" not in fleet.verbs("hive2")


def test_a_credential_that_a_reload_refreshes_is_taken(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, service=EACH[Apply.RELOAD], credentials=True)
    for host in fleet.hosts.values():
        host.unit_settings["RefreshOnReload"] = "credentials"
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
