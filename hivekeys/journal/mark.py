"""The mark: the number of events in the journal and the head of its chain, in a second file, to notice a cut-off end.

A journal whose end was cut off, or a copy of long ago, is whole in itself; held against its mark it is too short. The
mark is written after the events are on the disk and is not synced, so after a crash it may be behind the journal, and
never ahead of it.
"""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hivekeys.errors import DamagedError

NAME = "journal.mark"


@dataclass(frozen=True)
class Mark:
    """`events`: how many, over all runs; `head`: the chain's after the last of them; `run`: whose that was."""

    events: int = 0
    head: str = ""
    run: str = ""


class MarkFile:
    """One line of JSON, written over in place: a few hundred bytes, which a disk writes whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._fd: int | None = None

    def read(self) -> Mark:
        """The mark in the file; a mark of no events where there is no file.

        Raises DamagedError for contents that hivekeys did not write, and OSError.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return Mark()
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)  # a process that writes it needs a moment only
            line = os.read(fd, 4096).partition(b"\n")[0].strip(b"\0")
        finally:
            os.close(fd)
        if not line:  # made, and never written to the disk
            return Mark()
        with suppress(ValueError, TypeError, RecursionError):
            found = Mark(**json.loads(line))
            if type(found.events) is int and type(found.head) is str and type(found.run) is str:
                return found
        raise DamagedError(f"{self.path}: is not what hivekeys writes")

    def write(self, mark: Mark) -> None:
        """Writes this mark. Raises OSError."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            os.pwrite(self._fd, json.dumps(asdict(mark)).encode() + b"\n", 0)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Safe to repeat."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
