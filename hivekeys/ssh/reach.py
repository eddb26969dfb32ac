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
from hivekeys.ssh.settings import Settings

KEEPALIVE_IDLE, KEEPALIVE_EVERY, KEEPALIVE_PROBES = 15, 5, 3  # seconds, seconds, probes
UNANSWERED_MS = 30_000  # milliseconds that sent bytes may stay unacknowledged

_Address = tuple[socket.AddressFamily, Any]  # the second part's shape depends on the family


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


def _resolve(settings: Settings, timeout: float) -> list[_Address] | Cause:
    """The addresses of a host. The resolver knows no deadline, so it gets a thread that may be left."""
    answers: queue.SimpleQueue[list[_Address] | Cause] = queue.SimpleQueue()

    def ask(flags: int = 0) -> None:
        try:
            found = socket.getaddrinfo(
                settings.hostname, settings.port, settings.family, socket.SOCK_STREAM, flags=flags
            )
            answers.put([(family, address) for family, _, _, _, address in found])
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA does not allow
            words = getattr(error, "strerror", None) or str(error)
            answers.put(Cause(Trouble.NAME_UNKNOWN, f"{settings.hostname}: {words}"))

    ask(socket.AI_NUMERICHOST)
    numeric = answers.get()
    if not isinstance(numeric, Cause):
        return numeric
    threading.Thread(target=ask, name=f"resolve {settings.hostname}", daemon=True).start()
    try:
        return answers.get(timeout=timeout)
    except queue.Empty:
        return Cause(Trouble.NAME_UNKNOWN, f"{settings.hostname}: no answer from the resolver within {timeout:g} s")


def _connect(settings: Settings, addresses: list[_Address], timeout: float) -> Wire | Cause:
    """The first address that answers; they share the time-out, so that a dead one does not use it up."""
    until = time.monotonic() + timeout
    refusals = []
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        plug = socket.socket(family, socket.SOCK_STREAM)
        plug.settimeout(max(0.1, (until - time.monotonic()) / left))
        try:
            plug.connect(address)
            _tune(plug)
        except OSError as error:
            plug.close()
            words = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
            refusals.append(f"{address[0]} port {settings.port}: {words}")
        else:
            return Wire(plug)
    return Cause(Trouble.NO_CONNECTION, "; ".join(refusals))


def _tune(plug: socket.socket) -> None:
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
