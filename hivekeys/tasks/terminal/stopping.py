"""Ends a verb on Ctrl-C, SIGTERM or a lost terminal: in order the first time, at once the second time.

A thread hears of signals: Python calls a handler between two steps of the main thread, so one that comes just as that
begins to wait (for hosts, or for minutes between two waves) would be slept over.
"""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from hivekeys.errors import ExitCode
from hivekeys.tasks.terminal.output import cry

if TYPE_CHECKING:
    from hivekeys.rotation.crew import Crew
    from hivekeys.tasks.terminal.live import Show

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NUDGE = signal.SIGURG  # wakes the main thread, and means nothing
PATIENCE = 1.0  # seconds for what was heard as the run ended
WORKERS = "host"  # how the names of threads begin that drive hosts
EVERY = 0.5  # seconds until a main thread that slept over a signal is woken
STOPPING = "stopping: hosts in flight finish, no further host begins (again: stop at once)"
AT_ONCE = "stopped at once, without waiting for hosts in flight"

Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def endable() -> Iterator[None]:
    """Any verb: the first signal raises KeyboardInterrupt in the main thread, the second ends the process.

    Hosts in flight finish, because their driver waits for them as the exception passes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # the main thread has the signals
        return
    raised = threading.Event()

    def handle(_: int, __: FrameType | None) -> None:
        raised.set()
        raise KeyboardInterrupt

    before = signal.signal(NUDGE, lambda *_: None)
    try:
        with _hearing(handle, lambda here: _listen_to_end(here, raised)):
            yield
    finally:
        signal.signal(NUDGE, before)


@contextlib.contextmanager
def stoppable(runner: "Crew", show: "Show") -> Iterator[None]:
    """A run that can be stopped, for the main thread."""

    def handle(_: int, __: FrameType | None) -> None:
        if show.asking:
            raise KeyboardInterrupt  # the operator's answer to the question

    with _hearing(handle, lambda here: _listen_to_stop(here, runner, show)):
        yield


@contextlib.contextmanager
def _hearing(handle: Handler, listen: Callable[[int], None]) -> Iterator[None]:
    """In the block, `listen` reads a byte for each signal, its number, in a thread; the end of the block is its end.

    A hangup that is ignored already, as by nohup, stays ignored.
    """
    here, there = os.pipe()
    os.set_blocking(there, False)
    thread = threading.Thread(target=listen, args=(here,), name="signals", daemon=True)
    thread.start()
    woken = signal.set_wakeup_fd(there, warn_on_full_buffer=False)  # around the handlers, or one is lost
    before = {number: signal.signal(number, handle) for number in NUMBERS if not _is_nohup(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        os.close(there)
        thread.join(PATIENCE)


def _is_nohup(number: signal.Signals) -> bool:
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN


def _listen_to_stop(here: int, runner: "Crew", show: "Show") -> None:
    """Ends a run: no new host begins, or, when it was asked before, everything at once."""
    asked = False
    with open(here, "rb", buffering=0) as signals:
        while heard := signals.read(1):
            if heard[0] not in NUMBERS:
                continue
            if asked:
                show.leave(runner.run, runner.fleet)
                leave_at_once()
            asked = True
            runner.interrupt()
            show.stop()


def _listen_to_end(here: int, raised: threading.Event) -> None:
    """Sees to it that the main thread hears of the first signal, and leaves at the second."""
    asked = told = False
    with open(here, "rb", buffering=0) as signals:
        while True:
            if not select.select([signals], [], [], EVERY if asked else None)[0]:
                if not raised.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, NUDGE)
                elif not told and _hosts_in_flight():
                    told = True
                    cry(f"\n{STOPPING}\n")
                continue
            heard = signals.read(1)
            if not heard:
                return
            if heard[0] not in NUMBERS:
                continue
            if asked:
                cry(f"{AT_ONCE}\n")
                leave_at_once()
            asked = True


def _hosts_in_flight() -> bool:
    return any(thread.name.startswith(WORKERS) for thread in threading.enumerate())


def leave_at_once() -> NoReturn:
    """Ends the process as it is: threads that wait for hosts would keep a normal exit from happening."""
    os._exit(ExitCode.INTERRUPTED)
