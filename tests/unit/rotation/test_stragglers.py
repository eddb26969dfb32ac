"""Which slow hosts are left behind: half of them have all the time, the others a little more than these."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from hivekeys.journal.events import Phase
from hivekeys.rotation.stragglers import Straggler, slower_half
from hivekeys.ssh.turns import Turn

NO_POOL = ThreadPoolExecutor(1)


def hosts(*, at_work: int = 0, through: int = 0, without_a_thread: int = 0, connecting: int = 0) -> set[Turn[None]]:
    """None has a real thread: nothing here is done on a host."""
    turns = [Turn(NO_POOL, lambda: None) for _ in range(at_work + through + without_a_thread + connecting)]
    for turn in turns[: at_work + through + connecting]:
        turn.connecting()
    for turn in turns[: at_work + through]:
        turn.set_running_or_notify_cancel()
    for turn in turns[:through]:
        turn.set_result(None)
    return set(turns)


def test_whoever_is_not_through_with_the_faster_half_is_slow() -> None:
    assert len(slower_half(hosts(at_work=2, through=3), half=2, patience=0.0)) == 2


def test_where_no_more_than_half_are_left_nobody_is_waited_for() -> None:
    waiting = hosts(at_work=2)
    assert slower_half(waiting, half=2, patience=60.0) == waiting


def test_a_host_that_waits_for_a_thread_is_not_slow_and_whoever_has_it_has_some_patience() -> None:
    """Here nobody comes through: the ones that have the threads are not waited for any longer."""
    waiting = hosts(at_work=1, without_a_thread=1)
    assert slower_half(waiting, half=2, patience=0.0) == waiting


def test_a_host_that_answers_no_syn_is_slow_though_it_has_no_thread() -> None:
    """It needs none for that; nobody waits for it as for a host that waits for us."""
    waiting = hosts(connecting=2)
    assert slower_half(waiting, half=2, patience=60.0) == waiting


def test_hosts_that_are_through_are_not_waited_for_though_others_wait_for_a_thread() -> None:
    waiting = hosts(at_work=1, through=2, without_a_thread=1)
    assert {future.done() for future in slower_half(waiting, half=4, patience=0.0)} == {False}


@pytest.mark.parametrize("phase", [Phase.QUEEN, Phase.CANARY, Phase.WAVE])
def test_whoever_was_left_behind_in_a_turn_may_be_out_until_it_is_through(phase: Phase) -> None:
    (waiting,), (through,) = hosts(at_work=1), hosts(at_work=0, through=1)
    assert Straggler(phase, waiting).turns  # type: ignore[arg-type]  # what it comes to is nothing here
    assert not Straggler(phase, through).turns  # type: ignore[arg-type]
    assert not Straggler(Phase.STAGE, waiting).turns  # type: ignore[arg-type]  # no service stops in it
