"""Keeps one connection to each jump host for all the hosts behind it.

Threads that share a jump host which is not open yet all fail (paramiko), and more than about ten logins
starting at once trip an sshd's MaxStartups. So a jump host is logged in to before any connection goes through it,
and at most STARTING logins through it are under way at a time.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import paramiko

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.login import Login, error_text
from hivekeys.ssh.reach import Wire
from hivekeys.ssh.settings import Settings

STARTING = 8

Route = tuple[Settings, ...]
LogIn = Callable[[Route, str], Login | Cause]


class Jumps:
    """The jump hosts of a run, by the chain of hops that leads to and includes them."""

    def __init__(self, log_in: LogIn) -> None:
        self._log_in = log_in
        self._jumps: dict[Route, _Jump] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def wire(self, before: Route, who: str, to: Settings, timeout: float) -> Iterator[Wire | Cause]:
        """A wire to `to` through the hops `before`, for the host named `who`. Log in within the block.

        `timeout` in seconds is what the jump host gets to open the way.
        """
        with self._lock:
            jump = self._jumps.setdefault(before, _Jump())
        with jump.gate:
            login = jump.open(lambda: self._log_in(before, who), who)
            yield _blame(before[-1], login) if isinstance(login, Cause) else _forward(login, to, timeout)

    def close(self) -> None:
        """Close all of them, the last hop of a chain first."""
        with self._lock:
            jumps = sorted(self._jumps.items(), key=lambda item: -len(item[0]))
        for _, jump in jumps:
            jump.close()


class _Jump:
    """One jump host: its connection, or why there is none and which hosts were told."""

    def __init__(self) -> None:
        self.gate = threading.BoundedSemaphore(STARTING)
        self._lock = threading.Lock()
        self._state: Login | Cause | None = None
        self._warned: set[str] = set()

    def open(self, log_in: Callable[[], Login | Cause], who: str) -> Login | Cause:
        """The connection, opened by the first thread that asks.

        A failure is told to each host once, without trying again; a host that comes back starts a new
        attempt.
        """
        with self._lock:
            usable = isinstance(self._state, Login) and self._state.alive
            news = isinstance(self._state, Cause) and who not in self._warned
            if not usable and not news:
                if isinstance(self._state, Login):
                    self._state.close()  # it broke: let go of what it still holds
                self._state = log_in()
                self._warned.clear()
            self._warned.add(who)
            assert self._state is not None  # noqa: S101  for the type checker: log_in returned it
            return self._state

    def close(self) -> None:
        with self._lock:
            if isinstance(self._state, Login):
                self._state.close()


def _forward(jump: Login, to: Settings, timeout: float) -> Wire | Cause:
    """A channel from the jump host to the SSH port of `to`, which the jump host resolves."""
    try:
        channel = jump.transport.open_channel("direct-tcpip", (to.hostname, to.port), ("127.0.0.1", 0), timeout=timeout)
    except paramiko.ChannelException as error:
        if error.code == 1:  # RFC 4254, 5.1: administratively prohibited
            return _blame(jump.settings, Cause(Trouble.NO_CONNECTION, f"it refuses to forward to {to}"))
        return Cause(Trouble.NO_CONNECTION, f"{to}, from {jump.settings.alias}: {error.text or 'no connection'}")
    except Exception as error:  # a host that talks nonsense makes paramiko raise anything at all
        words = error_text(error)
        if jump.alive:
            return Cause(Trouble.NO_CONNECTION, f"{to}, from {jump.settings.alias}: {words}")
        return _blame(jump.settings, Cause(Trouble.LINE_BROKEN, words))
    return Wire(_Tunnel(channel))


class _Tunnel:
    """A jump host's channel as the socket of another connection.

    Closing a channel sends to the jump host, which may be gone. paramiko closes its socket outside of what it
    guards, so that error would end the thread with a traceback on the operator's screen.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        """Never raises; may be repeated."""
        with contextlib.suppress(Exception):  # whatever is left to go wrong, the way is gone
            self._channel.close()


def _blame(jump: Settings, cause: Cause) -> Cause:
    """The cause for a host behind a jump host that failed; it names the first hop that did."""
    if cause.trouble is Trouble.JUMP_FAILED:
        return cause
    return Cause(Trouble.JUMP_FAILED, f"jump host {jump.alias}: {cause}")
