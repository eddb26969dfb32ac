"""A run's connection to one worker: whole messages, each wait with a limit."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

from hivekeys.rotation.shards.messages import MOST, Alive, Downward, GarbledError, Upward, decode, encode

SIGN = 5.0  # seconds between two signs of life
SILENCE = 30.0  # seconds without any: the other side is given up, as a host gives up its bastion (line.LEASE)


class LinkLostError(Exception):
    """The other side is gone, or talks no sense; says how."""


class Link:
    """One thread receives; any may send."""

    def __init__(self, end: socket.socket, let_go: Callable[[], None] = lambda: None) -> None:
        """`let_go`: what else is done as it closes."""
        seconds = struct.pack("ll", int(SILENCE), 0)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # of a message that was begun
            end.setsockopt(socket.SOL_SOCKET, option, seconds)
        self._connection = Connection(end.detach())
        self._sending = threading.Lock()
        self._closing = threading.Event()
        self._let_go = let_go
        threading.Thread(target=self._give_signs, name="signs of life", daemon=True).start()

    def send(self, message: Downward | Upward) -> None:
        """Sends a message. Raises LinkLostError."""
        data = encode(message)
        try:
            with self._sending:
                self._connection.send_bytes(data)
        except (OSError, ValueError) as error:
            raise LinkLostError(f"it takes no message: {_words(error)}") from None

    def receive(self) -> Downward | Upward:
        """The next message that is no sign of life. Raises LinkLostError, also after a silence."""
        while True:
            try:
                if not self._connection.poll(SILENCE):
                    raise LinkLostError(f"it gave no sign of life for {SILENCE:.0f} s")
                message = decode(self._connection.recv_bytes(MOST))
            except (OSError, EOFError) as error:
                raise LinkLostError(f"it has ended ({_words(error)})" if str(error) else "it has ended") from None
            except GarbledError as error:
                raise LinkLostError(f"it said {error}") from None
            if not isinstance(message, Alive):
                return message

    def close(self) -> None:
        """Ends the connection, and wakes who waits for it. Never raises; may be repeated."""
        self._closing.set()
        with contextlib.suppress(OSError), socket.socket(fileno=self._connection.fileno()) as end:
            end.shutdown(socket.SHUT_RDWR)
            end.detach()
        self._let_go()

    def _give_signs(self) -> None:
        while not self._closing.wait(SIGN):
            with contextlib.suppress(LinkLostError):
                self.send(Alive())


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
