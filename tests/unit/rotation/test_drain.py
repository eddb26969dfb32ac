"""A drain: a hive has no work when it is restarted, and has work again afterwards, whatever happens in between.

The operator's commands are real programs; only the hosts' clocks are moved by the tests.
"""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.host.state import STATE
from hivekeys.journal.events import State
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.service import Drain, Hook, Idle, OnDeadline
from hivekeys.token import generate
from tests.builders.fronted import until
from tests.builders.operator import Operator, serving
from tests.inprocess import InProcessFleet, SimulatedHost

WORKERS = Idle(get="/metrics", none=r'workers\{.*state="busy".*\} [1-9]', every=2)
BUSY, IDLE = 'workers{state="busy"} 2\n', 'workers{state="busy"} 0\n'
STEPS = ("drain", "swap", "restart", "prove", "uncordon")


class Commands:
    """Programs of the operator's: each call is a line of a file. One that is told to fails."""

    def __init__(self, folder: Path) -> None:
        self.lines = folder / "lines"
        self.lines.touch()
        self.failing = folder / "failing"
        self.failing.touch()

    def hook(self, name: str) -> Hook:
        note = f'echo "{name} $HIVEKEYS_FLEET $HIVEKEYS_HOST $HIVEKEYS_RUN $HIVEKEYS_PHASE $HIVEKEYS_REASON" >> "$0"'
        fails = f'! grep -qx "{name} $HIVEKEYS_HOST" "$1" || {{ echo "no way to {name}"; exit 3; }}'
        return Hook(run=("/bin/sh", "-c", f"{note}; {fails}", str(self.lines), str(self.failing)))

    def fails(self, name: str, host: str) -> None:
        self.failing.write_text(f"{name} {host}\n")

    def work_again(self) -> None:
        self.failing.write_text("")

    def called(self, host: str) -> list[str]:
        words = [line.split() for line in self.lines.read_text().splitlines()]
        return [line[0] for line in words if line[2] == host]


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def drained(
    commands: Commands, until: Idle | None = WORKERS, on_deadline: OnDeadline = OnDeadline.FAIL, deadline: float = 60.0
) -> Drain:
    return Drain(commands.hook("before"), until, commands.hook("after"), deadline, on_deadline)


def fleet_of(tmp_path: Path, drain: Drain, failures: int = 0) -> InProcessFleet:
    fleet = InProcessFleet(tmp_path / "hosts", policy=Policy(max_failures=Amount(failures)), drain=drain)
    for host in fleet.hosts.values():
        host.work = [IDLE]
        host.answers["/metrics"] = 200
    return fleet


def is_cordoned(host: SimulatedHost) -> bool:
    return (host.root / STATE / "cordoned").exists()


def test_each_hive_is_drained_before_its_restart_and_has_work_again_after_its_proof(
    tmp_path: Path, commands: Commands
) -> None:
    fleet = fleet_of(tmp_path, drained(commands))

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.DONE
    for name in ("hive1", "hive2", "hive3"):
        assert commands.called(name) == ["before", "after"]
        assert [verb for verb in fleet.verbs(name) if verb in STEPS][1:6] == list(STEPS)
        assert not is_cordoned(fleet.hosts[name])
    assert "drain" not in fleet.verbs("queen"), "the queen has no drain"


def test_its_commands_are_told_which_run_on_which_host_and_why(tmp_path: Path, commands: Commands) -> None:
    fleet = fleet_of(tmp_path, drained(commands))

    Operator(fleet).rotate()

    assert "before inprocess hive1 run-1 canary routine" in commands.lines.read_text().splitlines()


def test_the_restart_waits_for_the_end_of_the_work(tmp_path: Path, commands: Commands) -> None:
    fleet = fleet_of(tmp_path, drained(commands))
    hive = fleet.hosts["hive1"]
    hive.work = [BUSY, BUSY, BUSY, BUSY, IDLE]  # the first is seen by the look

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.DONE
    shown = operator.run.hosts["hive1"].drained
    assert shown is not None
    assert not shown.forced
    assert shown.seconds >= 6.0


def test_a_hive_whose_work_does_not_end_keeps_its_token_and_stops_the_run(tmp_path: Path, commands: Commands) -> None:
    fleet = fleet_of(tmp_path, drained(commands))
    fleet.hosts["hive1"].work = [BUSY]

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert operator.troubles == {"hive1": Trouble.STILL_BUSY}
    assert "restart" not in fleet.verbs("hive1")
    assert commands.called("hive1") == ["before", "after"], "it has work again"
    assert not is_cordoned(fleet.hosts["hive1"])
    assert set(serving(fleet, operator.token).values()) == {"old"}


def test_where_the_inventory_says_so_the_restart_ends_the_work(tmp_path: Path, commands: Commands) -> None:
    fleet = fleet_of(tmp_path, drained(commands, on_deadline=OnDeadline.RESTART))
    fleet.hosts["hive1"].work = [BUSY]

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.DONE
    shown = operator.run.hosts["hive1"].drained
    assert shown is not None
    assert shown.forced
    assert shown.busy == BUSY.strip()


def test_where_the_inventory_says_so_a_busy_hive_owes_the_token_and_the_others_go_on(
    tmp_path: Path, commands: Commands
) -> None:
    fleet = fleet_of(tmp_path, drained(commands, on_deadline=OnDeadline.SKIP))
    fleet.hosts["hive2"].work = [BUSY]

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.INCOMPLETE
    assert operator.states["hive2"] is State.OWES
    assert operator.run.debts == ("hive2",)
    assert serving(fleet, operator.token) == {"queen": "new", "hive1": "new", "hive2": "old", "hive3": "new"}

    fleet.hosts["hive2"].work = [IDLE]
    again = Operator(fleet, past=operator.run)
    assert again.reconcile() is ExitCode.DONE
    assert set(serving(fleet, operator.token).values()) == {"new"}


def test_a_fleet_whose_hives_are_all_busy_is_not_left_with_a_new_queen_alone(
    tmp_path: Path, commands: Commands
) -> None:
    fleet = fleet_of(tmp_path, drained(commands, on_deadline=OnDeadline.SKIP))
    for name in ("hive1", "hive2", "hive3"):
        fleet.hosts[name].work = [BUSY]

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert set(serving(fleet, operator.token).values()) == {"old"}


def test_a_service_that_fails_on_the_new_token_has_work_again_once_it_is_back_on_the_old(
    tmp_path: Path, commands: Commands
) -> None:
    fleet = fleet_of(tmp_path, drained(commands))
    fleet.hosts["hive1"].fault = "keeps-old-token"

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert operator.states["hive1"] is State.ROLLED_BACK
    assert commands.called("hive1")[-1] == "after"
    assert not is_cordoned(fleet.hosts["hive1"])


def test_a_before_that_fails_keeps_the_host_as_it_was_and_is_undone(tmp_path: Path, commands: Commands) -> None:
    fleet = fleet_of(tmp_path, drained(commands))
    commands.fails("before", "hive1")

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.ROLLED_BACK
    cause = operator.run.hosts["hive1"].cause
    assert cause is not None
    assert cause.trouble is Trouble.HOOK_FAILED
    assert "ended with 3: no way to before" in cause.detail
    assert "restart" not in fleet.verbs("hive1")
    assert commands.called("hive1") == ["before", "after"]


def test_an_after_that_fails_leaves_the_host_cordoned_until_it_is_repaired(tmp_path: Path, commands: Commands) -> None:
    fleet = fleet_of(tmp_path, drained(commands), failures=1)
    commands.fails("after", "hive2")

    operator = Operator(fleet)
    code = operator.rotate()

    assert code is ExitCode.INCOMPLETE
    assert operator.states["hive2"] is State.CORDONED
    assert is_cordoned(fleet.hosts["hive2"])

    commands.work_again()
    again = Operator(fleet, past=operator.run)
    assert again.reconcile() is ExitCode.DONE
    assert not is_cordoned(fleet.hosts["hive2"])
    assert set(again.states.values()) == {State.PROVEN}


def test_a_run_whose_bastion_dies_while_a_hive_is_drained_is_resumed_and_gives_it_work(
    tmp_path: Path, commands: Commands
) -> None:
    fleet = fleet_of(tmp_path, drained(commands))
    fleet.cut("hive1", "restart", silent=False)
    operator = Operator(fleet)
    fleet.at("hive1", "restart", lambda host: operator.runner.interrupt())
    operator.rotate()
    assert operator.run.hosts["hive1"].cordoned or commands.called("hive1")[-1] == "after"

    again = Operator(fleet, past=operator.run, token=operator.token)
    again.resume(generate)

    assert commands.called("hive1")[-1] == "after"
    assert not is_cordoned(fleet.hosts["hive1"])


def test_a_revocation_waits_ten_seconds_for_work_and_never_for_a_command_that_fails(
    tmp_path: Path, commands: Commands
) -> None:
    fleet = fleet_of(tmp_path, drained(commands, deadline=600.0))
    fleet.hosts["hive1"].work = [BUSY]
    commands.fails("before", "hive2")

    operator = Operator(fleet, task=REVOKE)

    assert operator.revoke() is ExitCode.DONE
    shown = operator.run.hosts["hive1"].drained
    assert shown is not None
    assert shown.forced
    assert 10.0 <= shown.seconds < 12.0
    assert operator.states["hive2"] is State.PROVEN
    assert not any(is_cordoned(host) for host in fleet.hosts.values())


def test_the_bastion_does_its_own_commands_before_and_after(tmp_path: Path, commands: Commands) -> None:
    before, after = (
        Hook(bastion=(*commands.hook(name).run[:3], *commands.hook(name).run[3:])) for name in ("before", "after")
    )
    fleet = fleet_of(tmp_path, Drain(before, WORKERS, after))

    assert Operator(fleet).rotate() is ExitCode.DONE

    assert commands.called("hive3") == ["before", "after"]
    assert not any(is_cordoned(host) for host in fleet.hosts.values())


def test_a_bastion_command_that_fails_is_undone_as_well(tmp_path: Path, commands: Commands) -> None:
    before, after = (Hook(bastion=commands.hook(name).run) for name in ("before", "after"))
    fleet = fleet_of(tmp_path, Drain(before, WORKERS, after))
    commands.fails("before", "hive1")

    operator = Operator(fleet)

    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert operator.troubles == {"hive1": Trouble.HOOK_FAILED}
    assert commands.called("hive1")[:2] == ["before", "after"]
    assert not any(is_cordoned(host) for host in fleet.hosts.values())


def test_the_service_itself_can_be_asked_to_take_no_new_work(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, Drain(Hook(http="POST /drain"), WORKERS, Hook(http="POST /undrain")))
    for host in fleet.hosts.values():
        host.answers |= {"/drain": 202, "/undrain": 204}

    assert Operator(fleet).rotate() is ExitCode.DONE

    assert fleet.hosts["hive1"].requests == ["POST /drain", "POST /undrain"]


class StoppedWhile(list[str]):
    """A service's work without end; the operator ends the run as the host asks for it so many times."""

    def __init__(self, stop: Callable[[], None], nth: int) -> None:
        super().__init__([BUSY, BUSY])
        self.stop, self.left = stop, nth

    def pop(self, _: SupportsIndex = 0) -> str:
        self.left -= 1
        if self.left == 0:
            self.stop()
        return BUSY


def test_a_run_that_is_ended_waits_for_no_work_and_the_host_is_as_it_was(tmp_path: Path, commands: Commands) -> None:
    """Also where a restart would end the work: the operator wants to stop. One connection to the host does it all."""
    fleet = fleet_of(tmp_path, drained(commands, on_deadline=OnDeadline.RESTART, deadline=36_000.0))
    hive = fleet.hosts["hive1"]
    operator = Operator(fleet)
    hive.work = StoppedWhile(operator.runner.interrupt, nth=4)  # the first is asked for by the look

    assert operator.rotate() is ExitCode.INTERRUPTED

    cause = operator.run.hosts["hive1"].cause
    assert cause is not None
    assert cause.trouble is Trouble.STILL_BUSY
    assert re.match(r"the operator ended the run; after \d s: workers", cause.detail)
    assert operator.states["hive1"] is State.UNCHANGED
    assert commands.called("hive1") == ["before", "after"]
    assert not is_cordoned(hive)
    assert "restart" not in fleet.verbs("hive1")
    assert fleet.dialled.count("hive1") == 1

    hive.work = [IDLE]
    again = Operator(fleet, past=operator.run)
    assert again.resume(generate) is ExitCode.DONE
    assert set(again.states.values()) == {State.PROVEN}


def test_of_a_revocation_that_is_ended_the_host_at_work_is_turned_at_once(tmp_path: Path, commands: Commands) -> None:
    fleet = fleet_of(tmp_path, drained(commands, deadline=600.0))
    operator = Operator(fleet, task=REVOKE)
    fleet.hosts["hive1"].work = StoppedWhile(operator.runner.interrupt, nth=1)

    assert operator.revoke() is ExitCode.INTERRUPTED

    shown = operator.run.hosts["hive1"].drained
    assert shown is not None
    assert (shown.forced, shown.seconds < 2.0) == (True, True)
    assert commands.called("hive1") == ["before", "after"]


@pytest.mark.parametrize("where", ["run", "bastion"])
def test_a_command_that_hangs_is_ended_with_the_run_and_undone(tmp_path: Path, commands: Commands, where: str) -> None:
    """On the host, and on the bastion."""
    hangs = ("/bin/sh", "-c", f"touch {tmp_path}/begun; sleep 600")
    before = Hook(run=hangs) if where == "run" else Hook(bastion=hangs)
    fleet = fleet_of(tmp_path, Drain(before, WORKERS, commands.hook("after"), 3600.0))
    operator = Operator(fleet)

    def stop() -> None:
        until((tmp_path / "begun").exists, 60.0)
        operator.runner.interrupt()

    threading.Thread(target=stop).start()
    assert operator.rotate() is ExitCode.INTERRUPTED
    cause = operator.run.hosts["hive1"].cause
    assert cause is not None
    assert (cause.trouble, cause.detail.startswith("the operator ended the run: before")) == (Trouble.STILL_BUSY, True)
    assert operator.states["hive1"] is State.UNCHANGED
    assert commands.called("hive1") == ["after"]
    assert not is_cordoned(fleet.hosts["hive1"])


@pytest.mark.parametrize("seconds", [86_400.0, -1.0])
def test_a_host_that_says_it_drained_longer_than_it_was_asked_has_answered_wrongly(
    tmp_path: Path, commands: Commands, seconds: float
) -> None:
    fleet = fleet_of(tmp_path, drained(commands))

    def lie(_: dict[str, object], answer: dict[str, Any]) -> dict[str, Any]:
        for result in answer.get("results", []):
            if result["verb"] == "drain":
                result["facts"]["seconds"] = seconds
        return answer

    fleet.hosts["hive1"].lies = lie
    operator = Operator(fleet)

    operator.rotate()

    assert operator.troubles["hive1"] is Trouble.RUBBISH
    shown = operator.run.hosts["hive1"].drained
    assert shown is None or shown.seconds == 0.0, "of the look"
