"""Deadlines of calls that know no time-out: who is still at work at the end is broken off, and nobody else."""

import threading
import time

from hivekeys.ssh.deadlines import Deadlines

LATER = 3600.0  # seconds; no test waits for it
PATIENCE = 60.0


def test_a_block_that_is_still_running_at_its_end_is_broken_off() -> None:
    broken = threading.Event()
    with Deadlines().watch(time.monotonic(), broken.set):
        assert broken.wait(PATIENCE)


def test_an_earlier_end_counts_though_a_later_one_was_told_before() -> None:
    """The thread that watches sleeps until the later one already."""
    deadlines, broken, spared = Deadlines(), threading.Event(), threading.Event()
    with deadlines.watch(time.monotonic() + LATER, spared.set), deadlines.watch(time.monotonic(), broken.set):
        assert broken.wait(PATIENCE)
    assert not spared.is_set()


def test_a_block_that_is_over_is_left_alone() -> None:
    """Its end would have come before that of the next one, which does come."""
    deadlines, broken, spared = Deadlines(), threading.Event(), threading.Event()
    with deadlines.watch(time.monotonic() + LATER, spared.set):
        pass
    with deadlines.watch(time.monotonic(), broken.set):
        assert broken.wait(PATIENCE)
    assert not spared.is_set()
    assert not deadlines._live


def test_an_end_that_waits_does_not_hold_up_the_next_one() -> None:
    deadlines, begun, go_on, broken = Deadlines(), *(threading.Event() for _ in range(3))

    def stuck() -> None:
        begun.set()
        go_on.wait(PATIENCE)

    with deadlines.watch(time.monotonic(), stuck):
        assert begun.wait(PATIENCE)
        with deadlines.watch(time.monotonic(), broken.set):
            assert broken.wait(PATIENCE)
    go_on.set()


def test_a_thousand_deadlines_have_one_thread() -> None:
    deadlines, before = Deadlines(), threading.active_count()
    blocks = [deadlines.watch(time.monotonic() + LATER, threading.Event().set) for _ in range(1000)]
    for block in blocks:
        block.__enter__()
    assert threading.active_count() <= before + 1
    for block in blocks:
        block.__exit__(None, None, None)
