"""One host's part in a run, as its events leave it. Pure."""

from dataclasses import dataclass

from hivekeys.causes import Cause, Trouble
from hivekeys.gap import UNSEEN, Served
from hivekeys.model import State, Status
from hivekeys.shown import Met, Proof, Seen
from hivekeys.token import Fingerprint


@dataclass(frozen=True)
class HostRun:
    """One host's part in a run. `served`: what its service let in, and when."""

    name: str
    was: Fingerprint | None = None
    now: Fingerprint | None = None
    seen: Seen | None = None
    met: Met | None = None
    machine: str = ""  # what stands for the machine that its name led to in this sitting (hivekeys.doubles)
    proof: Proof | None = None
    cause: Cause | None = None
    status: Status = Status.OK
    touched: bool = False  # something was sent that could change it
    turned: bool = False  # something was sent that could change what its service runs on
    state: State = State.UNCHANGED
    served: Served = UNSEEN
    refused: float | None = None  # when it was first seen to refuse the old token (epoch); None: never, or not any more
    seconds: float = 0.0  # of work on the host, all phases

    @property
    def is_as_before(self) -> bool:
        """True for a host that has its token from before the run."""
        return self.state in (State.UNCHANGED, State.ROLLED_BACK) or not self.touched

    @property
    def held(self) -> frozenset[Fingerprint]:
        """The tokens in the host's slots, as it was last seen."""
        slots = (self.seen.active, self.seen.staged, self.seen.previous) if self.seen else ()
        return frozenset(slot.fingerprint for slot in slots if slot and slot.fingerprint)


def is_superseded(cause: Cause | None) -> bool:
    """True when a newer run has worked on the host since this one."""
    return cause is not None and cause.trouble is Trouble.SUPERSEDED


def is_double(host: HostRun) -> bool:
    """True where another host's name led to the same machine: nobody knows which of the two it is."""
    return host.cause is not None and host.cause.trouble is Trouble.SAME_MACHINE


def is_barred(host: HostRun) -> bool:
    """True for a host that can never go back: its own token was revoked."""
    return host.cause is not None and host.cause.trouble is Trouble.REVOKED
