"""Opens the first hop: a socket to a host's SSH port, or a ProxyCommand. Nothing is said on it yet."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.addresses import Address, numeric, resolved, unanswered
from hivekeys.ssh.settings import Settings

KEEPALIVE_IDLE, KEEPALIVE_EVERY, KEEPALIVE_PROBES = 15, 5, 3  # seconds, seconds, probes
UNANSWERED_MS = 30_000  # milliseconds that sent bytes may stay unacknowledged


@dataclass
class Wire:
    """What SSH runs over, and how to let go of it."""

    socket: Any  # a socket, or a way through a jump host, which behaves like one and closes without an error
    let_go: Callable[[], None] = field(default=lambda: None)
    complaint: Callable[[], str] = field(default=lambda: "")  # what a ProxyCommand said last

    def close(self) -> None:
        """Wakes the thread that reads from the socket, and closes it. Never raises; may be repeated."""
        if isinstance(self.socket, socket.socket):
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.let_go()


def reach(settings: Settings, timeout: float) -> Wire | Cause:
    """A wire to the host of `settings`, which no jump host stands before."""
    if settings.proxy_command:
        return _run(settings.proxy_command)
    addresses = _resolve(settings, timeout)
    return addresses if isinstance(addresses, Cause) else _connect(settings, addresses, timeout)


def _resolve(settings: Settings, timeout: float) -> list[Address] | Cause:
    """The addresses of a host. The resolver knows no deadline, so it gets a thread that may be left."""
    named = numeric(settings)
    if not isinstance(named, Cause):
        return named
    answers: queue.SimpleQueue[list[Address] | Cause] = queue.SimpleQueue()
    ask = threading.Thread(
        target=lambda: answers.put(resolved(settings)), name=f"resolve {settings.hostname}", daemon=True
    )
    ask.start()
    try:
        return answers.get(timeout=timeout)
    except queue.Empty:
        return unanswered(settings, timeout)


def _connect(settings: Settings, addresses: list[Address], timeout: float) -> Wire | Cause:
    """The first address that answers; they share the time-out, so that a dead one does not use it up."""
    until = time.monotonic() + timeout
    refusals = []
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        plug = socket.socket(family, socket.SOCK_STREAM)
        plug.settimeout(share(until - time.monotonic(), left))
        try:
            plug.connect(address)
            tune(plug)
        except OSError as error:
            plug.close()
            refusals.append(refusal(address, error))
        else:
            return Wire(plug)
    return refused(refusals)


def share(seconds: float, addresses: int) -> float:
    """How long to wait for one address, when so many are to be tried in that time."""
    return max(0.1, seconds / addresses)


def refusal(address: Any, error: OSError) -> str:
    """Why there is no connection to an address."""
    words = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return f"{address[0]} port {address[1]}: {words}"


def refused(refusals: list[str]) -> Cause:
    """Why there is no connection to a host, by all of its addresses."""
    return Cause(Trouble.NO_CONNECTION, "; ".join(refusals))


def tune(plug: socket.socket) -> None:
    """Send small packets at once (Nagle costs 40 ms a request); let the kernel notice a dead peer."""
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE,
        "TCP_KEEPINTVL": KEEPALIVE_EVERY,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_USER_TIMEOUT": UNANSWERED_MS,
    }
    for name, value in options.items():
        option = getattr(socket, name, None)  # not every system has each of them
        if option is not None:
            plug.setsockopt(socket.IPPROTO_TCP, option, value)


def _run(command: str) -> Wire | Cause:
    """A ProxyCommand at the other end of a socket pair; `exec` as OpenSSH has it, so no shell stays."""
    ours, theirs = socket.socketpair()
    words = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the command runs
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=words.fileno(),
            start_new_session=True,  # Ctrl-C is not for it, and all of it can be ended
        )
    except OSError as error:
        ours.close()
        words.close()
        return Cause(Trouble.SSH_CONFIG, f"ProxyCommand: {error}")
    finally:
        theirs.close()
    return Wire(ours, let_go=lambda: _end(process, words), complaint=lambda: _last_line(words))


def _end(process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
    """End a ProxyCommand and everything it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    words.close()


def _last_line(words: IO[bytes]) -> str:
    if words.closed:
        return ""
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - 4096))
    lines = words.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
