"""The session on a host: the channel on which the agent is started, asked, and answers. Bounded in time and
in memory.

Paramiko's channel is used raw, with blocking calls under a deadline that is computed anew from the monotonic
clock. Some of those calls know no time-out (a send to a host that is frozen, the reply to `exec`), so a
watchdog breaks the connection when the deadline is over, and the blocked call returns.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from hivekeys.bootstrap import OTHER_LIMIT, Startup
from hivekeys.causes import Cause, Trouble
from hivekeys.fleet import Timeouts
from hivekeys.remote.login import Login

REPLY_LIMIT = 4 * 1024 * 1024  # bytes of one reply
STDERR_KEPT = 4 * 1024  # bytes
_CHUNK = 64 * 1024  # bytes asked for at once
_SLICE = 0.5  # seconds; stderr shares its window with stdout, so it is emptied this often while stdout is quiet
_FAREWELL = 1.0  # seconds for the end of file to leave


class Stop(Enum):
    """Why there is no line to read."""

    ENDED = "ended"
    SILENT = "silent"
    TOO_LONG = "too long"


def open_line(login: Login, command: str, opening: bytes, timeouts: Timeouts) -> "SshLine | Cause":
    """Start the agent on a fresh login, which is closed if that fails.

    The session gets `channel` seconds, then the agent `auth` seconds to be ready: sudo is a second login.
    """
    until = time.monotonic() + timeouts.channel
    with _watchdog(until, login.close):
        channel = _session(login, command, until)
    if not isinstance(channel, Cause):
        stream = Stream(login, channel)
        cause = _start(stream, opening, timeouts.auth)
        if cause is None:
            return SshLine(login, stream)
        channel = cause
    login.close()
    return channel


def _session(login: Login, command: str, until: float) -> Any:
    """A session channel that runs `command`, or a Cause."""
    try:
        channel = login.transport.open_session()
        channel.exec_command(command)
    except Exception as error:  # a host that talks nonsense makes paramiko raise anything at all
        if time.monotonic() >= until:
            return Cause(Trouble.SILENT, f"{login.settings}: logged in, but no session in time")
        trouble = Trouble.LOGIN_REFUSED if login.alive else Trouble.LINE_BROKEN
        return Cause(trouble, f"{login.settings}: logged in, but no session: {error or type(error).__name__}")
    return channel


def _start(stream: "Stream", opening: bytes, timeout: float) -> Cause | None:
    """Send the program and read up to its ready line."""
    until = time.monotonic() + timeout
    startup = Startup()
    with _watchdog(until, stream.abort):
        stream.send(opening, until)  # if that fails, what can still be read says why
        while not startup.ready:
            line = stream.line(until, OTHER_LIMIT - startup.other_bytes)
            if line is Stop.TOO_LONG:
                return startup.rubbish(f"more than {OTHER_LIMIT} bytes before the agent was ready")
            if line is Stop.SILENT:
                return startup.silent(timeout)
            if line is Stop.ENDED:
                return startup.ended(*stream.farewell())
            startup.hear(line)
    return None


class SshLine:
    """A line whose agent is ready; the contract is `hivekeys.line.Line`'s."""

    def __init__(self, login: Login, stream: "Stream") -> None:
        self._login = login
        self._stream = stream
        self._over: Cause | None = None

    def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
        """One request, one reply, within `deadline` seconds; a Cause ends the line."""
        if self._over is not None:
            return self._over
        answer = self._exchange(json.dumps(request).encode() + b"\n", deadline)
        if isinstance(answer, Cause):
            self._over = Cause(Trouble.LINE_BROKEN, f"the line was given up earlier ({answer})")
            self._login.close()
        return answer

    def close(self) -> None:
        """The agent sees the end of its input."""
        if self._over is None:
            self._over = Cause(Trouble.LINE_BROKEN, "the line is closed")
            self._stream.close()
            self._login.close()

    def _exchange(self, request: bytes, deadline: float) -> dict[str, object] | Cause:
        if self._stream.pending:
            return Cause(Trouble.RUBBISH, "the agent spoke without being asked")
        until = time.monotonic() + deadline
        with _watchdog(until, self._login.close):
            self._stream.send(request, until)
            reply = self._stream.line(until, REPLY_LIMIT)
        if reply is Stop.SILENT:
            return Cause(Trouble.SILENT, f"no reply within {deadline:g} s")
        if reply is Stop.TOO_LONG:
            return Cause(Trouble.RUBBISH, f"a reply of more than {REPLY_LIMIT} bytes")
        if reply is Stop.ENDED:
            status, complaint = self._stream.farewell()
            how = "the connection broke" if status < 0 else f"the agent ended with status {status}"
            return Cause(Trouble.LINE_BROKEN, f"{how}: {complaint}" if complaint else how)
        return _reply(reply)


def _reply(line: bytes) -> dict[str, object] | Cause:
    """A reply as an object. Its text is not shown when it is none: it could hold anything."""
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        return Cause(Trouble.RUBBISH, f"a reply of {len(line)} bytes that is no JSON")
    if not isinstance(reply, dict):
        return Cause(Trouble.RUBBISH, "a reply that is no JSON object")
    return reply


class Stream:
    """A channel's lines, and the last of its stderr. One thread at a time, but for `abort`."""

    def __init__(self, login: Login, channel: Any) -> None:
        self.abort = login.close
        self._channel = channel
        self._received = bytearray()
        self._errors = b""

    @property
    def pending(self) -> bool:
        """Whether there is text that nobody has asked for."""
        return bool(self._received) or self._channel.recv_ready()

    def send(self, data: bytes, until: float) -> None:
        """Send, as far as the host takes it. A failure shows in what is read next."""
        self._channel.settimeout(max(0.0, until - time.monotonic()))
        with contextlib.suppress(Exception):  # time-out, broken line, or whatever paramiko raises for them
            self._channel.sendall(data)

    def line(self, until: float, limit: int) -> bytes | Stop:
        """The next line without its end, of at most `limit` bytes."""
        searched = 0
        while True:
            end = self._received.find(b"\n", searched)
            if max(end, len(self._received) if end < 0 else 0) > limit:
                return Stop.TOO_LONG
            if end >= 0:
                line = bytes(self._received[:end])
                del self._received[: end + 1]
                return line
            searched = len(self._received)
            data = self._receive(until)
            if isinstance(data, Stop):
                return data
            self._received += data

    def farewell(self) -> tuple[int, str]:
        """The exit status of a command that ended (-1: unknown) and the last line of its stderr."""
        self._channel.status_event.wait(_FAREWELL)
        self._drain_errors()
        lines = self._errors.decode(errors="replace").strip().splitlines()
        return self._channel.exit_status, lines[-1] if lines else ""

    def close(self) -> None:
        """Send the end of file. Never raises."""
        with _watchdog(time.monotonic() + _FAREWELL, self.abort), contextlib.suppress(Exception):
            self._channel.close()

    def _receive(self, until: float) -> bytes | Stop:
        while True:
            try:
                self._drain_errors()
                left = until - time.monotonic()
                if left <= 0:
                    return Stop.SILENT
                self._channel.settimeout(min(left, _SLICE))
                data: bytes = self._channel.recv(_CHUNK)
            except TimeoutError:
                continue
            except Exception:  # the connection broke while paramiko acknowledged what it read
                data = b""
            if data:
                return data
            return Stop.ENDED if time.monotonic() < until else Stop.SILENT

    def _drain_errors(self) -> None:
        """Keep the end of stderr; a window's worth at a time, so that a flood cannot hold the reader."""
        for _ in range(2 * 1024 * 1024 // _CHUNK):
            if not self._channel.recv_stderr_ready():
                return
            self._errors = (self._errors + self._channel.recv_stderr(_CHUNK))[-STDERR_KEPT:]


@contextlib.contextmanager
def _watchdog(until: float, abort: Callable[[], None]) -> Iterator[None]:
    """Calls `abort` from another thread if the block is still running at `until` (monotonic)."""
    timer = threading.Timer(max(0.0, until - time.monotonic()), abort)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
