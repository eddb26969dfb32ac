"""Asks the operator a question on the terminal, and decides what counts as a yes."""

import contextlib
import itertools
import select
import signal
import socket
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from hivekeys.errors import UserError
from hivekeys.journal import state_folder
from hivekeys.journal.estimate import ENOUGH, RunTimes, run_times
from hivekeys.journal.store import Journal
from hivekeys.tasks.terminal.output import is_lost

RUNS = 12  # of the journal that are looked at, the newest first


def answer(question: str, screen: Console) -> str:
    """What is typed. Raises EOFError at the end of the input, KeyboardInterrupt for a Ctrl-C.

    Where the question cannot be seen any more it is the end of the input too, as on a terminal that was lost.
    """
    with _signals_seen() as came:
        screen.print(Text(question), end="", soft_wrap=True)
        if is_lost(screen.file):
            raise EOFError
        there = select.poll()  # select() itself knows no number above 1023, and each host has a line
        there.register(sys.stdin, select.POLLIN)
        there.register(came, select.POLLIN)
        while sys.stdin.fileno() not in dict(there.poll()):  # a Ctrl-C is raised here
            came.recv(4096)
        typed = sys.stdin.readline()
    if not typed:
        raise EOFError
    return typed


def agrees(question: str, screen: Console) -> bool:
    """True when the operator said yes."""
    try:
        return answer(question, screen).strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        return False


def paces(fleet: str, state_dir: str, task: str) -> list[RunTimes]:
    """How long the last runs of this kind took, by this bastion's journal, as far as it can be read."""
    folder = state_folder.folder_for(fleet, state_dir)
    found: list[RunTimes] = []
    if not Journal.is_in(folder):
        return found
    with contextlib.suppress(UserError), contextlib.closing(Journal(folder, as_it_is=True)) as journal:
        told = (run_times(journal.events(run), task) for run in journal.runs()[:RUNS])
        found += itertools.islice((pace for pace in told if pace), ENOUGH)
    return found


@contextlib.contextmanager
def _signals_seen() -> Iterator[socket.socket]:
    """A socket that a signal makes readable: `input()` sleeps over one that comes just before it reads."""
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
        try:
            yield here
        finally:
            signal.set_wakeup_fd(before)
