"""One host's part of a run, as whoever decides has it: what is known of the host, and what can be done there.

`host` does it on lines of this process, `shards` by a worker.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import replace

from hivekeys.fleet import Host
from hivekeys.journal.events import Outcome, Phase, State, Status
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.recorder import Recorder
from hivekeys.protocol.audited import Query
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.verbs import Busy, Drain, Greeting, Notify
from hivekeys.protocol.wire import Tokens
from hivekeys.rotation.steps import Goal
from hivekeys.ssh.line import Applicant
from hivekeys.token import Fingerprint, Token


class Controller(ABC):
    """Brings one host to where a run wants it. A failure is an outcome, never an exception. One thread at a time."""

    def __init__(self, host: Host, recorder: Recorder, meters: bool = False) -> None:
        """`meters`: its service is called as clients do, and what is refused is counted."""
        self.host = host
        self.meters = meters and not host.service.is_client
        self._recorder = recorder

    @property
    def record(self) -> HostRun:
        """The host as the run knows it so far."""
        return self._recorder.host(self.host.name)

    @property
    def held(self) -> frozenset[Fingerprint]:
        """The tokens in the host's slots, as it was last seen."""
        return self.record.held

    @property
    def loaded_token(self) -> tuple[Fingerprint, ...]:
        """The token that its service runs on, where that can be told."""
        seen = self.record.seen
        return (seen.loaded.fingerprint,) if seen and seen.loaded.fingerprint else ()

    # -- who speaks to it

    @abstractmethod
    def introduce(self, greeting: Greeting, tokens: Tokens) -> None:
        """Greets the host anew with the next request: as a run that writes, and that knows these tokens."""

    @abstractmethod
    def knows(self, fingerprint: Fingerprint) -> bool:
        """True when the token itself is in this run's memory, and can be written."""

    @abstractmethod
    def connect(self, applicant: Applicant) -> None:
        """Has the applicant know when the host has no SYN to wait for; returns at once."""

    @abstractmethod
    def close(self) -> None:
        """Lets the host go, with its lock; safe to repeat."""

    # -- before anything is changed

    @abstractmethod
    def look(self) -> Outcome:
        """Read-only: what the host shows, and whether its service accepts the token in its file."""

    @abstractmethod
    def look_again(self, want: Fingerprint | None) -> Outcome:
        """Read-only, and nothing is asked of the service: where is this host now?"""

    @abstractmethod
    def claim(self, expected: Collection[Fingerprint | None], patient: bool = False) -> Outcome:
        """The host's lock for this run, and proof that a file can be written where the token will be.

        `patient`: another run's lock is waited for, once, for as long as a bastion that died can have it.
        """

    @abstractmethod
    def read_token(self, want: Fingerprint, key: bytes) -> Token | None:
        """The token itself, if a slot of this host holds it; it stays in the memory of this run."""

    @abstractmethod
    def audit(self, query: Query) -> Reply | Cause:
        """What the service's audit records say. No outcome: they say nothing about the host's own state."""

    # -- changing it

    @abstractmethod
    def reach(self, phase: Phase, goal: Goal, there: State, anew: bool = False) -> Outcome:
        """Brings the host to the goal; `there` is its state when it has come there.

        `anew`: whoever did so before was lost, so what the host showed last may not be so any more.
        """

    @abstractmethod
    def fence(self) -> Outcome:
        """Stops the service of a host that could not be turned: it accepts no call any more."""

    @abstractmethod
    def read_meter(self) -> None:
        """Has what was counted recorded, and the calls go on with the token that clients have now."""

    def uncordon(self, phase: Phase, outcome: Outcome) -> Outcome:
        """The outcome of a phase, once a service that was drained has work again; where that fails it is `cordoned`.

        Who cannot be reached is asked again by the next run: the host remembers that it was drained.
        """
        seen = self.record.seen
        lost = outcome.status in (Status.UNREACHABLE, Status.UNKNOWN)
        if self.host.service.drain is None or lost or outcome.state is State.CORDONED or not (seen and seen.cordoned):
            return outcome
        return self._uncordon(phase, outcome)

    @abstractmethod
    def _uncordon(self, phase: Phase, outcome: Outcome) -> Outcome:
        """The same, of a host that is drained."""

    # -- outcomes

    def fail(self, phase: Phase, cause: Cause) -> Outcome:
        """Records a failure of a host whose answer must not be believed."""
        return self._outcome(phase, Status.FAILED, State.FAILED, cause)

    def leave(self, phase: Phase, state: State) -> Outcome:
        """Records an outcome for a host that needs nothing."""
        return self._outcome(phase, Status.OK, state)

    def _given_up(self, phase: Phase, lost: Cause | None) -> Outcome:
        """The outcome of a host that cannot be reached: unknown if it was sent a change, else unreachable."""
        if self.record.touched:
            return self._outcome(phase, Status.UNKNOWN, State.UNKNOWN, lost)
        return self._outcome(phase, Status.UNREACHABLE, State.UNREACHABLE, lost)

    def _outcome(
        self, phase: Phase, status: Status, state: State, cause: Cause | None = None, reply: Reply | None = None
    ) -> Outcome:
        """Records the outcome of a phase. A failure has a cause: without one the course would retry it for ever."""
        if status is not Status.OK and cause is None:
            cause = Cause(Trouble.RUBBISH, "the agent did not report the state of the host")
        outcome = Outcome(self.host.name, phase, status, state, self._recorder.now(), cause)
        if reply:
            outcome = replace(
                outcome,
                seen=reply.seen,
                proof=reply.proof,
                met=reply.host_record,
                results=reply.results,
                broke=reply.broke,
                drained=reply.to(Drain) or reply.to(Busy),
                cut=admitted.cut if (admitted := reply.to(Notify)) else 0,
            )
        self._recorder.record(outcome)
        return outcome
