"""What is said before an operator is asked: what restarts, for how long, which work ends, who is cut off meanwhile."""

import contextlib
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Amount, Order, Policy
from hivekeys.host.system import System
from hivekeys.journal.clock import Moment
from hivekeys.journal.estimate import RunTimes, at_least, likely, run_times
from hivekeys.journal.events import Event, OperatorAnswered, OperatorAsked
from hivekeys.journal.run import REVOKE, ROTATE, Run
from hivekeys.journal.state_folder import folder_for
from hivekeys.journal.store import Journal
from hivekeys.rotation.question import before_run, before_wave
from hivekeys.rotation.waves import Wave, plan
from hivekeys.tasks.terminal.asking import paces
from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.work.turning import confirm
from tests.builders.operator import Operator, breaks
from tests.builders.project import PROJECT
from tests.builders.running import show_all
from tests.builders.terminal import Terminal
from tests.inprocess import InProcessFleet, SharedClock

DONE = ExitCode.DONE


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=4, policy=Policy(batch=Amount(2), revocation_recheck=0.0))


def looked(fleet: InProcessFleet) -> Operator:
    ann = Operator(fleet)
    assert ann.look()
    return ann


def said_before(ann: Operator, *paces: RunTimes) -> dict[str, str]:
    """The lines before the question, by their first word."""
    lines = before_run(ann.runner.fleet, ann.runner.waves, paces, ann.runner.run)
    return dict(line.split(": ", 1) for line in lines)


# -- before a run


def test_the_units_that_restart_are_named_with_their_hosts_and_the_number_of_waves(fleet: InProcessFleet) -> None:
    assert said_before(looked(fleet))["restarts"] == (
        "queen-rbee.service on queen; rbee-hive.service on hive[1:4]; in 4 waves, one after the other"
    )


def test_clients_are_named_with_what_is_done_to_them_and_come_last(tmp_path: Path) -> None:
    clients = {"ci": {"unit": "runner.service"}, "gateway": {}}
    fleet = InProcessFleet(tmp_path, hives=1, policy=Policy(revocation_recheck=0.0), clients=clients)
    assert said_before(looked(fleet))["restarts"] == (
        "queen-rbee.service on queen; rbee-hive.service on hive1; runner.service on ci; without a restart: "
        "token file on gateway; in 2 waves, one after the other; clients last"
    )


def test_the_workers_that_end_are_counted_on_the_hosts_that_can_tell(fleet: InProcessFleet) -> None:
    for name in ("hive1", "hive1", "hive3"):
        fleet.hosts[name].runs()
    said = said_before(looked(fleet))["ends"]
    assert said == "requests in flight; the inference of 3 workers (2 on hive1, 1 on hive3)"


def test_workers_that_outlive_the_restart_are_not_said_to_end(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].runs()
    fleet.hosts["hive2"].kill_mode = "process"
    said = said_before(looked(fleet))["ends"]
    assert (
        said == "requests in flight; but no worker of hive2: workers there keep running with the old token (KillMode)"
    )


def test_where_nobody_works_no_inference_ends(fleet: InProcessFleet) -> None:
    assert said_before(looked(fleet))["ends"] == "requests in flight; no inference: these hives have no worker now"


def test_a_revocation_asks_before_any_host_was_looked_at_and_says_so(fleet: InProcessFleet) -> None:
    order = plan(fleet.inventory.hosts, fleet.inventory.policy)
    restarts, takes, ends = before_run(fleet.inventory, order, (), Run(task=REVOKE))
    assert "rbee-hive.service on hive[1:4]" in restarts
    assert "revocation_recheck" in takes
    assert ends.endswith("that of all workers of hive[1:4], whose number is not known")


def test_the_question_itself_has_all_of_it(
    fleet: InProcessFleet, keyboard: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ann = looked(fleet)
    os.write(keyboard, b"n\n")
    with pytest.raises(UserError, match="not confirmed"):
        confirm(ann.runner, Show(), "to a new token", [RunTimes(4, 40.0, 2.0)])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["restarts", "takes", "ends"]
    assert lines[3].startswith("Turn 5 hosts of fleet inprocess to a new token? [y/N]")


def test_the_workers_of_a_unit_are_its_processes_but_for_the_services_own(tmp_path: Path) -> None:
    """Those of control groups below it as well: systemd ends them all."""
    group = tmp_path / "sys/fs/cgroup/system.slice/rbee-hive.service"
    (group / "workers").mkdir(parents=True)
    (group / "cgroup.procs").write_text("100\n101\n")
    (group / "workers" / "cgroup.procs").write_text("102\n")
    members = System().members("/system.slice/rbee-hive.service", f"{tmp_path}/")
    assert members is not None and sorted(members) == [100, 101, 102]


# -- how long it takes


def recorded(fleet: InProcessFleet, slow: float) -> list[Event]:
    """A rotation of which each hive is healthy so many seconds after its start."""
    for host in fleet.hosts.values():
        host.fault, host.slow_seconds = "start-slow", slow
    ann = Operator(fleet, clock=SharedClock(fleet))
    assert ann.rotate() is DONE
    return ann.events


def test_the_time_of_the_last_run_is_what_it_took_after_the_question(fleet: InProcessFleet) -> None:
    events = recorded(fleet, 5.0)
    pace = run_times(events, ROTATE)
    assert pace is not None
    assert pace.waves == 4
    began = next(event.when.clock for event in events if type(event).__name__ == "Claimed")
    assert pace.of(4) == pytest.approx(events[-1].when.clock - began, abs=0.1)
    assert pace.of(8) == pytest.approx(pace.rest + 2 * pace.turning)


def postponed(event: Event, by: float) -> Event:
    return replace(event, when=Moment(event.when.at + by, event.when.clock + by))


def test_an_operator_who_thinks_makes_no_run_longer(fleet: InProcessFleet) -> None:
    events = recorded(fleet, 5.0)
    quick = run_times(events, ROTATE)
    middle = next(at for at, event in enumerate(events) if type(event).__name__ == "PhaseStarted" and at > 40)
    now = events[middle].when
    later = Moment(now.at + 600.0, now.clock + 600.0)
    thinking: list[Event] = [OperatorAsked(now), OperatorAnswered(True, later)]
    moved = [postponed(event, 600.0) for event in events[middle:]]
    slow = run_times([*events[:middle], *thinking, *moved], ROTATE)
    assert quick is not None and slow is not None
    assert slow.of(4) == pytest.approx(quick.of(4))


def test_only_runs_of_the_same_kind_that_came_through_tell_a_time(fleet: InProcessFleet) -> None:
    events = recorded(fleet, 5.0)
    assert run_times(events, REVOKE) is None
    assert run_times(events[:-1], ROTATE) is None
    assert run_times([], ROTATE) is None
    fleet.at("hive1", "restart", breaks("start-fails"))
    back = Operator(fleet, run="run-2")
    back.rotate()
    assert run_times(back.events, ROTATE) is None


def test_the_middle_run_tells_and_it_is_said_how_many_there_are(fleet: InProcessFleet) -> None:
    paces = [RunTimes(4, 40.0, 2.0), RunTimes(4, 400.0, 2.0), RunTimes(2, 30.0, 2.0)]
    assert likely(paces, 4) == 62.0
    assert (
        said_before(looked(fleet), *paces)["takes"]
        == "about 1 min 2 s, by the last 3 runs that finished from this bastion"
    )


def test_without_a_run_of_the_past_it_is_said_what_is_waited_for(fleet: InProcessFleet) -> None:
    said = said_before(looked(fleet))["takes"]
    assert said.startswith("at least 12 s (stable_seconds = 3 in each wave), ")
    assert "health_deadline = 60 s" in said and "no run from this bastion has finished yet" in said
    assert at_least(Policy(), 3, revokes=True) == 10.0


# -- between two waves


def asked_at_each_wave(fleet: InProcessFleet, answers: Callable[[Run], bool] = lambda _: True) -> list[str]:
    """The questions of a rotation with --pause-for-confirmation."""
    ann, asked = Operator(fleet), []

    def go_on(wave: Wave) -> bool:
        asked.append(before_wave(ann.runner.run, wave))
        return answers(ann.runner.run)

    ann.go_on = go_on
    ann.rotate()
    return asked


def test_each_question_names_the_next_wave_and_who_is_cut_off_until_all_have_turned(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].runs()
    canary, first, second = asked_at_each_wave(fleet)
    old = "they have the old token, and the queen the new one."
    nobody = "It ends requests in flight; no inference: these hives have no worker now."
    assert canary == f"Next is canary: hive1. {nobody}\nCut off meanwhile: hive[1:4]: {old}"
    one = "It ends requests in flight; the inference of 1 worker (1 on hive2)."
    assert first == f"Next is wave 1 of 2: hive2, hive3. {one}\nCut off meanwhile: hive[2:4]: {old}"
    assert second == f"Next is wave 2 of 2: hive4. {nobody}\nCut off meanwhile: hive4: {old}"


def test_where_hives_turn_first_they_are_the_ones_that_are_cut_off(tmp_path: Path) -> None:
    policy = Policy(order=Order.HIVES_FIRST, batch=Amount(4), canary=1)
    *_, last = asked_at_each_wave(InProcessFleet(tmp_path, hives=3, policy=policy))
    assert last.startswith("Next is queen. It ends requests in flight.")
    assert last.endswith("Cut off meanwhile: hive[1:3]: they have the new token, and the queen the old one.")


def test_a_no_between_two_waves_stops_there(fleet: InProcessFleet) -> None:
    assert len(asked_at_each_wave(fleet, lambda _: False)) == 1


def test_the_screen_asks_so(fleet: InProcessFleet, keyboard: int, capsys: pytest.CaptureFixture[str]) -> None:
    show = Show()
    ann = Operator(fleet, on_event=lambda event: show_all(show, [event]))
    ann.go_on = show.go_on
    os.write(keyboard, b"y\ny\nn\n")
    assert ann.rotate() is ExitCode.INTERRUPTED
    said = capsys.readouterr().err
    assert said.count("Go on? [y/N] ") == 3
    assert "Next is wave 2 of 2: hive4." in said


def test_the_journal_tells_it_also_while_the_run_that_asks_writes_there(fleet: InProcessFleet, tmp_path: Path) -> None:
    events, state = recorded(fleet, 5.0), str(tmp_path / "state")
    assert paces("inprocess", state, ROTATE) == []
    with contextlib.closing(Journal(folder_for("inprocess", state), writes=True)) as journal:
        journal.append("run-1", *events)
        journal.append("run-2", *events[:3])  # at its question
        assert paces("inprocess", state, ROTATE) == [run_times(events, ROTATE)]
        assert paces("inprocess", state, REVOKE) == []


AT_A_QUESTION = """
from hivekeys.fleet import SERVICES, Host, Role
from hivekeys.journal.events import Phase
from hivekeys.rotation.waves import Wave
from hivekeys.tasks.terminal.live import Show
from tests.builders.running import midway, show_all

with Show() as show:
    show_all(show, midway(5, 2))
    hives = tuple(Host(name, Role.HIVE, name, service=SERVICES[Role.HIVE]) for name in ("hive4", "hive5"))
    raise SystemExit(0 if show.go_on(Wave(Phase.WAVE, "wave 2 of 2", hives)) else 7)
"""


def test_the_picture_stays_on_the_screen_above_the_question() -> None:
    argv = [sys.executable, "-c", AT_A_QUESTION]
    with Terminal(argv, PROJECT, os.environ) as terminal:
        shown = terminal.until("Go on? [y/N] ")
        terminal.type("y\n")
        assert terminal.end() == 0
    picture, _, question = shown.partition("Next is wave 2 of 2: hive4, hive5.")
    assert "Cut off meanwhile: " in question
    frame = re.split(r"\x1b\[[0-9]+F", picture)[-1]  # what was drawn after the cursor last went up
    assert "canary" in frame
