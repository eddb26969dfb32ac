"""The SSH channel on which an agent runs."""

import json
import threading
import time
from typing import Any

from hivekeys.fleet import Timeouts
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.bootstrap import Startup
from hivekeys.ssh.line import QUIET
from hivekeys.ssh.login import Login, error_text
from hivekeys.ssh.startup import read_until_ready
from hivekeys.ssh.stream import Stop, Stream, watchdog
from hivekeys.ssh.sudo import SudoPrompt

REPLY_LIMIT = 4 * 1024 * 1024  # bytes of one reply
_HEARTBEAT_LIMIT = 1.0  # seconds that a beat may wait for a host that takes no more; the line breaks by itself then
CRASHED = 70  # the exit status of an agent that met a bug of its own (agent.main)


def open_line(
    login: Login,
    command: str,
    opening: bytes,
    timeouts: Timeouts,
    prompt: SudoPrompt | None = None,
    digest: str = "",
    quiet: float = QUIET,
) -> "SshLine | Cause":
    """Start the agent on a fresh login, which is closed if that fails. `digest`: which agent an installed one must be.

    The session gets `channel` seconds, then the agent `auth` seconds to be ready: sudo is a second login. A `prompt`
    (whose command it is then) is passed first, and takes its own time.
    """
    channel = _session(login, command, timeouts.channel)
    if isinstance(channel, Cause):
        login.close()
        return channel
    stream = Stream(channel, login.close)
    startup = _start(stream, opening, timeouts.auth, prompt, digest)
    if isinstance(startup, Cause):
        login.close()
        return prompt.redact(startup) if prompt else startup
    return SshLine(login, stream, startup.clock_offset(time.monotonic()), prompt, quiet)


def _session(login: Login, command: str, timeout: float) -> Any:
    """A session channel that runs `command`, or a Cause."""
    until = time.monotonic() + timeout
    try:
        with watchdog(until, login.close):
            channel = login.transport.open_session()
            channel.exec_command(command)
    except Exception as error:  # a host that talks nonsense makes paramiko raise anything at all
        if time.monotonic() >= until:
            return Cause(Trouble.SILENT, f"{login.settings}: logged in, but no session within {timeout:g} s")
        trouble = Trouble.LOGIN_REFUSED if login.alive else Trouble.LINE_BROKEN
        return Cause(trouble, f"{login.settings}: logged in, but no session: {error_text(error)}")
    return channel


def _start(stream: Stream, opening: bytes, timeout: float, prompt: SudoPrompt | None, digest: str) -> Startup | Cause:
    """Send the program, if it is not there already, and read up to its ready line."""
    startup = Startup(restricted=bool(digest))
    shut = prompt.pass_through(stream, startup, timeout) if prompt else None
    if shut:
        return shut
    cause = read_until_ready(stream, startup, lambda: startup.ready, timeout, opening)
    if digest and cause is None:
        cause = startup.differs(digest)
    return cause if isinstance(cause, Cause) else startup


class SshLine:
    """A line whose agent is ready; the contract is `hivekeys.ssh.line.Line`'s."""

    def __init__(
        self,
        login: Login,
        stream: Stream,
        ahead: float | None = None,
        prompt: SudoPrompt | None = None,
        quiet: float = QUIET,
    ) -> None:
        """`ahead`: seconds by which the host's monotonic clock is ahead of ours.

        Measured when the ready line arrived, which was sent before: in truth it is more, so a request's time and the
        agent's lease end on the host no later than here.
        """
        self._login = login
        self._stream = stream
        self._clock_offset = ahead
        self._prompt = prompt
        self._quiet = quiet
        self.took = 0.0
        self._over: Cause | None = None
        self._sending = threading.Lock()

    def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
        """One request, one reply, within `deadline` seconds; a Cause ends the line."""
        began = time.monotonic()
        until = began + deadline
        if self._over is not None:
            return self._over
        if self._clock_offset is not None:
            request = {**request, "expires": until + self._clock_offset}
        answer = self._exchange(json.dumps(request).encode() + b"\n", until, deadline)
        self.took = time.monotonic() - began
        if self._prompt:
            answer = self._prompt.checked(answer)
        if isinstance(answer, Cause):
            self._over = Cause(Trouble.LINE_BROKEN, f"the line was given up earlier ({answer})")
            self._login.close()
        return answer

    def send_sign_of_life(self) -> bool:
        """A sign of life for the agent, from any thread, with a request in hand or without. False: the line is over.

        It says when it was sent, by the host's clock: one that is held up on the way renews no lease.
        """
        if self._over is not None:
            return False
        if self._sending.acquire(blocking=False):  # a request that is just being sent says as much
            try:
                now = time.monotonic()
                sign = b"\n" if self._clock_offset is None else b"@%.3f\n" % (now + self._clock_offset)
                self._stream.send(sign, now + _HEARTBEAT_LIMIT)
            finally:
                self._sending.release()
        return True

    def call_off(self) -> None:
        """Says that the run was ended, from a thread of its own: a host that takes no more must not hold the caller."""

        def send() -> None:
            with self._sending:
                if self._over is None:
                    self._stream.send(b"!\n", time.monotonic() + _HEARTBEAT_LIMIT)

        threading.Thread(target=send, name="call off", daemon=True).start()

    def close(self) -> None:
        """The agent sees the end of its input."""
        if self._over is None:
            self._over = Cause(Trouble.LINE_BROKEN, "the line is closed")
            self._stream.close()
            self._login.close()

    def _exchange(self, request: bytes, until: float, deadline: float) -> dict[str, object] | Cause:
        if self._stream.pending:
            return Cause(Trouble.RUBBISH, "the agent spoke without being asked")
        with watchdog(until, self._login.close):
            taken = min(until, time.monotonic() + self._quiet)
            with watchdog(taken, self._login.close), self._sending:
                self._stream.send(request, taken)
            if time.monotonic() < taken:
                reply = self._stream.line(until, REPLY_LIMIT, quiet=self._quiet)
            else:
                reply = Stop.SILENT if taken == until else Stop.QUIET
        if reply is Stop.SILENT:
            return Cause(Trouble.SILENT, f"no reply within {deadline:g} s")
        if reply is Stop.QUIET:
            return Cause(Trouble.SILENT, f"nothing was heard from the host for {self._quiet:g} s")
        if reply is Stop.TOO_LONG:
            return Cause(Trouble.RUBBISH, f"a reply of more than {REPLY_LIMIT} bytes")
        if isinstance(reply, Stop):
            status, complaint = self._stream.farewell()
            how = "the connection broke" if status < 0 else f"the agent ended with status {status}"
            trouble = Trouble.AGENT_CRASHED if status == CRASHED else Trouble.LINE_BROKEN
            return Cause(trouble, f"{how}: {complaint}" if complaint else how)
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
