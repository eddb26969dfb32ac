"""One host's part of a run, as its events tell it. Pure."""

from dataclasses import dataclass, replace

from hivekeys.journal.downtime import moments
from hivekeys.journal.events import Intent, Outcome, Phase, State, Status
from hivekeys.journal.gap import STOPS, UNSEEN, Served, after_order, answered
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.drained import Drained
from hivekeys.protocol.metered import Metered
from hivekeys.protocol.seen import HostRecord, Proof, Seen
from hivekeys.protocol.verbs import STEPS, Verb
from hivekeys.token import Fingerprint

TURNING = frozenset(verb for verb, kind in STEPS.items() if kind.turns)
CHANGING = frozenset(verb for verb, kind in STEPS.items() if kind.touches)
TRUSTING = (Trouble.SURVIVOR, Trouble.OLD_ACCEPTED, Trouble.PLACE_UNASKED)  # the host may still take an old token


@dataclass(frozen=True)
class HostRun:
    """One host's part in a run. `served`: what its service let in, and when."""

    name: str
    was: Fingerprint | None = None
    now: Fingerprint | None = None
    seen: Seen | None = None
    host_record: HostRecord | None = None
    machine: str = ""  # what stands for the machine that its name led to in this sitting (hivekeys.protocol.doubles)
    proof: Proof | None = None
    cause: Cause | None = None
    failed: Cause | None = None  # why it failed in an earlier sitting
    status: Status = Status.OK
    touched: bool = False  # something was sent that could change it
    turned: bool = False  # something was sent that could change what its service runs on
    state: State = State.UNCHANGED
    served: Served = UNSEEN
    reached: Phase | None = None  # the last phase that it came through in this sitting
    tries: int = 0  # how often a sitting began again with this host
    fences: int = 0  # how often its service was to be stopped in this sitting
    refused: float | None = None  # when it was first seen to refuse the old token (epoch); None: never, or not any more
    seconds: float = 0.0  # of work on the host, all phases
    drained: Drained | None = None  # how its service was freed of work, the last time
    metered: Metered | None = None  # what its meter has counted in this run
    cut: int = 0  # connections of clients that its front had let in with a token that leaked
    cordoned: bool = False  # that was begun, and the service was not seen to get work again
    had_at: float | None = None  # when it was first seen with the run's token in its file, by its own clock (epoch)

    @property
    def is_as_before(self) -> bool:
        """True for a host that has its token from before the run."""
        return self.state in (State.UNCHANGED, State.ROLLED_BACK) or not self.touched

    @property
    def is_out(self) -> bool:
        """True for a host whose service did not run when it was last seen."""
        return self.seen is not None and not self.seen.unit.runs

    @property
    def held(self) -> frozenset[Fingerprint]:
        """The tokens in the host's slots, as it was last seen."""
        slots = (self.seen.active, self.seen.staged, self.seen.previous) if self.seen else ()
        return frozenset(slot.fingerprint for slot in slots if slot and slot.fingerprint)


def forgiven(host: HostRun) -> HostRun:
    """The host with another chance: its failure is cleared, and what it showed is not new."""
    state = State.UNKNOWN if host.state is State.EXCLUDED else host.state  # it was not looked at since it came back
    proof = _void(host.proof) if host.served.ordered_at is not None else host.proof
    failed = host.cause or host.failed
    return replace(host, cause=None, failed=failed, status=Status.OK, seen=None, proof=proof, state=state, reached=None)


def unsettled(host: HostRun) -> HostRun:
    """The host as turned, to be tried once more with the old tokens."""
    return replace(host, reached=Phase.WAVE) if host.reached in (Phase.SETTLE, Phase.RETIRE) else host


def after(host: HostRun, event: Intent | Outcome, now: float, sitting: int, want: Fingerprint | None) -> HostRun:
    """The host after an intent, or after one more outcome; `now`: seconds since the run began.

    `want`: the token that the run brings.
    """
    if isinstance(event, Intent):
        return replace(_after_intent(host, set(event.verbs)), served=after_order(host.served, event.verbs, now))
    host = _after_outcome(host, event)
    if host.had_at is None and event.seen and event.seen.token is not None and event.seen.token == want:
        host = replace(host, had_at=event.seen.clock)
    return replace(host, served=answered(host.served, event, now, sitting, (host.was, want)))


def _after_outcome(host: HostRun, outcome: Outcome) -> HostRun:
    """The host after an outcome: what it showed, and its state."""
    host = replace(
        host,
        seen=outcome.seen or host.seen,
        was=host.was or (outcome.seen.token if outcome.seen and not host.turned else None),
        now=outcome.seen.token if outcome.seen else host.now,
        status=outcome.status,
        state=outcome.state,
        host_record=outcome.met or host.host_record,
        machine=outcome.met.machine if outcome.met else host.machine,
        proof=_proof(host, outcome),
        cause=outcome.cause or host.cause,
        reached=outcome.phase if outcome.status is Status.OK and outcome.cause is None else host.reached,
        fences=host.fences + (outcome.phase is Phase.FENCE),
        seconds=host.seconds + sum(step.seconds for step in outcome.steps),
        drained=outcome.drained or host.drained,
        cut=host.cut + outcome.cut,
        cordoned=bool(outcome.seen.cordoned) if outcome.seen else host.cordoned,
    )
    _, _, refused = moments(outcome)
    if outcome.cause and outcome.cause.trouble in TRUSTING:
        host = replace(host, refused=None)
    elif refused is not None:
        host = replace(host, refused=host.refused or outcome.when.at - (outcome.when.clock - refused))
    elif outcome.proof and outcome.proof.calls.get("old", 401) != 401:
        host = replace(host, refused=None)
    return host


def _proof(host: HostRun, outcome: Outcome) -> Proof | None:
    """The proof that counts now: answers of a process that was stopped since say nothing about the next process."""
    if outcome.proof:
        return outcome.proof.after(host.proof)
    lost = outcome.status is Status.UNKNOWN and host.served.ordered_at is not None
    stopped = lost or any(step.verb in STOPS for step in outcome.steps)
    return _void(host.proof) if stopped else host.proof


def _void(proof: Proof | None) -> Proof | None:
    """A proof without the service's own answers."""
    return proof and Proof({}, False, places=proof.places, survivors=proof.survivors, unchecked=proof.unchecked)


def _after_intent(host: HostRun, verbs: set[Verb]) -> HostRun:
    """The host from the time on at which it may have got these verbs."""
    touched, turned = host.touched or bool(verbs & CHANGING), host.turned or bool(verbs & TURNING)
    return replace(host, touched=touched, turned=turned, cordoned=host.cordoned or Verb.DRAIN in verbs)


def is_superseded(cause: Cause | None) -> bool:
    """True when a newer run has worked on the host since this one."""
    return cause is not None and cause.trouble is Trouble.SUPERSEDED


def is_double(host: HostRun) -> bool:
    """True where another host's name led to the same machine: which of the two hosts it is, is not known."""
    return host.cause is not None and host.cause.trouble is Trouble.SAME_MACHINE


def is_barred(host: HostRun) -> bool:
    """True for a host that can never go back: its own token was revoked."""
    return host.cause is not None and host.cause.trouble is Trouble.REVOKED
