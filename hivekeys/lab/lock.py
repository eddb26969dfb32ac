"""Locks between processes: one works on a lab, an image or the choice of a subnet at a time.

The lock is a name in the kernel's abstract socket space: it leaves no file, and dies with its holder
however that dies. A program that the holder had just begun holds it too, until it ends: what a killed `up`
still does to this machine is done before the next one looks.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hivekeys.errors import ExitCode, UserError


@contextmanager
def lock(what: str, *, patience: float = 120) -> Iterator[None]:
    """Hold `what` for a while; wait for another holder up to `patience` seconds, then refuse."""
    deadline = time.monotonic() + patience
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        while True:
            try:
                held.bind(f"\0hivekeys-lab/{what}")
                held.set_inheritable(True)
                break
            except OSError:  # the name is taken
                if time.monotonic() > deadline:
                    raise UserError(f"{what}: another process is at work on it", code=ExitCode.LOCKED) from None
                time.sleep(0.05)
        yield
