"""A channel as lines, bounded in time and in memory.

Paramiko's channel is used raw, with blocking calls under a deadline that is computed anew from the monotonic
clock. Some of those calls know no time-out (a send to a host that is frozen, the reply to `exec`), so a
watchdog breaks the connection when the deadline is over, and the blocked call returns.
"""

import contextlib
import math
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from hivekeys.ssh.deadlines import Deadlines

STDERR_KEPT = 4 * 1024  # bytes
_CHUNK = 64 * 1024  # bytes asked for at once
_WINDOW = 2 * 1024 * 1024  # bytes that a host may send ahead; paramiko's default
_SLICE = 0.5  # seconds; stdout and stderr share a window, so stderr is emptied this often while stdout is quiet
_ALERT = 0.05  # seconds between two looks at stderr while a question may come there
_FAREWELL = 1.0  # seconds for the end of file to leave

watchdog = Deadlines().watch  # breaks the connection under a block that is still running at its end


class Stop(Enum):
    """Why there is no line to read."""

    ENDED = "ended"
    SILENT = "silent"
    QUIET = "quiet"
    TOO_LONG = "too long"
    ASKED = "asked"


class Stream:
    """A channel's lines, and the last of its stderr. One thread reads, one at a time sends; any thread may `abort`."""

    def __init__(self, channel: Any, abort: Callable[[], None]) -> None:
        """`abort` breaks the connection under the channel, from any thread."""
        self.abort = abort
        self._channel = channel
        self._received = bytearray()
        self._errors = b""

    @property
    def pending(self) -> bool:
        """Whether there is text that was not asked for."""
        return bool(self._received) or self._channel.recv_ready()

    def send(self, data: bytes, until: float) -> None:
        """Send, as far as the host takes it. A failure shows in what is read next."""
        self._channel.settimeout(max(0.0, until - time.monotonic()))
        with contextlib.suppress(Exception):  # time-out, broken line, or whatever paramiko raises for them
            self._channel.sendall(data)

    def line(self, until: float, limit: int, question: bytes = b"", quiet: float = math.inf) -> bytes | Stop:
        """The next line without its end, of at most `limit` bytes; ASKED once stderr has the `question`.

        QUIET when nothing arrives for that many seconds. Empty lines are signs of life and skipped where they count;
        they are bounded by the same `limit`.
        """
        searched = skipped = 0
        while True:
            if quiet < math.inf:
                skipped += self._skip_signs()
            end = self._received.find(b"\n", searched)
            if skipped + max(end, len(self._received) if end < 0 else 0) > limit:
                return Stop.TOO_LONG
            if end >= 0:
                line = bytes(self._received[:end])
                del self._received[: end + 1]
                return line
            searched = len(self._received)
            data = self._receive(until, question, quiet)
            if isinstance(data, Stop):
                return data
            self._received += data

    def _skip_signs(self) -> int:
        """Takes the empty lines away with which what was received begins; how many there were."""
        if not self._received.startswith(b"\n"):
            return 0
        before = len(self._received)
        self._received = self._received.lstrip(b"\n")
        return before - len(self._received)

    def farewell(self) -> tuple[int, str]:
        """The exit status of a command that ended (-1: unknown) and the last line of its stderr."""
        self._channel.status_event.wait(_FAREWELL)
        with contextlib.suppress(Exception):  # the connection broke while paramiko acknowledged what it read
            self._drain_errors()
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return self._channel.exit_status, lines[-1] if lines else ""

    def close(self) -> None:
        """Send the end of file. Never raises."""
        with watchdog(time.monotonic() + _FAREWELL, self.abort), contextlib.suppress(Exception):
            self._channel.close()

    def _receive(self, until: float, question: bytes, quiet: float) -> bytes | Stop:
        while True:
            try:
                self._drain_errors()
                if question and question in self._errors:
                    self._errors = b""
                    return Stop.ASKED
                left = until - time.monotonic()
                if left <= 0:
                    return Stop.SILENT
                if quiet <= 0:
                    return Stop.QUIET
                pause = min(left, quiet, _ALERT if question else _SLICE)
                self._channel.settimeout(pause)
                data: bytes = self._channel.recv(_CHUNK)
            except TimeoutError:
                quiet -= pause  # added up, not read from a clock: a bastion that was asleep has not listened
                continue
            except Exception:  # the connection broke while paramiko acknowledged what it read
                data = b""
            if data:
                return data
            return Stop.ENDED if time.monotonic() < until else Stop.SILENT

    def _drain_errors(self) -> None:
        """Keep the end of stderr; a window's worth at a time, so that a flood cannot hold the reader."""
        for _ in range(_WINDOW // _CHUNK):
            if not self._channel.recv_stderr_ready():
                return
            self._errors = (self._errors + self._channel.recv_stderr(_CHUNK))[-STDERR_KEPT:]
