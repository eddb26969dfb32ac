"""Runs upkeep on all chosen hosts at once and records a result for each.

It takes the hosts' locks but no place in the order of runs: a rotation that was cut off can still be resumed. There is
no way back and none is needed: every verb of upkeep looks first and can be repeated.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hivekeys import __version__
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.clock import Clock
from hivekeys.journal.events import (
    Intent,
    Outcome,
    Phase,
    PhaseStarted,
    Readmitted,
    RunEnded,
    RunStarted,
    State,
    Status,
    Stopped,
)
from hivekeys.journal.recorder import Record, Recorder
from hivekeys.protocol import hints
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.change import Change
from hivekeys.protocol.doubles import doubles
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.seen import Seen
from hivekeys.protocol.verbs import Fix, Greeting, Observe, Recall, Step
from hivekeys.protocol.wire import Tokens
from hivekeys.ssh.ask_all import ask_all
from hivekeys.ssh.line import Applicant, Dialer
from hivekeys.ssh.session import Session
from hivekeys.token import Fingerprint, Token
from hivekeys.upkeep.changes import UpkeepResult

LOOK = Observe()
Replies = dict[Host, Reply | Cause]
Ask = Callable[..., Reply | Cause]  # asks one host for these steps
Then = Callable[[Host, Reply, Ask], tuple[Reply | Cause, tuple[Change, ...]]]


class Upkeep:
    """One piece of upkeep over `hosts` of a fleet; with `apply` they are changed, else only asked."""

    def __init__(
        self,
        fleet: Fleet,
        hosts: Sequence[Host],
        dialer: Dialer,
        greeting: Greeting,
        record: Record,
        phase: Phase,
        apply: bool,
        reason: str = "",
        clock: Clock = time,
    ) -> None:
        """`phase` names the whole work. `greeting`: whose it is; whether it writes follows from `apply`."""
        self.fleet = fleet
        self.hosts = tuple(hosts)
        self.apply = apply
        self.phase = phase
        self._recorder = Recorder(record, clock)
        self._greeting = replace(greeting, claim=False)
        self._holds = False  # two names of one machine would take its lock from each other: look at them first
        self._sessions = {
            host: Session(host, dialer, fleet.policy, self._for(host), fleet.timeouts.request) for host in fleet.hosts
        }
        names = tuple(host.name for host in hosts)
        now = self._recorder.now()
        self._recorder.record(
            RunStarted(
                run=greeting.run,
                task=phase.value,
                fleet=fleet.name,
                who=greeting.who,
                reason=reason,
                hosts=names,
                waves=((phase, names),),
                left_out=(),
                version=__version__,
                inventory=fleet.digest,
                when=now,
            )
        )

    def look(self, hosts: Sequence[Host], *steps: Step) -> dict[Host, Reply | Cause]:
        """What these hosts show, chosen ones and others, and their answers to `steps`, which change nothing."""

        def one(host: Host) -> Reply | Cause:
            session = self._sessions[host]
            return session.open() or session.ask((*steps, LOOK))

        return dict(zip(hosts, ask_all(one, hosts, self.fleet.policy.width, self._connect), strict=True))

    def know(self, token: Token) -> Fingerprint:
        """Sends a token to the chosen hosts' agents with the next greeting; that does not write it."""
        fingerprint = token.fingerprint(self._greeting.key)
        self._hold({fingerprint: token})
        return fingerprint

    def _hold(self, tokens: Tokens) -> None:
        """The next request to the chosen hosts begins with a new greeting: as work that changes them."""
        self._holds = True
        for host in self.hosts:
            self._sessions[host].introduce(self._for(host), tokens)

    def refuse_doubles(self, shown: Mapping[Host, Reply | Cause]) -> None:
        """Raises UserError where the name of a chosen host leads to the machine of another one."""
        met = {host.name: reply.host_record for host, reply in shown.items() if isinstance(reply, Reply)}
        found = doubles(self.fleet.hosts, {name: told.machine for name, told in met.items() if told})
        lines = [f"{host.name}: {found[host.name]}" for host in self.hosts if host.name in found]
        if lines:
            raise UserError("\n".join(lines), hint=hints.hint(Cause(Trouble.SAME_MACHINE), self.fleet, *found))

    def read_token(self, host: Host, want: Fingerprint) -> Token | None:
        """The token itself, if this host has it. Takes the host's lock: no rotation begins there meanwhile."""
        session = self._sessions[host]
        session.introduce(replace(self._greeting, write=True), {})
        reply = session.open() or session.ask((Recall(want),))
        session.introduce(self._for(host), {})
        token = None if isinstance(reply, Cause) else reply.to(Recall)
        return token if token and token.fingerprint(self._greeting.key) == want else None

    def ask(self, host: Host, *steps: Step) -> Reply | Cause:
        """Sends one request that changes nothing to one host."""
        session = self._sessions[host]
        return session.open() or session.ask(steps)

    def do(
        self,
        title: str,
        hosts: Sequence[Host],
        steps_of: Callable[[Host], Sequence[Step]],
        then: Then | None = None,
    ) -> list[UpkeepResult]:
        """Does these steps on these hosts, all at once; `then` goes on with a host that did them; the results."""
        if not self._holds:
            self._hold({})
        names = tuple(host.name for host in hosts)
        self._recorder.record(PhaseStarted(self.phase, names, self._recorder.now(), title))
        width = self.fleet.policy.width
        return ask_all(
            lambda host: self._on_host(host, steps_of(host), then), hosts, width, self._connect, self._call_off
        )

    def readmit(self, hosts: Sequence[str]) -> None:
        """Records, before anything is done, that these excluded hosts come back into the fleet."""
        if hosts and self.apply:
            self._recorder.record(Readmitted(tuple(hosts), self._recorder.now()))

    def stop(self, why: str) -> None:
        """Records that no further host is begun."""
        self._recorder.record(Stopped(self.phase, why, self._recorder.now()))

    def end(self, code: ExitCode) -> ExitCode:
        """The work is over."""
        self._recorder.record(RunEnded(code, self._recorder.now()))
        return code

    def close(self) -> None:
        """Ends every agent; safe to repeat."""
        for session in self._sessions.values():
            session.close()

    def _connect(self, host: Host, applicant: Applicant) -> None:
        self._sessions[host].connect(applicant)

    def _call_off(self) -> None:
        """No host waits for the end of work any more."""
        for host, session in self._sessions.items():
            if host.service.drain:
                session.call_off()

    def _on_host(self, host: Host, steps: Sequence[Step], then: Then | None) -> UpkeepResult:
        cause = self._sessions[host].open()
        reply = cause or self._send(host, steps)
        changes = () if isinstance(reply, Cause) else reply.changes
        if then and isinstance(reply, Reply) and reply.cause is None:
            reply, changes = then(host, reply, lambda *more: self._sessions[host].open() or self._send(host, more))
        if isinstance(reply, Cause):
            lost = self.apply and cause is None
            status, state = (Status.UNKNOWN, State.UNKNOWN) if lost else (Status.UNREACHABLE, State.UNREACHABLE)
            self._recorder.record(Outcome(host.name, self.phase, status, state, self._recorder.now(), reply))
            return UpkeepResult(host.name, changes, reply)
        proven = reply.proof is not None and (reply.proof.proven or host.service.is_client)
        state = State.FAILED if reply.cause else State.PROVEN if proven else State.UNCHANGED
        self._recorder.record(
            Outcome(
                host.name,
                self.phase,
                Status.FAILED if reply.cause else Status.OK,
                state,
                self._recorder.now(),
                reply.cause,
                reply.seen,
                reply.proof,
                reply.host_record,
                reply.results,
                changes,
            )
        )
        return UpkeepResult(host.name, changes, reply.cause, reply.seen, reply.proof)

    def _send(self, host: Host, steps: Sequence[Step]) -> Reply | Cause:
        """The host's answer; what it is told to change is written down before."""
        if self.apply:
            verbs = tuple(step.verb for step in steps)
            self._recorder.record(Intent(host.name, self.phase, verbs, self._recorder.now()))
        # To watch a file needs no service that reads it: the service may be down, or not there yet.
        return self._sessions[host].ask(steps if self.phase is Phase.WATCH else (*steps, LOOK))

    def _for(self, host: Host) -> Greeting:
        return replace(self._greeting, write=self._holds and self.apply and host in self.hosts)


def fix(
    upkeep: Upkeep,
    strays: bool,
    is_over: Callable[[str], bool],
    known: Fingerprint | None = None,
    last: int | None = None,
) -> list[UpkeepResult]:
    """Repairs the chosen hosts. `is_over` says whether no run needs what it left on a host.

    `known`: the token that the fleet has by the journal. `last`: the journal's last place in the order of runs, by
    which the hosts' records of runs are repaired as well.
    """
    asked = upkeep.hosts if upkeep.fleet.queen in upkeep.hosts else (upkeep.fleet.queen, *upkeep.hosts)
    shown = upkeep.look(asked)
    upkeep.refuse_doubles(shown)
    want = _shared_token(upkeep.fleet, shown, known)

    def steps_of(host: Host) -> tuple[Step, ...]:
        reply = shown[host]
        left_by = reply.host_record.run if isinstance(reply, Reply) and reply.host_record else ""
        options = ("strays", "slots") if not left_by or is_over(left_by) else ("strays",)
        limit = () if last is None else (f"record={max(last, *places_of_others(host, shown))}",)
        asked = (*(options if strays else ()), *limit)
        return (Fix(want=want, apply=upkeep.apply, options=asked),)

    return upkeep.do("repair" if upkeep.apply else "look for what can be repaired", upkeep.hosts, steps_of)


def places_of_others(host: Host, shown: Replies) -> tuple[int, ...]:
    """The places in the order of runs that the other hosts' records name."""
    met = (reply.host_record for other, reply in shown.items() if other != host and isinstance(reply, Reply))
    return (0, *(max(one.epoch, one.changed.epoch) for one in met if one))


def _shared_token(fleet: Fleet, shown: Replies, known: Fingerprint | None) -> Fingerprint | None:
    """The fleet's token, when the queen shows it, the journal knows it or two hosts have it.

    A file that holds that token gets a new owner: so no host alone may say which token it is, by a file planted there.
    """
    want, held = fleets_token(fleet, shown, known), _tokens_of(shown)
    alone = list(held.values()).count(want) < 2 and held.get(fleet.queen) != want
    return None if alone and want != known else want


def fleets_token(fleet: Fleet, shown: Replies, known: Fingerprint | None = None) -> Fingerprint | None:
    """The token that hosts show: the queen's, or the `known` one, or that of all hives which have one."""
    held = _tokens_of(shown)
    tokens = {token for token in held.values() if token}
    if known in tokens and not held.get(fleet.queen):
        return known
    return held.get(fleet.queen) or (tokens.pop() if len(tokens) == 1 else None)


def _tokens_of(shown: Replies) -> dict[Host, Fingerprint | None]:
    return {host: _held(reply.seen) for host, reply in shown.items() if isinstance(reply, Reply) and reply.seen}


def _held(seen: Seen) -> Fingerprint | None:
    """A host's token. Where its file is not the service's, what systemd gave the running service says it as well."""
    given = seen.loaded.fingerprint if seen.loaded.evidence == "credential" else None
    return seen.token or given
