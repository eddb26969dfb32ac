"""The loop: looks at every host, asks the state machine for the next steps, sends them, records what happened.

It decides nothing itself: `machine` says what a host needs, `waves` says who is next and when to stop, and every
fact goes to `record` before and after it is acted on. One host's story is `_reach`, a rotation's is `rotate`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from hivekeys import waves
from hivekeys.causes import Cause, Trouble
from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host, Role
from hivekeys.line import Dialer
from hivekeys.machine import obstacle, steps_to
from hivekeys.model import (
    Event,
    Goal,
    Intent,
    Moment,
    Outcome,
    Phase,
    PhaseStarted,
    Reply,
    RunEnded,
    RunStarted,
    Seen,
    Stance,
    State,
    Status,
    Step,
    Stopped,
    TokenChosen,
    Verb,
)
from hivekeys.run import Run, advance, exit_code
from hivekeys.session import Session
from hivekeys.token import Fingerprint, Token
from hivekeys.wire import Greeting

LOOK = Step(Verb.OBSERVE)
ROUNDS = 3  # how often a host whose line broke is looked at again
REDIAL_PAUSE = 1.0  # seconds between two tries to get a lost host back
Record = Callable[[Event], None]


class Clock(Protocol):
    """Where time comes from: the `time` module, or a test's own."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


class Rollout:
    """One run over a fleet, or over the hosts that were chosen of it."""

    def __init__(
        self,
        fleet: Fleet,
        hosts: Sequence[Host],
        dialer: Dialer,
        greeting: Greeting,
        record: Record,
        clock: Clock = time,
        reason: str = "",
    ) -> None:
        self._fleet = fleet
        self._hosts = tuple(hosts)
        self._greeting = greeting
        self._record = record
        self._clock = clock
        self._mutex = threading.Lock()
        self._interrupted = threading.Event()
        self._pool = ThreadPoolExecutor(fleet.policy.width, thread_name_prefix="host")
        self._dialer = dialer
        self._sessions = {host.name: Session(host, dialer, fleet.policy, greeting) for host in hosts}
        self._waves = waves.plan(self._hosts, fleet.policy)
        self.run = Run()
        chosen = {host.name for host in hosts}
        self._tell(
            RunStarted(
                greeting.run,
                fleet.name,
                greeting.who,
                reason,
                hosts=tuple(host.name for host in hosts),
                waves=tuple((wave.phase, tuple(host.name for host in wave.hosts)) for wave in self._waves),
                left_out=tuple(host.name for host in fleet.hosts if host.name not in chosen),
                when=self._now(),
            )
        )

    # -- what an operator asks for

    def look(self) -> bool:
        """Opens every host read-only and proves its current token. True when nothing stands in the way."""
        return self._everywhere(Phase.LOOK, self._hosts, self._look)

    def rotate(self, token: Token) -> ExitCode:
        """Turns the fleet to `token`, in order; back to where it was when that cannot be done."""
        want = self.fingerprint(token)
        self._tell(TokenChosen(want, self._now()))
        for session in self._sessions.values():
            session.introduce(replace(self._greeting, write=True), token)
        went_through = (
            self._claim()
            and self._everywhere(Phase.STAGE, self._standing(), lambda host: self._stage(host, want))
            and all(self._turn_wave(wave, want) for wave in self._waves)
            and self._everywhere(Phase.SETTLE, self._standing(), lambda host: self._settle(host, want))
        )
        if not went_through:
            self._roll_back(want)
        elif all(host.state is State.PROVEN for host in self.run.hosts.values()):
            self._everywhere(Phase.RETIRE, self._hosts, lambda host: self._retire(host, want))
        return self.end()

    def fingerprint(self, token: Token) -> Fingerprint:
        """The token's fingerprint under this fleet's key."""
        return token.fingerprint(self._greeting.key)

    def interrupt(self) -> None:
        """No new wave begins; hosts in flight finish. May be called from a signal handler."""
        self._interrupted.set()

    def end(self, code: ExitCode | None = None) -> ExitCode:
        """Closes every line and gives every host its one state; the code follows from them unless it is given."""
        list(self._pool.map(Session.close, self._sessions.values()))
        self._pool.shutdown()
        self._dialer.close()
        if code is None:
            final = advance(self.run, RunEnded(ExitCode.DONE, self._now()))
            code = exit_code(final, self._interrupted.is_set())
        self._tell(RunEnded(code, self._now()))
        return code

    # -- the phases

    def _claim(self) -> bool:
        """Takes the hosts' locks and tries a real write: the queen first, so that of two runs exactly one wins."""
        queen = [host for host in self._standing() if host.role is Role.QUEEN]
        hives = [host for host in self._standing() if host.role is Role.HIVE]
        return all(self._everywhere(Phase.CLAIM, group, self._claim_host) for group in (queen, hives) if group)

    def _turn_wave(self, wave: waves.Wave, want: Fingerprint) -> bool:
        standing = self._standing(wave.hosts)
        return self._everywhere(wave.phase, standing, lambda host: self._turn(host, wave.phase, want), wave.title)

    def _roll_back(self, want: Fingerprint) -> None:
        """Every host that was told anything goes back to its own old token, in the same order and pace."""
        touched = [host for host in self._hosts if self.run.hosts[host.name].touched]
        for wave in waves.plan(touched, self._fleet.policy, canary=False):
            self._everywhere(Phase.ROLLBACK, wave.hosts, lambda host: self._back(host, want), f"rollback, {wave.title}")

    def _everywhere(
        self, phase: Phase, hosts: Sequence[Host], work: Callable[[Host], Outcome], title: str = ""
    ) -> bool:
        """Does `work` on all hosts at once and waits for every one. False when the run must not go on."""
        names = tuple(host.name for host in hosts)
        self._tell(PhaseStarted(phase, names, self._now(), title or phase.value))
        outcomes = list(self._pool.map(work, hosts))
        if phase in (Phase.ROLLBACK, Phase.RETIRE):
            return True
        failed = [outcome.host for outcome in outcomes if self._is_failure(outcome)]
        in_all = sum(host.cause is not None for host in self.run.hosts.values())
        why = waves.stop_reason(phase, failed, in_all, len(self._hosts), self._fleet.policy)
        if not why and self._interrupted.is_set():
            why = "interrupted"
        if why:
            self._tell(Stopped(phase, why, self._now()))
        return not why

    @staticmethod
    def _is_failure(outcome: Outcome) -> bool:
        return outcome.status is not Status.OK or outcome.cause is not None

    def _standing(self, hosts: Sequence[Host] | None = None) -> list[Host]:
        """The hosts that have not failed so far."""
        among = self._hosts if hosts is None else hosts
        return [host for host in among if self.run.hosts[host.name].cause is None]

    # -- one host

    def _look(self, host: Host) -> Outcome:
        """Read-only: what the host shows, and whether its service honours the token that it has."""
        session = self._sessions[host.name]
        cause = session.open()
        reply: Reply | Cause = cause or session.ask((LOOK, Step(Verb.PROVE, stable=False)))
        if isinstance(reply, Cause):
            return self._outcome(host, Phase.LOOK, Status.UNREACHABLE, State.UNREACHABLE, reply)
        cause = (obstacle(reply.seen, host.service) if reply.seen else None) or reply.cause
        if cause:
            return self._outcome(host, Phase.LOOK, Status.FAILED, State.FAILED, cause, reply)
        return self._outcome(host, Phase.LOOK, Status.OK, State.UNCHANGED, None, reply)

    def _claim_host(self, host: Host) -> Outcome:
        """The host's lock, and proof that a file can be written where the token will be."""
        self._tell(Intent(host.name, Phase.CLAIM, (Verb.HELLO, Verb.PROBE_WRITE), self._now()))
        session = self._sessions[host.name]
        reply: Reply | Cause = Cause(Trouble.LINE_BROKEN)
        for _ in range(2):  # an agent leaves while an operator thinks about the plan for minutes
            cause = session.open()
            reply = cause or session.ask((Step(Verb.PROBE_WRITE), LOOK))
            if not isinstance(reply, Cause) or cause:
                break
        if isinstance(reply, Cause):
            return self._outcome(host, Phase.CLAIM, Status.UNREACHABLE, State.UNREACHABLE, reply)
        cause = reply.cause
        if reply.seen and reply.seen.token != self._was(host):
            cause = Cause(Trouble.SLOT_CHANGED, "the token is not the one that was there a moment ago")
        if cause:
            return self._outcome(host, Phase.CLAIM, Status.FAILED, State.FAILED, cause, reply)
        return self._outcome(host, Phase.CLAIM, Status.OK, State.UNCHANGED, None, reply)

    def _stage(self, host: Host, want: Fingerprint) -> Outcome:
        return self._reach(host, Phase.STAGE, Goal(Stance.STAGED, want), State.UNCHANGED)

    def _turn(self, host: Host, phase: Phase, want: Fingerprint) -> Outcome:
        """Swap, restart, prove; a host that fails puts its own old token back at once."""
        outcome = self._reach(host, phase, Goal(Stance.SERVING, want, self._was(host)), State.PROVEN)
        if outcome.status is not Status.FAILED:
            return outcome
        back = self._back(host, want, phase)
        return replace(back, cause=outcome.cause)

    def _settle(self, host: Host, want: Fingerprint) -> Outcome:
        return self._reach(host, Phase.SETTLE, Goal(Stance.SERVING, want, self._was(host)), State.PROVEN)

    def _retire(self, host: Host, want: Fingerprint) -> Outcome:
        return self._reach(host, Phase.RETIRE, Goal(Stance.ALONE, want, self._was(host)), State.PROVEN)

    def _back(self, host: Host, want: Fingerprint, phase: Phase = Phase.ROLLBACK) -> Outcome:
        """The older goal: the host's own old token, and nothing of the new one left behind."""
        was = self._was(host)
        if was is None:
            return self._outcome(host, phase, Status.OK, State.UNCHANGED)
        turned = self.run.hosts[host.name].state is not State.UNCHANGED
        return self._reach(host, phase, Goal(Stance.ALONE, was, want), State.ROLLED_BACK if turned else State.UNCHANGED)

    def _was(self, host: Host) -> Fingerprint | None:
        return self.run.hosts[host.name].was

    def _reach(self, host: Host, phase: Phase, goal: Goal, there: State) -> Outcome:
        """One host's story: look, ask the machine, act, look again. A line that broke is looked into, not guessed."""
        session = self._sessions[host.name]
        seen, lost = self.run.hosts[host.name].seen, None
        for _ in range(ROUNDS):
            cause = self._open(session, patient=lost is not None)
            if cause:
                break
            if seen is None or lost:
                reply = session.ask((LOOK,))
                if isinstance(reply, Cause) or reply.seen is None:
                    lost = reply if isinstance(reply, Cause) else reply.cause
                    continue
                seen = reply.seen
            steps = self._steps(goal, seen, phase)
            if not steps:
                return self._outcome(host, phase, Status.OK, there)
            self._tell(Intent(host.name, phase, tuple(step.verb for step in steps), self._now()))
            reply = session.ask((*steps, LOOK))
            if isinstance(reply, Cause):
                lost = reply
                continue
            return self._judge(host, phase, goal, there, reply)
        touched = self.run.hosts[host.name].touched
        status = Status.UNKNOWN if touched else Status.UNREACHABLE
        state = State.UNKNOWN if touched else State.UNREACHABLE
        return self._outcome(host, phase, status, state, lost or cause)

    @staticmethod
    def _steps(goal: Goal, seen: Seen, phase: Phase) -> tuple[Step, ...]:
        steps = steps_to(goal, seen)
        if phase is Phase.SETTLE:
            return tuple(replace(step, stable=False, log=True) if step.verb is Verb.PROVE else step for step in steps)
        return steps

    def _judge(self, host: Host, phase: Phase, goal: Goal, there: State, reply: Reply) -> Outcome:
        """What an answer means: the machine must find nothing left to move."""
        cause = reply.cause
        if cause is None and (reply.seen is None or self._unmoved(goal, reply.seen)):
            cause = Cause(Trouble.SLOT_CHANGED, "after all steps the host does not show what they made")
        if cause:
            return self._outcome(host, phase, Status.FAILED, State.FAILED, cause, reply)
        if there is State.PROVEN and reply.proof and not reply.proof.proven:
            there = State.HEALTHY
        if reply.proof is None and phase is Phase.RETIRE:
            there = self.run.hosts[host.name].state
        return self._outcome(host, phase, Status.OK, there, None, reply)

    @staticmethod
    def _unmoved(goal: Goal, seen: Seen) -> bool:
        return any(step.verb is not Verb.PROVE for step in steps_to(goal, seen))

    def _open(self, session: Session, patient: bool) -> Cause | None:
        """A line to the host; a lost one is tried for a while, because something may have happened there."""
        end = self._clock.monotonic() + (2 * self._fleet.timeouts.connect if patient else 0.0)
        while True:
            cause = session.open()
            if cause is None or self._clock.monotonic() >= end:
                return cause
            self._clock.sleep(REDIAL_PAUSE)

    # -- what is told

    def _outcome(
        self,
        host: Host,
        phase: Phase,
        status: Status,
        state: State,
        cause: Cause | None = None,
        reply: Reply | None = None,
    ) -> Outcome:
        told = Outcome(host.name, phase, status, state, self._now(), cause)
        if reply:
            told = replace(told, seen=reply.seen, proof=reply.proof, results=reply.results)
        self._tell(told)
        return told

    def _tell(self, event: Event) -> None:
        """Records, then counts: what cannot be recorded does not happen."""
        with self._mutex:
            self._record(event)
            self.run = advance(self.run, event)

    def _now(self) -> Moment:
        return Moment(self._clock.time(), self._clock.monotonic())
