"""Tells the agents of all open lines regularly that the bastion is alive.

An agent holds its host's lock, and leaves when it has heard nothing for a while. The sign goes end to end, through jump
hosts and proxies, which TCP's keepalive does not; it costs one packet a beat and no answer.
"""

import threading

from hivekeys.ssh.channel import SshLine
from hivekeys.ssh.line import HEARTBEAT


class Heartbeat:
    """Safe for many threads. The thread begins with the first line."""

    def __init__(self, every: float = HEARTBEAT) -> None:
        """`every`: seconds between two signs of life."""
        self._every = every
        self._lines: set[SshLine] = set()
        self._mutex = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def add(self, line: SshLine) -> SshLine:
        """The line; from now on it gets the signs of life until it is closed."""
        with self._mutex:
            self._lines.add(line)
            if self._thread.ident is None and not self._over.is_set():
                self._thread.start()
        return line

    def stop(self) -> None:
        """Ends the heartbeat; safe to repeat."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            with self._mutex:
                lines = tuple(self._lines)
            over = {line for line in lines if not line.send_sign_of_life()}
            with self._mutex:
                self._lines -= over
