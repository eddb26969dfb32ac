"""One host's part of a run: look, decide, act, look again. A failure is an outcome, never an exception.

`steps` says what a host needs; this module sends it and makes one outcome of the answer. After a broken line it
connects and looks again: only when that fails too is the host `unknown`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from hivekeys.fleet import Host
from hivekeys.journal.events import TURNED, Intent, MeterRead, Outcome, Phase, State, Status, Waiting
from hivekeys.journal.recorder import Recorder
from hivekeys.protocol.audited import Query
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.listeners import still_trusted
from hivekeys.protocol.messages import Reply, joined
from hivekeys.protocol.seen import Seen, in_environment
from hivekeys.protocol.verbs import (
    Audit,
    Busy,
    Drain,
    Fence,
    Greeting,
    Meter,
    Notify,
    Observe,
    ProbeWrite,
    Prove,
    Recall,
    Restart,
    Revert,
    Stage,
    Step,
    Swap,
    Sweep,
    Uncordon,
    Verb,
)
from hivekeys.protocol.wire import Tokens
from hivekeys.rotation import draining
from hivekeys.rotation.clients import clients_token
from hivekeys.rotation.controller import Controller
from hivekeys.rotation.steps import Goal, Part, Stance, obstacle, replaced, steps_to, untidy, with_drain
from hivekeys.service import Apply
from hivekeys.ssh.line import LEASE, Applicant
from hivekeys.ssh.session import Session
from hivekeys.token import Fingerprint, Token

LOOK = Observe()
ROUNDS = 3  # how often a host whose line broke is looked at again
REDIAL_PAUSE = 1.0  # seconds between two tries to get a lost host back
LOCK_PATIENCE = LEASE + 2.0  # seconds, in which a dead bastion's lock is gone for certain
LOCK_PAUSE = 1.0  # seconds between two tries to get a lock that another run has


class HostController(Controller):
    """Brings one host to where a run wants it, over a line of this process."""

    def __init__(
        self,
        host: Host,
        session: Session,
        recorder: Recorder,
        is_over: Callable[[], bool] = lambda: False,
        *,
        meters: bool = False,
    ) -> None:
        """`is_over`: nothing more may be begun."""
        super().__init__(host, recorder, meters)
        self.session = session
        self._is_over = is_over
        self._has_waited = False  # a run that still holds the host's lock then is alive

    def introduce(self, greeting: Greeting, tokens: Tokens) -> None:
        """Greets the host anew with the next request."""
        self.session.introduce(greeting, tokens)

    def knows(self, fingerprint: Fingerprint) -> bool:
        """True for a token that the host may be sent."""
        return self.session.knows(fingerprint)

    def connect(self, applicant: Applicant) -> None:
        """Has the applicant know when the host has no SYN to wait for."""
        self.session.connect(applicant)

    def close(self) -> None:
        """Ends the agent."""
        self.session.close()

    # -- before anything is changed

    def look(self) -> Outcome:
        """Read-only: what the host shows, and whether its service accepts the token in its file."""
        cause = self.session.open()
        drain = self.host.service.drain
        asks = drain and drain.until and not self.host.service.front  # a front is restarted by no run
        busy = (Busy(*self._about(Phase.LOOK)),) if asks else ()
        reply: Reply | Cause = cause or self.session.ask((LOOK, Prove(stable=False, waits=False), *busy))
        if isinstance(reply, Cause):
            return self._outcome(Phase.LOOK, Status.UNREACHABLE, State.UNREACHABLE, reply)
        cause = obstacle(reply.seen, self.host.service, self.session.request) if reply.seen else None
        cause = cause or reply.cause or self.session.recorded("input")
        if cause:
            return self._outcome(Phase.LOOK, Status.FAILED, State.FAILED, cause, reply)
        return self._outcome(Phase.LOOK, Status.OK, State.UNCHANGED, None, reply)

    def look_again(self, want: Fingerprint | None) -> Outcome:
        """Read-only, and nothing is asked of the service: where is this host now?"""
        cause = self.session.open()
        reply: Reply | Cause = cause or self.session.ask((LOOK,))
        if isinstance(reply, Cause):
            state = State.UNKNOWN if self.record.touched else State.UNREACHABLE
            return self._outcome(Phase.LOOK, Status.UNREACHABLE, state, reply)
        cause = reply.cause or (in_environment(reply.seen, self.host.service) if reply.seen else None)
        if cause or reply.seen is None:
            return self._outcome(Phase.LOOK, Status.FAILED, State.FAILED, cause, reply)
        if want and (reply.seen.token == want or want in reply.seen.listed):
            state = self.record.state if self.record.state in (*TURNED, State.BOTH) else State.UNKNOWN
        else:
            state = State.ROLLED_BACK if self.record.state is State.ROLLED_BACK else State.UNCHANGED
        return self._outcome(Phase.LOOK, Status.OK, state, None, reply)

    def claim(self, expected: Collection[Fingerprint | None], patient: bool = False) -> Outcome:
        """The host's lock for this run, and proof that a file can be written where the token will be."""
        self._recorder.record(Intent(self.host.name, Phase.CLAIM, (Verb.HELLO, Verb.PROBE_WRITE), self._recorder.now()))
        before = self.record.host_record
        reply = self._locked()
        if patient:
            reply = self._wait_for_lock(reply)
        if isinstance(reply, Cause):
            state = State.UNKNOWN if self.record.touched else State.UNREACHABLE
            return self._outcome(Phase.CLAIM, Status.UNREACHABLE, state, reply)
        cause = reply.cause
        if cause is None and reply.seen and (other := reply.seen.revoked_by(self._recorder.run.want)):
            cause = Cause(Trouble.SUPERSEDED, f"run {other}")
        if cause is None and reply.seen and reply.seen.token not in expected:
            cause = Cause(Trouble.SLOT_CHANGED, "the token is not the one that was there a moment ago")
            last = reply.host_record.changed.run if reply.host_record else ""
            if before and last not in (before.changed.run, self._recorder.run.id, ""):
                cause = Cause(Trouble.SUPERSEDED, f"run {last}")
        if cause:
            return self._outcome(Phase.CLAIM, Status.FAILED, State.FAILED, cause, reply)
        return self._outcome(Phase.CLAIM, Status.OK, self.record.state, None, reply)

    def _locked(self) -> Reply | Cause:
        """The host's answer to a request for its lock."""
        reply: Reply | Cause = Cause(Trouble.LINE_BROKEN)
        for _ in range(2):  # an agent leaves while an operator thinks about the plan for minutes
            cause = self.session.open()
            reply = cause or self._ask((ProbeWrite(), LOOK))
            if not isinstance(reply, Cause) or cause:
                break
        return reply

    def _wait_for_lock(self, reply: Reply | Cause) -> Reply | Cause:
        """The last answer: the lock is ours, or the run that holds it is alive, or nothing more may be begun."""
        clock, held = self._recorder.clock, _held_by_another(reply)
        if held is None or self._has_waited or self._is_over():
            return reply
        self._recorder.record(Waiting(self.host.name, held, LOCK_PATIENCE, self._recorder.now()))
        end = clock.monotonic() + LOCK_PATIENCE
        while _held_by_another(reply) and not self._has_waited and not self._is_over():
            clock.sleep(LOCK_PAUSE)
            reply = self._locked()
            self._has_waited = clock.monotonic() >= end
        return reply

    def read_token(self, want: Fingerprint, key: bytes) -> Token | None:
        """The token itself, if a slot of this host holds it; it stays in the memory of this run."""
        if self.session.open():
            return None
        reply = self.session.ask((Recall(want),))
        token = None if isinstance(reply, Cause) else reply.to(Recall)
        return token if token and token.fingerprint(key) == want else None

    def audit(self, query: Query) -> Reply | Cause:
        """What the service's audit records say. No outcome: they say nothing about the host's own state."""
        return self.session.open() or self.session.ask((Audit(query=query),))

    # -- changing it

    def reach(self, phase: Phase, goal: Goal, there: State, anew: bool = False) -> Outcome:
        """Brings the host to the goal; `there` is its state when it has come there.

        A host that is lost is tried until its agent's lease is over: it changes nothing by itself after that. Lost
        again, it has another only if it was heard in between.
        """
        lost, until = None, None
        # What was seen before a failure is not new.
        seen = self.record.seen if self.record.status is Status.OK and not anew else None
        for _ in range(ROUNDS):
            cause = self._open(until)
            if cause:
                lost = lost or cause
                break
            if seen is None or lost:
                reply = self._ask((LOOK,))
                if not isinstance(reply, Cause) and reply.cause:
                    return self._outcome(phase, Status.FAILED, State.FAILED, reply.cause, reply)
                if isinstance(reply, Cause) or reply.seen is None:
                    lost = reply if isinstance(reply, Cause) else lost
                    until = until or self._lease_end()
                    continue
                seen = reply.seen
            steps = self._steps(goal, seen, phase)
            if not (sent := self._with_drain(steps, seen, phase)):
                return self._outcome(phase, Status.OK, there)
            reply = self._send(phase, sent)
            reads_late = self.host.service.apply is Apply.RESTART and phase is not Phase.SETTLE
            if not isinstance(reply, Cause) and _is_stale(reply, steps) and reads_late:
                reply = self._send(phase, self._with_drain((Restart(), *steps), seen, phase))
            if not isinstance(reply, Cause):
                return self._judge(phase, goal, there, reply)
            lost, until = reply, self._lease_end()
        return self._given_up(phase, lost)

    def _send(self, phase: Phase, steps: tuple[Step, ...]) -> Reply | Cause:
        """The host's answer to these steps and one more look; the intent is recorded before.

        A drain is a request of its own: until it is over the host was not told to turn.
        """
        if isinstance(steps[0], Drain) and len(steps) > 1:
            reply = self._send(phase, steps[:1])
            if isinstance(reply, Cause) or reply.cause:
                return reply
            return joined(reply, self._send(phase, steps[1:]))
        verbs = tuple(step.verb for step in steps)
        self._recorder.record(Intent(self.host.name, phase, verbs, self._recorder.now()))
        return draining.ask(self._ask, self.host, self._recorder.run, steps, lambda: self.session.is_off)

    def _ask(self, steps: Sequence[Step]) -> Reply | Cause:
        """The host's answer to one request; in a metered run with what its meter has counted, which is recorded."""
        if not self.meters:
            return self.session.ask(steps)
        reply = self.session.ask((Meter(clients_token(self._recorder.run, self.record)), *steps))
        if not isinstance(reply, Cause) and (counted := reply.to(Meter)):
            self._recorder.record(MeterRead(self.host.name, counted, self._recorder.now()))
        return reply

    def read_meter(self) -> None:
        """Has what was counted recorded, and the calls go on with the token that clients have now."""
        if self.session.open() is None:
            self._ask(())

    def _about(self, phase: Phase) -> tuple[str, str, str]:
        """What the operator's commands are told: host, phase, reason."""
        return self.host.name, phase.value, self._recorder.run.reason

    def _with_drain(self, steps: tuple[Step, ...], seen: Seen, phase: Phase) -> tuple[Step, ...]:
        plan, about = self.host.service.drain, self._about(phase)
        if plan is None:
            return steps
        drain = Drain(*about, hurries=self._recorder.run.is_revocation)
        return with_drain(steps, seen, drain, Uncordon(*about), plan.by_front)

    def _uncordon(self, phase: Phase, outcome: Outcome) -> Outcome:
        reply = self.session.open() or self._send(phase, (Uncordon(*self._about(phase)),))
        if isinstance(reply, Cause):
            return self._outcome(phase, Status.UNKNOWN, State.UNKNOWN, outcome.cause or reply)
        if reply.cause:
            return self._outcome(phase, Status.FAILED, State.CORDONED, outcome.cause or reply.cause, reply)
        return self._outcome(phase, outcome.status, outcome.state, outcome.cause, reply)

    def fence(self) -> Outcome:
        """Stops the service of a host that could not be turned: it accepts no call any more.

        A host that cannot write gives no lock; its unit can be stopped all the same.
        """
        refuse = tuple(old for old in self._recorder.run.revoked if old in self.held or self.session.knows(old))
        steps = (Fence(), Sweep(refuse=refuse))
        reply = self.session.open() or self._send(Phase.FENCE, steps)
        if not isinstance(reply, Cause) and reply.cause and reply.cause.trouble is Trouble.WRITE_FAILED:
            self.session.let_go()
            reply = self._send(Phase.FENCE, steps)
        if isinstance(reply, Cause):
            return self._outcome(Phase.FENCE, Status.UNKNOWN, State.UNKNOWN, reply)
        cause, proof = reply.cause, reply.proof
        if cause is None and proof:
            cause = still_trusted(proof.places, proof.survivors, self.host.service)
        if cause:
            return self._outcome(Phase.FENCE, Status.FAILED, State.FAILED, cause, reply)
        return self._outcome(Phase.FENCE, Status.OK, State.FENCED, None, reply)

    def _steps(self, goal: Goal, seen: Seen, phase: Phase) -> tuple[Step, ...]:
        steps = steps_to(goal, seen, self.host.service)
        lost = bool(steps) and isinstance(steps[0], Stage) and not self.session.knows(goal.want)
        if lost and goal.other:
            steps = steps[1:]  # the host says that it is in no slot
        elif lost:
            # Perhaps only the host's own agent has it in memory; if not, it says so.
            steps = (
                Revert(goal.want),
                *(step for step in steps if not isinstance(step, Stage | Swap)),
            )
        # A revocation does not wait for a host to stay up before the next one turns: that is checked at the end.
        settles, leaked = phase is Phase.SETTLE, bool(goal.revoke)
        logs = settles and not self.host.service.is_client
        stable = settles is leaked and (goal.part is not Part.TURN or self.host.service.drain is not None)
        return tuple(
            replace(step, stable=stable, log=logs) if isinstance(step, Prove) else step
            for step in steps
            if not ((settles or goal.part is Part.WATCH) and isinstance(step, Notify))  # what it read before is seen
        )

    def _judge(self, phase: Phase, goal: Goal, there: State, reply: Reply) -> Outcome:
        """The outcome of an answer: OK only when no step is left to do."""
        cause = reply.cause
        if cause is None and (reply.seen is None or self._moves_left(goal, reply.seen)):
            cause = Cause(Trouble.SLOT_CHANGED, "after all steps the host is not in the state that they lead to")
        if cause is None and goal.part is Part.WATCH and reply.seen:
            cause = replaced(self.record.seen, reply.seen)
        if cause is None and reply.seen and phase is Phase.SETTLE:
            cause = untidy(reply.seen, self.host.service)
        if cause is None and reply.proof and goal.sweep:
            cause = still_trusted(reply.proof.places, reply.proof.survivors, self.host.service)
        if cause and cause.trouble is Trouble.PLACE_UNASKED:  # as far as can be told, all is well: it is not stopped
            return self._outcome(phase, Status.OK, State.HEALTHY, cause, reply)
        if cause:
            return self._outcome(phase, Status.FAILED, self._state_after(cause, reply), cause, reply)
        if there is State.PROVEN and goal.stance is not Stance.STAGED:
            proven = reply.proof.proven if reply.proof else self.record.state is State.PROVEN
            if self._recorder.run.is_revocation and reply.proof:  # no copy is left to try: it was refused before
                proven = proven and (reply.proof.refused_after or self.record.refused) is not None
            proven = proven or self.host.service.is_client  # nothing more can be asked of it
            there = State.PROVEN if proven else State.HEALTHY
        return self._outcome(phase, Status.OK, there, None, reply)

    def _state_after(self, cause: Cause, reply: Reply) -> State:
        """The state of a host that failed: busy, it has not changed; only not given work again, it is cordoned."""
        if reply.broke and reply.broke.verb is Verb.UNCORDON:
            return State.CORDONED
        unturned = self.record.state in (State.UNCHANGED, State.ROLLED_BACK)
        return self.record.state if cause.trouble is Trouble.STILL_BUSY and unturned else State.FAILED

    def _moves_left(self, goal: Goal, seen: Seen) -> bool:
        return any(not step.always for step in steps_to(goal, seen, self.host.service))

    def _lease_end(self) -> float:
        """When an agent whose line has just ended begins nothing any more (monotonic)."""
        return self._recorder.clock.monotonic() + LEASE

    def _open(self, until: float | None) -> Cause | None:
        """A line to the host; one that was lost is tried `until` then, because something may have happened there."""
        if until is None:
            return self.session.open()
        clock, cause = self._recorder.clock, Cause(Trouble.LINE_BROKEN)
        while (left := until - clock.monotonic()) > 0:
            found = self.session.open(within=left)
            if found is None:
                return None
            cause = found
            clock.sleep(REDIAL_PAUSE)
        return cause


def _is_stale(reply: Reply, steps: tuple[Step, ...]) -> bool:
    """True for a process that seems to have read its file and does not act so: it was not restarted yet."""
    old = (Trouble.NEW_REFUSED, Trouble.OLD_ACCEPTED, Trouble.STALE_PROCESS)
    restarted = any(isinstance(step, Restart) for step in steps)
    return reply.cause is not None and reply.cause.trouble in old and not restarted


def _held_by_another(reply: Reply | Cause) -> Cause | None:
    """Who has the host's lock, when it is another run."""
    cause = reply if isinstance(reply, Cause) else reply.cause
    return cause if cause and cause.trouble is Trouble.HOST_BUSY else None
