"""Promise 8: one run at a time; a superseded run changes nothing and says so."""

import threading
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode, UserError
from hivekeys.journal import state_folder
from hivekeys.journal.events import Event, Outcome, PhaseStarted
from hivekeys.protocol.causes import Trouble
from tests.sweep.bastion import Bastion, Point, watch
from tests.sweep.promises import WatchedFleet, breaches, not_alone

RACES = 100


def race(fleet: WatchedFleet) -> dict[str, ExitCode | None]:
    """Two bastions look at one fleet, and say yes at the same moment."""
    bastions = {"run-1": Bastion(fleet, who="ann@one"), "run-2": Bastion(fleet, who="bob@two")}
    watch(*bastions.values())
    gate = threading.Barrier(2)
    codes: dict[str, ExitCode | None] = {}

    def both_have_looked() -> None:
        gate.wait()

    def start(run: str) -> None:
        codes[run] = bastions[run].rotate(run, thinking=both_have_looked)

    threads = [threading.Thread(target=start, args=(run,)) for run in bastions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = (run for run, code in codes.items() if code is ExitCode.DONE)
    assert not breaches(fleet, bastions[won].past(), bastions[won].events())
    return codes


def test_of_two_runs_from_two_bastions_exactly_one_wins(tmp_path: Path) -> None:
    for number in range(RACES):
        fleet = WatchedFleet(tmp_path / str(number), hives=2)
        codes = race(fleet)
        assert sorted(codes.values(), key=str) == [ExitCode.DONE, ExitCode.LOCKED]
        (won,) = (run for run, code in codes.items() if code is ExitCode.DONE)
        assert set(fleet.made) == {won}, "the loser brought a token to a host"
        assert not not_alone(fleet, *fleet.made[won])


def test_of_two_runs_from_one_bastion_exactly_one_gets_its_lock(tmp_path: Path) -> None:
    folder = state_folder.folder_for("inprocess", str(tmp_path))
    for _ in range(RACES):
        ready, over = threading.Barrier(2), threading.Barrier(2)
        got: list[str] = []
        refused: list[UserError] = []

        def run(name: str) -> None:
            ready.wait()  # noqa: B023  called before the next round
            try:
                with state_folder.hold_lock(folder, "inprocess", name, "a race"):
                    got.append(name)  # noqa: B023
                    over.wait()  # noqa: B023
            except UserError as error:
                refused.append(error)  # noqa: B023
                over.wait()  # noqa: B023

        threads = [threading.Thread(target=run, args=(name,)) for name in ("run-1", "run-2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        assert [error.code for error in refused] == [ExitCode.LOCKED]


@pytest.mark.parametrize("wakes_before", ["the first write", "canary", "wave", "settle", "retire"])
def test_an_operator_who_was_asleep_while_another_rotated_changes_nothing_more(
    tmp_path: Path, wakes_before: str
) -> None:
    """The sleeper's agents have left in the meantime, as idle ones do; the other run is whole before it wakes."""
    fleet = WatchedFleet(tmp_path, hives=2)
    sleeper, other = Bastion(fleet), Bastion(fleet, who="bob@two")
    watch(sleeper, other)
    slept: list[str] = []

    def another_rotates() -> None:
        for line in list(sleeper.lines):
            line.drop()
        assert other.rotate("run-2") is ExitCode.DONE
        slept.append(next(iter(fleet.made["run-2"])))

    def sleep(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase.value == wakes_before and not slept:
            another_rotates()

    sleeper.on_event = sleep
    code = sleeper.rotate(thinking=another_rotates if wakes_before == "the first write" else None)
    assert code is ExitCode.LOCKED
    assert not not_alone(fleet, *slept)
    assert not fleet.broken
    told = [event.cause for event in sleeper.events() if isinstance(event, Outcome) and event.cause]
    assert {(cause.trouble, cause.detail) for cause in told} == {(Trouble.SUPERSEDED, "run run-2 of bob@two")}


def test_a_run_that_comes_while_another_holds_the_hosts_can_be_taken_up_again(tmp_path: Path) -> None:
    """Cut off, then resumed while somebody else is at work: exit 5, and still open; refused once that one is done."""
    fleet = WatchedFleet(tmp_path, hives=2)
    ann, bob = Bastion(fleet), Bastion(fleet, who="bob@two")
    watch(ann, bob)
    ann.fatal = Point("after", "journal: Outcome hive1 canary", 1)
    assert ann.rotate() is None
    ann.fatal = None
    codes: list[ExitCode | None] = []

    def ann_tries(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase.value == "settle":
            codes.append(ann.resume())
            assert ann.past().code in (ExitCode.LOCKED, None)

    bob.on_event = ann_tries
    assert bob.rotate("run-2") is ExitCode.DONE
    assert codes == [ExitCode.LOCKED]
    assert ann.past().is_open
    assert ann.resume() is ExitCode.LOCKED
    assert not not_alone(fleet, *fleet.made["run-2"])
