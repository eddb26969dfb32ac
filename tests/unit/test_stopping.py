"""A run is asked to stop: no signal is slept over, whenever it comes."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tasks.live import Show
from tasks.stopping import NUMBERS, stoppable
from tests.inprocess import InProcessFleet

from .rotating import Operator


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_a_signal_that_does_not_wake_the_main_thread_ends_a_pause_all_the_same(
    tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another thread gets it, as when it comes in the moment before the main one falls asleep."""
    runner = Operator(InProcessFleet(tmp_path, hives=1)).runner
    with stoppable(runner, Show()):
        press = threading.Timer(0.2, os.kill, (os.getpid(), number))
        press.start()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
        try:
            assert runner.interrupted.wait(20)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            press.join()
    assert "stopping: hosts in flight finish" in capfd.readouterr().err


def test_signals_are_as_they_were_when_the_run_is_over(tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in NUMBERS]
    with stoppable(Operator(InProcessFleet(tmp_path, hives=1)).runner, Show()):
        assert all(signal.getsignal(number) != handler for number, handler in zip(NUMBERS, handlers, strict=True))
    assert [signal.getsignal(number) for number in NUMBERS] == handlers
    assert signal.set_wakeup_fd(-1) == -1
