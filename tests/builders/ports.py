"""Ports of this machine at which tests reach hosts: one takes connections, one answers no SYN, one is closed."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def listening(address: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A port that takes connections; the kernel does so by itself."""
    with socket.create_server((address, 0), backlog=8) as plug:
        yield plug


@contextlib.contextmanager
def dead(address: str = "127.0.0.1") -> Iterator[int]:
    """A port whose queue is full: Linux drops every further SYN, as a host does that is switched off."""
    with contextlib.ExitStack() as stack:
        plug = stack.enter_context(socket.create_server((address, 0), backlog=0))
        for _ in range(2):
            stranger = stack.enter_context(socket.socket())
            stranger.setblocking(False)
            stranger.connect_ex(plug.getsockname())
        yield plug.getsockname()[1]


def closed(address: str = "127.0.0.1") -> int:
    """A port where nobody listens."""
    with socket.create_server((address, 0)) as plug:
        return int(plug.getsockname()[1])
