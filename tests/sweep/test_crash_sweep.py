"""Promise 6: killed anywhere and run again, a run ends as an undisturbed one would, with no hand repair.

A rotation is killed before and after every journal append, every dial and every verb of every agent; then it is
resumed, or rolled back. The points come from an undisturbed recording; a point that no sweep killed fails the test.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, get_args

import pytest

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Amount, Policy
from hivekeys.host.state import STATE
from hivekeys.journal.events import Event, Intent, Waiting
from hivekeys.journal.hostrun import CHANGING
from hivekeys.protocol.verbs import STEPS
from hivekeys.service import Accepts, Apply, Drain, Hook
from tests.builders.operator import breaks
from tests.inprocess import Session
from tests.sweep.bastion import Bastion, Point, watch
from tests.sweep.promises import POLICY, WatchedFleet, breaches, is_proven, not_alone

CORDONED = f"{STATE}/cordoned"
SWEPT: set[str] = set()  # what was swept so far in this session: kinds of events and verbs
Step = Callable[[Bastion], ExitCode | None]


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: a sweep writes thousands of files, each on the disk at once."""
    shm = Path("/dev/shm")  # noqa: S108  nothing is left there
    folder = Path(tempfile.mkdtemp(prefix="hivekeys-sweep-", dir=shm if shm.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Sweep:
    """A command that is killed at every point: how the fleet is made ready, the command, and what comes after."""

    memory: Path
    ready: Callable[[Bastion], None]
    first: Step
    then: Step
    holds: Callable[[Bastion], list[str]]
    real_journal: bool = False
    hives: int = 2
    policy: Policy = POLICY
    drain: Drain | None = None
    service: Mapping[str, Any] = field(default_factory=dict)
    clients: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    width: int = 32  # 1: one host after the other, so that a command that was cut off leaves the same hosts each time

    def bastion(self, number: int) -> Bastion:
        folder = self.memory / str(number)
        (folder / "state").mkdir(parents=True, mode=0o700)
        policy = replace(self.policy, width=self.width)
        given: dict[str, Any] = {"drain": self.drain, "service": self.service, "clients": self.clients}
        fleet = WatchedFleet(folder, self.hives, policy=policy, **given)
        bastion = Bastion(fleet, folder / "state" if self.real_journal else None)
        watch(bastion)
        self.ready(bastion)
        return bastion

    def points(self) -> list[Point]:
        """All points of the undisturbed command, and what it leaves behind is as it should be."""
        bastion = self.bastion(0)
        self.first(bastion)
        found = bastion.trail
        assert len(set(found)) == len(found)
        assert not self.holds(bastion), "the undisturbed command"
        SWEPT.update(word for point in found for word in point.what.split()[1:2])
        return sorted(found, key=str)

    def run(self, every: int = 1, first: int = 0) -> int:
        """Kills at the points (or at one of so many) and says how many that were; what went wrong is named."""
        points, wrong = self.points()[first::every], []
        for number, point in enumerate(points, 1):
            bastion = self.bastion(number)
            wrong += [f"killed {point}: {fault}" for fault in self._killed(bastion, point)]
            shutil.rmtree(self.memory / str(number))
        assert not wrong, "\n".join(wrong[:40])
        return len(points)

    def _killed(self, bastion: Bastion, point: Point) -> list[str]:
        bastion.fatal = point
        if self.first(bastion) is not None:
            return ["was never reached"]
        bastion.fatal = None
        self.then(bastion)
        return breaches(bastion.fleet, bastion.past(), bastion.events()) + self.holds(bastion)


# -- what an operator does afterwards


def nothing_special(_: Bastion) -> None:
    """A whole fleet."""


def go_on(bastion: Bastion) -> ExitCode | None:
    """`fab resume`, or the command once more where nothing had been begun."""
    past = bastion.past()
    if past.is_open:
        return bastion.resume()
    return past.code if past.code is not None else bastion.rotate("run-2")


def take_back(bastion: Bastion) -> ExitCode | None:
    """`fab rollback` while that is possible, or the way on where it is not any more."""
    past = bastion.past()
    if past.retiring or not past.is_open:
        return go_on(bastion)
    return bastion.roll_back()


def new_everywhere(bastion: Bastion) -> list[str]:
    """Done, proven, nothing left over, and by one new token."""
    fleet, run = bastion.fleet, bastion.past()
    tokens = fleet.made[run.id]
    if run.code is not ExitCode.DONE or len(tokens) != 1:
        return [f"ended with {run.code!r} and {len(tokens)} new tokens: {states(bastion)}"]
    return not_alone(fleet, *tokens)


def old_everywhere(bastion: Bastion) -> list[str]:
    """Every host as it was before, proven, nothing left over."""
    return not_alone(bastion.fleet, bastion.fleet.token.reveal())


def old_or_done(bastion: Bastion) -> list[str]:
    """Back on the old token; on the new one only where the old one was gone, or where a new run was made of it."""
    run = bastion.past()
    if run.code is ExitCode.DONE and not run.stopped:
        return new_everywhere(bastion)
    ended = [] if run.code in (ExitCode.DONE, ExitCode.ROLLED_BACK) else [f"ended with {run.code!r}: {states(bastion)}"]
    return ended + old_everywhere(bastion)


def states(bastion: Bastion) -> str:
    run = bastion.past()
    told = [f"{host.name} {host.state.value} {host.cause or ''}" for host in run.hosts.values()]
    return f"{', '.join(told)}; {run.stopped}"


def rotate(bastion: Bastion) -> ExitCode | None:
    return bastion.rotate()


# -- the sweeps


def test_a_rotation_killed_at_any_point_and_resumed_ends_as_if_undisturbed(memory: Path) -> None:
    assert Sweep(memory, nothing_special, rotate, go_on, new_everywhere).run() > 180


def test_a_rotation_killed_at_any_point_can_be_taken_back_until_the_old_token_is_retired(memory: Path) -> None:
    sweep = Sweep(memory, nothing_special, rotate, take_back, old_or_done)
    assert sweep.run() > 180


def test_it_holds_for_waves_of_two(memory: Path) -> None:
    """Two hives at once, one behind them: threads of a wave are cut off together."""
    in_twos = replace(POLICY, batch=Amount(2))
    assert Sweep(memory, nothing_special, rotate, go_on, new_everywhere, hives=4, policy=in_twos).run(every=5) > 60


@pytest.mark.parametrize(("then", "holds"), [(go_on, new_everywhere), (take_back, old_or_done)], ids=["on", "back"])
def test_it_holds_for_a_wave_with_more_hosts_than_may_be_at_work(
    memory: Path, then: Step, holds: Callable[[Bastion], list[str]]
) -> None:
    """All of them are turned before any is watched; a host at a time, so that the points are the same each time."""
    wide = replace(POLICY, canary=0, batch=Amount(2))
    sweep = Sweep(memory, nothing_special, rotate, then, holds, policy=wide, width=1)
    assert sweep.run(every=2) > 90


def test_it_holds_with_the_journal_on_the_disk(memory: Path) -> None:
    sweep = Sweep(memory, nothing_special, rotate, go_on, new_everywhere, real_journal=True)
    assert sweep.run(every=7) > 25


def new_everywhere_and_at_work(bastion: Bastion) -> list[str]:
    """The same, and every service that was drained has work again."""
    hosts = bastion.fleet.hosts.values()
    return new_everywhere(bastion) + [f"{host.name} is cordoned" for host in hosts if (host.root / CORDONED).exists()]


def test_a_rotation_that_drains_killed_at_any_point_gives_every_host_work_again(memory: Path) -> None:
    drain = Drain(Hook(run=("/bin/true",)), None, Hook(run=("/bin/true",)), deadline=5.0)
    sweep = Sweep(memory, nothing_special, rotate, go_on, new_everywhere_and_at_work, drain=drain)
    assert sweep.run(every=3) > 60


def hive2_refuses_the_new_token(bastion: Bastion) -> None:
    bastion.fleet.refuses_new.add("hive2")


def taken_back(bastion: Bastion) -> list[str]:
    code = bastion.past().code
    return old_everywhere(bastion) + ([] if code is ExitCode.ROLLED_BACK else [f"ended with {code!r}"])


def test_a_run_on_its_way_back_killed_at_any_point_goes_on_back(memory: Path) -> None:
    assert Sweep(memory, hive2_refuses_the_new_token, rotate, go_on, taken_back).run() > 180


def test_a_resume_killed_again_is_resumed_again(memory: Path) -> None:
    """The second kill is at every point of a resume, for resumes from early, middle and late in the run."""
    middle = Sweep(memory, nothing_special, rotate, go_on, new_everywhere, width=1).points()
    shutil.rmtree(memory / "0")
    by_name = {str(point): point for point in middle}
    for first in (
        "after hive1: stage (1)",
        "after hive1: swap (1)",
        "before hive2: restart (1)",
        "after hive2: retire (1)",
    ):

        def cut_off(bastion: Bastion, first: str = first) -> None:
            bastion.fatal = by_name[first]
            assert bastion.rotate() is None
            bastion.fatal = None

        assert (
            Sweep(memory, cut_off, lambda bastion: bastion.resume(), go_on, new_everywhere, width=1).run(every=6) > 10
        )
        shutil.rmtree(memory / "0")


@pytest.mark.parametrize(("what", "every"), [("hive2: restart", 1), ("hive1: stage", 3)])
def test_a_rollback_killed_at_any_point_is_rolled_back_again(memory: Path, what: str, every: int) -> None:
    point = Point("after", what, 1)

    def cut_off(bastion: Bastion) -> None:
        bastion.fatal = point
        assert bastion.rotate() is None
        bastion.fatal = None

    def again(bastion: Bastion) -> ExitCode | None:
        return bastion.roll_back() if bastion.past().is_open else bastion.past().code

    sweep = Sweep(memory, cut_off, lambda bastion: bastion.roll_back(), again, old_everywhere, width=1)
    assert sweep.run(every) > 20


# -- reconcile


def hive2_was_away(bastion: Bastion) -> None:
    bastion.fleet.hosts["hive2"].fault = "link-down"
    assert bastion.rotate(may_be_missing=["hive2"]) is ExitCode.INCOMPLETE
    bastion.fleet.hosts["hive2"].fault = None


def hive2_was_reimaged(bastion: Bastion) -> None:
    assert bastion.rotate() is ExitCode.DONE
    bastion.fleet.hosts["hive2"].reimage()


def pay(bastion: Bastion) -> ExitCode | None:
    """`fab resume` for what was cut off, `fab reconcile` for what is still owed."""
    if bastion.past().is_open:
        bastion.resume()
    return bastion.reconcile() if new_everywhere(bastion) else ExitCode.DONE


def hive1_was_lost_at_settle(bastion: Bastion) -> None:
    bastion.fleet.at("hive1", "prove", breaks("link-down"), nth=3)
    assert bastion.rotate() is ExitCode.INCOMPLETE
    bastion.fleet.hosts["hive1"].fault = None


DEBTS = (hive2_was_away, hive2_was_reimaged, hive1_was_lost_at_settle)


@pytest.mark.parametrize("ready", DEBTS)
def test_a_reconcile_killed_at_any_point_is_gone_on_with(memory: Path, ready: Callable[[Bastion], None]) -> None:
    """The same phases whatever was owed, and nearly the same points: each of the three takes its share of them."""
    sweep = Sweep(memory, ready, lambda bastion: bastion.reconcile(), pay, new_everywhere)
    assert sweep.run(every=len(DEBTS), first=DEBTS.index(ready)) > 30


# -- Ctrl-C


def whole_hosts(bastion: Bastion) -> list[str]:
    """Hosts in flight finish: every service runs on the token that is in its file, and asks for it."""
    hosts = bastion.fleet.hosts.values()
    return [host.name for host in hosts if not is_proven(host, host.active_token() or "")]


@pytest.mark.parametrize(
    ("ready", "then", "holds"),
    [
        (nothing_special, go_on, new_everywhere),
        (nothing_special, take_back, old_or_done),
        (hive2_refuses_the_new_token, go_on, taken_back),
    ],
)
def test_a_run_that_is_asked_to_stop_at_any_event_stops_between_hosts_and_is_taken_up(
    memory: Path, ready: Callable[[Bastion], None], then: Step, holds: Callable[[Bastion], list[str]]
) -> None:
    sweep = Sweep(memory, ready, rotate, then, holds)
    points = [point for point in sweep.points() if point.when == "after" and point.what.startswith("journal:")]
    for number, point in enumerate(points, 1):
        bastion = sweep.bastion(number)
        bastion.interrupted = point
        code = bastion.rotate()
        bastion.interrupted = None
        open_again = [] if code is ExitCode.INTERRUPTED or bastion.past().code is code else [f"ended with {code!r}"]
        wrong = open_again + whole_hosts(bastion) + breaches(bastion.fleet, bastion.past(), bastion.events())
        assert not wrong, f"interrupted {point}: {wrong}"
        sweep.then(bastion)
        wrong = breaches(bastion.fleet, bastion.past(), bastion.events()) + sweep.holds(bastion)
        assert not wrong, f"interrupted {point}, then taken up: {wrong}"
        shutil.rmtree(memory / str(number))
    assert len(points) > 40


# -- a resume that meets a fault


@pytest.mark.parametrize("fault", ["link-down", "disk-full", "read-only", "start-fails", "accepts-any-token"])
def test_a_fault_during_the_resume_is_never_called_done_and_the_fleet_is_whole_again_in_the_end(
    memory: Path, fault: str
) -> None:
    numbers = count(2)

    def meet(bastion: Bastion) -> ExitCode | None:
        if bastion.past().code is ExitCode.DONE:  # killed behind its last event
            return ExitCode.DONE
        hive = bastion.fleet.hosts["hive1"]
        hive.fault = fault
        if fault in ("start-fails", "accepts-any-token"):
            hive.start()
        code = go_on(bastion)
        wrong = breaches(bastion.fleet, bastion.past(), bastion.events())
        bastion.fleet.broken.extend(wrong)
        hive.fault = None
        if not hive.process or fault == "accepts-any-token":
            hive.start()
        return code if code is ExitCode.DONE else whole_again(bastion, f"run-{next(numbers)}")

    def in_the_end(bastion: Bastion) -> list[str]:
        tokens = {host.active_token() or "" for host in bastion.fleet.hosts.values()}
        return not_alone(bastion.fleet, *tokens) if len(tokens) == 1 else [f"different tokens: {states(bastion)}"]

    assert Sweep(memory, nothing_special, rotate, meet, in_the_end).run(every=6) > 30


def whole_again(bastion: Bastion, run: str) -> ExitCode | None:
    """What the runbook says: reconcile what is owed, end a way back; a new rotation where the fleet went back."""
    past = bastion.past()
    code = bastion.resume() if past.is_open else past.code
    past = bastion.past()
    if code is not ExitCode.DONE and past.want and not past.rolled_back:
        code = bastion.reconcile()
    if bastion.past().behind:  # a host between two tokens proves neither: no rotation begins on it
        assert bastion.roll_back() is ExitCode.DONE
    if code is not ExitCode.DONE:
        code = bastion.rotate(run)
        assert code is ExitCode.DONE
    return code


def test_what_cannot_be_written_down_is_not_done_and_ends_the_run_with_a_sentence(memory: Path) -> None:
    """Promise 11, at every event: the disk is full from there on. No host is told anything that was not written."""
    whole = Sweep(memory, nothing_special, rotate, go_on, new_everywhere)
    events = sum(point.what.startswith("journal:") for point in whole.points()) // 2
    for number in range(1, events + 1):
        bastion = whole.bastion(number)
        left = count(1)

        def disk_is_full(_: Event, left: Iterator[int] = left, number: int = number) -> None:
            if next(left) >= number:
                raise UserError("the journal cannot be used: disk is full", code=ExitCode.INCOMPLETE)

        bastion.on_event = disk_is_full
        with pytest.raises(UserError, match="disk is full") as caught:
            bastion.rotate()
        assert caught.value.code is ExitCode.INCOMPLETE
        written = [event for event in bastion.events() if isinstance(event, Intent)]
        for verb in CHANGING:
            begun = Counter(entry.host for entry in bastion.fleet.log if entry.verb == verb.value)
            assert begun == Counter(event.host for event in written if verb in event.verbs)
        bastion.on_event = None
        go_on(bastion)
        assert not breaches(bastion.fleet, bastion.past(), bastion.events()) + new_everywhere(bastion)


# -- a token leaked


def revoke(bastion: Bastion) -> ExitCode | None:
    return bastion.revoke()


def revoke_until_it_is_through(bastion: Bastion) -> ExitCode | None:
    """`fab resume`, or the command once more where no token had been made."""
    past = bastion.past()
    if past.is_open:
        return bastion.resume()
    return past.code if past.code is not None else bastion.revoke("run-2")


def test_a_revocation_killed_at_any_point_and_resumed_ends_as_if_undisturbed(memory: Path) -> None:
    assert Sweep(memory, nothing_special, revoke, revoke_until_it_is_through, new_everywhere).run() > 150


def another_run_holds_hive2_until_it_is_waited_for(bastion: Bastion) -> None:
    rival = Session(bastion.fleet.hosts["hive2"], run="run-0", epoch=1)

    def lets_go(event: Event) -> None:
        if isinstance(event, Waiting):
            rival.line.close()

    bastion.on_event = lets_go


def test_one_that_waits_for_a_lock_killed_at_any_point_is_gone_on_with(memory: Path) -> None:
    sweep = Sweep(
        memory, another_run_holds_hive2_until_it_is_waited_for, revoke, revoke_until_it_is_through, new_everywhere
    )
    assert sweep.run(every=3) > 50


def hive2_keeps_the_old_token(bastion: Bastion) -> None:
    bastion.fleet.hosts["hive2"].fault = "keeps-old-token"


def fence(bastion: Bastion) -> ExitCode | None:
    return bastion.revoke(fence=True)


def mend_and_reconcile(bastion: Bastion) -> ExitCode | None:
    """First the run to its end (a fence may have mended the host already), then, with the host mended, the rest."""
    if revoke_until_it_is_through(bastion) is ExitCode.DONE:
        return ExitCode.DONE
    bastion.fleet.hosts["hive2"].fault = None
    return bastion.reconcile()


def test_one_that_leaves_a_host_behind_killed_at_any_point_is_finished_when_the_host_is_mended(memory: Path) -> None:
    """Tried twice, fenced, and at no point does anything bring the old token back."""

    def closed(bastion: Bastion) -> list[str]:
        return new_everywhere(bastion) if bastion.past().resumed else []

    assert Sweep(memory, hive2_keeps_the_old_token, fence, mend_and_reconcile, closed).run(every=2) > 90


# -- services that accept two tokens


TWO: dict[str, dict[str, Any]] = {
    "lines": {"accepts": Accepts.LINES, "apply": Apply.RELOAD},
    "watched": {"accepts": Accepts.LINES, "apply": Apply.WATCH},
    "pair": {"accepts": Accepts.PAIR, "apply": Apply.SIGNAL},
    "restarted": {"accepts": Accepts.LINES},
}


def with_handlers(bastion: Bastion) -> None:
    """The services have handlers for signals."""
    for host in bastion.fleet.hosts.values():
        host.outlives_sigterm = True


@pytest.mark.parametrize(("way", "every"), [("lines", 1), ("watched", 3), ("pair", 3), ("restarted", 3)])
def test_passes_killed_at_any_point_and_resumed_refuse_no_client(memory: Path, way: str, every: int) -> None:
    assert Sweep(memory, with_handlers, rotate, go_on, new_everywhere, service=TWO[way]).run(every) > 80


@pytest.mark.parametrize(("way", "every"), [("lines", 2), ("watched", 5), ("pair", 5)])
def test_passes_killed_at_any_point_can_be_taken_back_until_the_first_drop(memory: Path, way: str, every: int) -> None:
    assert Sweep(memory, with_handlers, rotate, take_back, old_or_done, service=TWO[way]).run(every) > 50


CLIENTS: dict[str, dict[str, Any]] = {"ci1": {"unit": "runner.service"}, "ci2": {}}


@pytest.mark.parametrize(("then", "holds"), [(go_on, new_everywhere), (take_back, old_or_done)], ids=["on", "back"])
@pytest.mark.parametrize("way", ["lines", "one"])
def test_clients_are_refused_nothing_wherever_a_run_is_killed(memory: Path, way: str, then: Step, holds: Any) -> None:
    """Turned when every service accepts the new token, undone before any refuses it."""
    service = TWO.get(way, {})
    sweep = Sweep(memory, with_handlers, rotate, then, holds, hives=1, service=service, clients=CLIENTS)
    assert sweep.run(every=3) > 40


def no_service_takes_a_second_token(bastion: Bastion) -> None:
    bastion.fleet.keeps_clients = False
    for host in bastion.fleet.hosts.values():
        host.ignores_second = True


def test_services_that_take_one_token_after_all_killed_at_any_point_are_turned(memory: Path) -> None:
    sweep = Sweep(memory, no_service_takes_a_second_token, rotate, go_on, new_everywhere, service=TWO["lines"])
    assert sweep.run(every=3) > 60


def test_every_kind_of_event_and_every_verb_was_swept() -> None:
    """A new event or verb must be swept too. Needs the sweeps above: run the whole file.

    Paused is swept where runs are interrupted, MeterRead where a run is metered, OverlapBegan where it is taken up
    (test_overlap.py). The others are of no phase: upkeep, the beginning of a new revocation, a plan that was approved,
    and a question to the operator write them down.
    """
    kinds = {kind.__name__ for kind in get_args(Event)}
    of_runs = {verb.value for verb, kind in STEPS.items() if not kind.module}
    assert (kinds | of_runs) - {
        "Paused",
        "MeterRead",
        "OverlapBegan",
        "Readmitted",
        "Superseded",
        "Approved",
        "OperatorAsked",
        "OperatorAnswered",
    } <= SWEPT
