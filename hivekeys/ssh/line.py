"""The interface of a line to an agent (one request, one answer), and of a dialer that opens lines. Pure.

Protocols only. `hivekeys.ssh.dialer` keeps them over SSH; the tests keep them with a fleet that lives in this
process.
"""

from typing import Protocol

from hivekeys.fleet import Host
from hivekeys.protocol.causes import Cause

HEARTBEAT = 10.0  # seconds; an agent that hears nothing for three of them leaves, and its host's lock with it
LEASE = 3 * HEARTBEAT  # hivekeys.host.serving.LEASE_SECONDS
QUIET = (
    15.0  # seconds without any sign of a host that has a request in hand: three of hivekeys.host.serving.SIGN_SECONDS
)


class Line(Protocol):
    """An open line to one agent. One thread at a time."""

    @property
    def took(self) -> float:
        """Seconds from the last request to its answer."""

    def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
        """Send one request and wait at most `deadline` seconds for its reply.

        A Cause (SILENT: no reply in time, or no sign of life for QUIET; LINE_BROKEN: the line ended; RUBBISH: not
        a reply) means that it is not known what the host did with the request. The line is then closed, and every later
        `ask` is a Cause at once. The agent begins nothing of a request that reaches it after its deadline.

        Nor does it begin anything more LEASE after a line is closed, frozen meanwhile or not: so QUIET + LEASE after
        its last sign a host changes nothing any more, but for what it had in hand: one write, one restart.
        """

    def call_off(self) -> None:
        """Tell the agent that the operator ended the run: it waits for no work to end any more, and its answer says so.

        From any thread, with a request in hand or without; returns at once.
        """

    def close(self) -> None:
        """Let the agent see the end of its input. Never raises, may be repeated."""


class Applicant(Protocol):
    """Who waits for a host's turn without a thread. Called from any thread; returns at once and raises nothing."""

    def connecting(self) -> None:
        """From now on it is the host that lets us wait."""

    def ready(self) -> None:
        """`dial` has no SYN to wait for any more. Called once."""


class Dialer(Protocol):
    """Opens lines, and lets every agent hear from us each HEARTBEAT for as long as its line is open. Many threads."""

    def connect(self, host: Host, applicant: Applicant) -> None:
        """Begins to connect to a host that will be dialled soon, and returns at once. Needs not be called before.

        Hosts that are reached directly are connected to at once, however many they are. The others, behind a jump host
        or a ProxyCommand, are ready as they are: `dial` does it all.
        """

    def dial(self, host: Host) -> Line | Cause:
        """A line whose agent is ready, or why there is none: a host's failure is never an exception."""

    def close(self) -> None:
        """Give up what the lines shared; lines that are still open may break."""
