"""Two runs over one fleet at the same time: one goes on, the other ends with exit code 5 and has changed nothing."""

import threading
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Order, Policy
from hivekeys.journal.events import State
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE, ROTATE
from hivekeys.protocol.causes import Trouble
from hivekeys.token import generate
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessFleet, Session, SimulatedHost


@pytest.mark.parametrize("budget", [0, 2], ids=["no-budget", "a-budget"])
@pytest.mark.parametrize("verb", ["stage", "swap", "prove"])
def test_a_run_that_comes_while_another_is_at_work_changes_nothing(tmp_path: Path, verb: str, budget: int) -> None:
    """A budget of failures is for hosts that are broken: a host that is busy is never one that may be missing."""
    fleet = InProcessFleet(tmp_path, hives=2, policy=Policy(max_failures=Amount(budget)))
    first, second = Operator(fleet, run="run-1"), Operator(fleet, run="run-2", who="bob@elsewhere")
    codes = []

    def meanwhile(_: SimulatedHost) -> None:
        codes.append(second.rotate())

    fleet.at("hive1", verb, meanwhile, nth=2 if verb == "prove" else 1)
    assert first.rotate() is ExitCode.DONE
    assert codes == [ExitCode.LOCKED]
    assert set(second.troubles.values()) == {Trouble.HOST_BUSY}
    assert "run-1 of ann@bastion" in str(second.run.hosts["queen"].cause)
    assert set(serving(fleet, first.token).values()) == {"new"}
    assert not any(host.accepts(second.token) for host in fleet.hosts.values())
    assert slots_used(fleet) == []


def test_what_another_run_does_to_a_host_at_this_moment_is_not_a_failure_of_the_host(tmp_path: Path) -> None:
    """The file holds the new token, the service has not read it yet: that is seen by whoever looks just then."""
    fleet = InProcessFleet(tmp_path, hives=2)
    first, second = Operator(fleet, run="run-1"), Operator(fleet, run="run-2", who="bob@elsewhere")
    codes = []
    fleet.at("queen", "restart", lambda _: codes.append(second.rotate()))
    assert first.rotate() is ExitCode.DONE
    assert codes == [ExitCode.LOCKED]
    assert second.troubles == {"queen": Trouble.HOST_BUSY}
    assert "run-1 of ann@bastion" in str(second.run.hosts["queen"].cause)
    assert not any(host.accepts(second.token) for host in fleet.hosts.values())


def test_a_run_that_does_not_get_its_first_host_asks_no_other_for_its_lock(tmp_path: Path) -> None:
    """Also without the queen: or each of two runs would hold a hive that the other needs, and none would go on."""
    fleet = InProcessFleet(tmp_path, hives=3)
    first, second = fleet.inventory.hosts[1:2], fleet.inventory.hosts[1:]
    ann, bob = Operator(fleet, hosts=first), Operator(fleet, run="run-2", who="bob@elsewhere", hosts=second)
    codes = []
    fleet.at("hive1", "stage", lambda _: codes.append(bob.rotate()))
    ann.rotate()
    assert codes == [ExitCode.LOCKED]
    assert bob.troubles == {"hive1": Trouble.HOST_BUSY}
    assert not {name for name in ("hive2", "hive3") if "probe_write" in fleet.verbs(name)}


@pytest.mark.parametrize("attempt", range(8))
def test_of_two_runs_that_begin_at_once_exactly_one_wins(tmp_path: Path, attempt: int) -> None:
    """Both have looked at every host before either claims one."""
    fleet = InProcessFleet(tmp_path, hives=2)
    rivals = [Operator(fleet, run=f"run-{attempt}-{name}", who=f"{name}@bastion") for name in ("ann", "bob")]
    both_ready = threading.Barrier(2)
    codes: dict[int, ExitCode] = {}

    def rotate(number: int) -> None:
        def think() -> None:
            both_ready.wait(10.0)

        codes[number] = rivals[number].rotate(think)

    threads = [threading.Thread(target=rotate, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert sorted(codes.values()) == [ExitCode.DONE, ExitCode.LOCKED]
    winner = next(rivals[number] for number, code in codes.items() if code is ExitCode.DONE)
    loser = next(rival for rival in rivals if rival is not winner)
    assert set(winner.states.values()) == {State.PROVEN}
    assert set(serving(fleet, winner.token).values()) == {"new"}
    assert not any(host.accepts(loser.token) for host in fleet.hosts.values())
    assert not any(part.touched for part in loser.run.hosts.values())
    assert slots_used(fleet) == []


@pytest.mark.parametrize("order", list(Order), ids=lambda order: order.value)
def test_a_run_that_got_the_queen_alone_and_changed_nothing_does_not_stop_the_one_at_work(
    tmp_path: Path, order: Order
) -> None:
    """The line to the queen was down for longer than a lease: her lock was free, the hives' were not (promise 16)."""
    fleet = InProcessFleet(tmp_path, hives=3, policy=Policy(order=order, batch=Amount(1)))
    ann, bob = Operator(fleet, run="run-1"), Operator(fleet, run="run-2", who="bob@elsewhere")
    codes = []

    def meanwhile(_: SimulatedHost) -> None:
        for line in list(fleet.hosts["queen"].lines):
            line.drop()
        codes.append(bob.rotate())
        bob.runner.close()

    fleet.at("hive2", "swap", meanwhile)
    assert ann.rotate() is ExitCode.DONE
    assert codes == [ExitCode.LOCKED]
    assert not any(host.touched for host in bob.run.hosts.values())
    assert set(serving(fleet, ann.token).values()) == {"new"}


@pytest.mark.parametrize("task", [ROTATE, REVOKE])
def test_nor_one_that_is_taken_up_again(tmp_path: Path, task: str) -> None:
    fleet = InProcessFleet(tmp_path, hives=3, policy=Policy(batch=Amount(1), revocation_recheck=0.0))
    ann = Operator(fleet, run="run-1", task=task, batch=Amount(1))
    fleet.at("hive2", "swap", lambda _: ann.runner.interrupt())
    assert (ann.revoke() if task == REVOKE else ann.rotate()) is ExitCode.INTERRUPTED
    holders = [Session(fleet.hosts[name], run="run-0", epoch=9) for name in ("hive1", "hive2")]
    bob = Operator(fleet, run="run-2", who="bob@elsewhere")
    assert bob.rotate() is ExitCode.LOCKED
    for holder in holders:
        holder.line.close()
    again = Operator(fleet, past=fold(ann.events), token=ann.token, task=task)
    assert (again.revoke() if task == REVOKE else again.resume(generate)) is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_once_a_host_has_turned_a_run_whose_next_hosts_are_held_goes_back_and_does_not_just_stop(
    tmp_path: Path,
) -> None:
    """Two hives say that another run has them: nobody stays on a token that the others will not get."""
    fleet = InProcessFleet(tmp_path, hives=3)
    ann = Operator(fleet)

    def held(_: SimulatedHost) -> None:
        for name in ("hive2", "hive3"):
            for line in list(fleet.hosts[name].lines):
                line.drop()
            Session(fleet.hosts[name], run="run-2", epoch=9)

    fleet.at("hive1", "prove", held, when="after", nth=2)
    ann.rotate()
    words = serving(fleet, ann.token)
    assert (words["queen"], words["hive1"]) == ("old", "old")
