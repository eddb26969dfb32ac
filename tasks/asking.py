"""A question to whoever sits at the terminal, and what counts as a yes."""

import contextlib
import select
import signal
import socket
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text


def answer(question: str, screen: Console) -> str:
    """What is typed. Raises EOFError at the end of the input, KeyboardInterrupt for a Ctrl-C."""
    with _signals_seen() as came:
        screen.print(Text(question), end="", soft_wrap=True)
        while sys.stdin not in select.select([sys.stdin, came], [], [])[0]:  # a Ctrl-C is raised here
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
