"""A unit is fenced: it is stopped with all that it left behind, and what systemd will not do is said."""

import signal
from pathlib import Path

import pytest

from tests.inprocess import InProcessFleet, Session, SimulatedHost
from tests.inprocess.machine import Machine


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    return InProcessFleet(tmp_path, hives=1).hosts["hive1"]


class RefusesToStop(Machine):
    """systemd that stops nothing."""

    def systemctl(self, verb: str, unit: str, *others: str) -> tuple[int, str]:
        if verb == "stop":
            return 1, f"Failed to stop {unit}: Access denied"
        return super().systemctl(verb, unit, *others)


def stops(host: SimulatedHost) -> int:
    return host.started.count("systemctl stop")


def test_a_running_unit_is_stopped(host: SimulatedHost) -> None:
    result = Session(host).do("fence")
    assert (result["ok"], result["changed"], result["facts"]) == (True, True, {})
    assert (host.unit_state, stops(host)) == ("inactive", 1)


@pytest.mark.parametrize("state", ["activating", "deactivating", "reloading"])
def test_so_is_one_that_is_on_its_way(host: SimulatedHost, state: str) -> None:
    host.stop()
    host.unit_state = state
    assert Session(host).do("fence")["changed"]
    assert host.unit_state == "inactive"


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_one_that_is_down_and_left_nothing_is_left_alone(host: SimulatedHost, state: str) -> None:
    host.stop()
    host.unit_state = state
    result = Session(host).do("fence")
    assert (result["ok"], result["changed"], stops(host)) == (True, False, 0)


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_one_that_is_down_and_left_a_process_is_stopped_and_the_process_killed(host: SimulatedHost, state: str) -> None:
    """KillMode=process leaves workers behind, which would serve on with the leaked token."""
    host.stop()
    host.unit_state = state
    worker = host.runs(port=9000)
    assert Session(host).do("fence")["changed"]
    assert host.signals == [(worker.pid, signal.SIGKILL)]


def test_what_systemd_says_when_it_refuses_is_the_reason_and_nobody_is_killed(host: SimulatedHost) -> None:
    session = Session(host)
    session.line.agent.system = RefusesToStop(host)
    worker = host.runs(port=9000)
    result = session.do("fence")
    unit = host.host.service.unit
    assert (result["ok"], result["trouble"]) == (False, "systemctl-failed")
    assert result["detail"] == f"Failed to stop {unit}: Access denied"
    assert (host.unit_state, host.signals, list(host.others)) == ("active", [], [worker.pid])


def test_while_another_run_is_at_work_it_is_named_and_the_unit_runs_on(host: SimulatedHost) -> None:
    Session(host, run="run-1")
    result = Session(host, run="run-2", write=False).do("fence")
    assert result["trouble"] == "host-busy"
    assert result["detail"].startswith("run run-1 of ann@bastion (pid ")
    assert (host.unit_state, stops(host)) == ("active", 0)


def test_a_systemctl_that_hangs_costs_the_request_its_time_and_no_more(host: SimulatedHost) -> None:
    session = Session(host)
    host.systemctl_hangs = True
    before = host.clock
    (result,) = session.ask({"verb": "fence"}, deadline=9.0)
    assert result["trouble"] == "deadline"
    assert host.clock - before <= 9.0
