"""The lock of a host while it changes hands: who has just taken it is waited for, and its work begins then."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders.agent_process import state
from tests.inprocess import InProcessFleet, InProcessLine, Session, SimulatedHost, hello
from tests.inprocess.machine import Machine

GONE = {"run": "run-0", "sitting": [1, "aa"], "who": "bob@old", "pid": 4_000_000, "born": 1, "login": "bob"}


@pytest.fixture
def host(tmp_path: Path) -> SimulatedHost:
    found = InProcessFleet(tmp_path, hives=1).hosts["hive1"]
    Session(found).line.close()
    return found


class Signs(Machine):
    """A machine on which, at the agent's third pause, whoever holds the lock writes its name into it."""

    def __init__(self, host: SimulatedHost, entry: dict[str, Any]) -> None:
        super().__init__(host)
        self.entry = entry
        self.pauses = 0

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.pauses += 1
        if self.pauses == 3:
            (state(self.host) / "lock").write_text(json.dumps(self.entry))


def greeted(host: SimulatedHost, machine: Machine | None = None, **how: Any) -> dict[str, Any]:
    line = InProcessLine(host)
    host.lines.append(line)
    if machine:
        line.agent.deadline.system = machine
    reply = line.ask({"steps": [hello(host, **how)], "deadline": 100.0}, 110.0)
    assert isinstance(reply, dict)
    results: Any = reply["results"]
    return dict(results[0])


def test_a_run_that_has_just_taken_the_lock_is_named_once_it_has_signed(host: SimulatedHost) -> None:
    """Between the two stands the name of whoever had it before, who is gone."""
    worker = host.runs()  # a process that lives
    entry = GONE | {"run": "run-1", "who": "ann@bastion", "pid": worker.pid, "born": worker.pid}
    lock = state(host) / "lock"
    lock.write_text(json.dumps(GONE))
    before = host.clock
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        greeting = greeted(host, Signs(host, entry), run="run-2")
    assert greeting["trouble"] == "host-busy"
    assert greeting["detail"].startswith("run run-1 of ann@bastion (pid ")
    assert 0.1 < host.clock - before < 0.3, "and at once"


@pytest.mark.parametrize("entry", ["", json.dumps(GONE)], ids=["nobody", "one that is gone"])
def test_one_that_never_signs_is_waited_for_a_second(host: SimulatedHost, entry: str) -> None:
    lock = state(host) / "lock"
    lock.write_text(entry)
    before = host.clock
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert greeted(host, run="run-2")["trouble"] == "host-busy"
    assert 1.0 <= host.clock - before < 1.1


def test_a_holder_that_lives_is_named_at_once(host: SimulatedHost) -> None:
    Session(host, run="run-1")
    before = host.clock
    assert greeted(host, run="run-2")["trouble"] == "host-busy"
    assert host.clock == before


@pytest.mark.parametrize("part", ["run", "pid", "born"])
def test_the_work_of_another_agent_or_run_begins_anew(host: SimulatedHost, part: str) -> None:
    """Only who greets again in the same agent goes on with what it began."""
    lock = state(host) / "lock"
    first = Session(host, run="run-1")
    entry = json.loads(lock.read_text())
    other = entry | {"since": entry["since"] - 3600, part: "run-0" if part == "run" else entry[part] + 1}
    lock.write_text(json.dumps(other))
    assert first.ask(hello(host, run="run-1"))[0]["ok"]
    assert json.loads(lock.read_text())["since"] > entry["since"] - 60
    assert json.loads(lock.read_text())["run"] == "run-1"


def test_the_lock_says_who_holds_it_and_who_logged_in(host: SimulatedHost) -> None:
    session = Session(host, run="run-1", sitting=(3, "cc"))
    entry = json.loads((state(host) / "lock").read_text())
    pid = session.line.agent.system.pid()
    assert (entry["run"], entry["who"], entry["sitting"]) == ("run-1", "ann@bastion", [3, "cc"])
    assert (entry["pid"], entry["born"], entry["login"]) == (pid, pid, "root")


def test_a_longer_entry_of_before_leaves_nothing_behind(host: SimulatedHost) -> None:
    (state(host) / "lock").write_text(json.dumps(GONE | {"who": "b" * 3000}))
    Session(host, run="run-1")
    assert json.loads((state(host) / "lock").read_text())["who"] == "ann@bastion"


def test_nobody_is_at_work_where_no_run_ever_was(tmp_path: Path) -> None:
    fresh = InProcessFleet(tmp_path / "fresh", hives=1).hosts["hive1"]
    session = Session(fresh, write=False)
    assert session.line.agent.state.at_work() == {}
    assert not state(fresh).exists()


def test_a_look_sees_who_is_at_work_and_who_is_gone(host: SimulatedHost) -> None:
    look = Session(host, write=False).line.agent.state
    assert look.at_work() == {}, "the one before has left"
    first = Session(host, run="run-1")
    assert look.at_work()["run"] == "run-1"
    assert first.line.agent.state.at_work() == {}, "not itself"


def test_nobody_is_at_work_where_the_directory_is_there_and_no_lock(host: SimulatedHost) -> None:
    (state(host) / "lock").unlink()
    assert Session(host, write=False).line.agent.state.at_work() == {}


def test_a_lock_that_is_a_link_is_not_followed(host: SimulatedHost, tmp_path: Path) -> None:
    lock, elsewhere = state(host) / "lock", tmp_path / "elsewhere"
    elsewhere.write_text("somebody's")
    lock.unlink()
    lock.symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        Session(host, write=False).line.agent.state.at_work()
    assert greeted(host, run="run-2")["trouble"] == "write-failed"
    assert elsewhere.read_text() == "somebody's"
