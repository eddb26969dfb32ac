"""How an operator ends a run: the first Ctrl-C (or SIGTERM, or a lost terminal) in order, the second at once."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode

if TYPE_CHECKING:
    from hivekeys.runner import Runner
    from tasks.live import Show

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 1.0  # seconds for what was heard as the run ended


@contextlib.contextmanager
def stoppable(runner: "Runner", show: "Show") -> Iterator[None]:
    """A run that can be stopped, for the main thread.

    A thread hears of signals: Python calls a handler between two steps of the main thread, so one that comes just as
    that begins to wait (for hosts, or for minutes between two waves) would be slept over.
    """

    def handle(_: int, __: FrameType | None) -> None:
        if show.asking:
            raise KeyboardInterrupt  # the operator's answer to the question

    here, there = socket.socketpair()
    there.setblocking(False)
    thread = threading.Thread(target=_listen, args=(here, runner, show), name="signals", daemon=True)
    thread.start()
    woken = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)  # around the handlers, or one is lost
    before = {number: signal.signal(number, handle) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken)
        there.close()
        thread.join(PATIENCE)


def _listen(here: socket.socket, runner: "Runner", show: "Show") -> None:
    """Each byte is a signal's number; the end of the block ends this."""
    asked = False
    with here:
        while heard := here.recv(1):
            if heard[0] not in NUMBERS:
                continue
            if asked:
                show.leave(runner.run, runner.fleet)
                os._exit(ExitCode.INTERRUPTED)  # threads that wait for hosts would keep a normal exit from happening
            asked = True
            runner.interrupt()
            show.stop()
