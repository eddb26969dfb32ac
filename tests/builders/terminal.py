"""A terminal with a program on it: what an operator sees, and what an operator types."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CTRL_C = "\x03"


class Terminal:
    """Begins the program; at the end of the block it is gone, whatever happened."""

    def __init__(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], rows: int = 24, columns: int = 120):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            # Its own terminal, or Ctrl-C would be nobody's; no signal ignored, as in whatever began the tests
            ["setsid", "--ctty", "env", "--default-signal", *argv],
            cwd=cwd,
            env={name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")} | {"TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait(10)
        os.close(self._ours)

    def type(self, keys: str) -> None:
        """As if typed."""
        os.write(self._ours, keys.encode())

    def until(self, words: str, within: float = 30.0) -> str:
        """What was shown since the last question, up to where `words` appear."""
        before = len(self.shown)
        end = time.monotonic() + within
        while words not in self.shown[before:]:
            assert self._read(end), f"no {words!r} in {self.shown[before:]!r}"
        return self.shown[before:]

    def end(self, within: float = 30.0) -> int:
        """The exit code of the program, which ends now."""
        end = time.monotonic() + within
        while self._read(end):
            pass
        return self._process.wait(max(0.0, end - time.monotonic()))

    def answering(self, answers: Mapping[str, str], within: float) -> int:
        """The exit code of the program; each answer is typed whenever its question has come up."""
        end = time.monotonic() + within
        answered = 0
        while self._read(end):
            for question, answer in answers.items():
                if question in self.shown[answered:]:
                    answered = len(self.shown)
                    self.type(f"{answer}\n")
        return self._process.wait(max(0.0, end - time.monotonic()))

    def _read(self, end: float) -> bool:
        """More of what is shown; False when nothing more came, or comes."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
        try:
            more = os.read(self._ours, 65536) if ready else b""
        except OSError:  # the program has closed it
            more = b""
        self.shown += more.decode(errors="replace")
        return bool(more)


def typed(
    argv: Sequence[str | Path], *answers: tuple[str, str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Runs a program; gives each answer once its question is there. The exit code, and all that was shown."""
    words = [str(word) for word in argv]
    with Terminal(words, cwd or Path(), os.environ if env is None else env) as terminal:
        for question, answer in answers:
            terminal.until(question, 60)
            terminal.type(f"{answer}\n")
        return terminal.end(90), terminal.shown
