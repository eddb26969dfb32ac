"""Asks all hosts the read-only questions of `fab verify` and `fab status`."""

import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from hivekeys.fleet import Fleet, Host
from hivekeys.journal.clock import Clock
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.seen import HostRecord
from hivekeys.protocol.verbs import Greeting, Inspect, LookBehind, Observe, Prove, Step, Sweep, Verb
from hivekeys.ssh.ask_all import ask_all
from hivekeys.ssh.line import Applicant, Dialer
from hivekeys.ssh.session import Session
from hivekeys.token import Fingerprint
from hivekeys.verify.findings import Observation, Other

# Three requests: where one is refused, the others are known all the same. The look is short: clocks are compared by it.
# The proof comes first, because its calls are what the service must have written to its audit trail by then.
PROVE = (Prove(stable=False, waits=False),)
LOOK = (Observe(),)
INSPECT = (Inspect(),)
REACH_SECONDS = 2.0  # in which a port that is open to the bastion has taken a connection


def survey(
    fleet: Fleet,
    hosts: Sequence[Host],
    dialer: Dialer,
    greeting: Greeting,
    comparison: bytes = b"",
    clock: Clock = time,
    dead: tuple[Fingerprint, ...] = (),
) -> list[Observation]:
    """What every host shows, in the order of `hosts`. Takes no lock and writes nothing anywhere.

    `comparison`: a key under which the tokens are fingerprinted once more, to be compared with another fleet's.
    `dead`: tokens that were revoked; where a host has a copy of one, every place there is tried with it.
    """

    def ask(host: Host) -> Observation:
        with _session(fleet, host, dialer, greeting) as session:
            cause = session.open()
            proof = cause or session.ask(PROVE)
            asked = clock.time()
            look = proof if isinstance(proof, Cause) else session.ask(LOOK)
            answered = clock.time()
            more = look if isinstance(look, Cause) or look.cause else session.ask(INSPECT)
            behind = session.ask((LookBehind(),)) if host.service.front and isinstance(more, Reply) else more
            sweeps = bool(dead) and not host.service.is_client
            swept = session.ask((Sweep(refuse=dead),)) if sweeps and isinstance(more, Reply) else more
            held = _held(session, replace(greeting, key=comparison)) if comparison else None
        seen = None if isinstance(look, Cause) else look.seen
        return Observation(
            host,
            seen,
            None if isinstance(more, Cause) else more.to(Inspect),
            None if isinstance(proof, Cause) else proof.proof,
            str(more if isinstance(more, Cause) else more.cause or ""),
            str(proof if isinstance(proof, Cause) else proof.cause or ""),
            _off(seen.clock, asked, answered) if seen else None,
            held if isinstance(held, frozenset) else None,
            swept.proof if sweeps and isinstance(swept, Reply) else None,
            proof.host_record.machine if isinstance(proof, Reply) and proof.host_record else "",
            None if isinstance(behind, Cause) else behind.to(LookBehind),
            is_reached(host),
        )

    return ask_all(ask, hosts, fleet.policy.width, dialer.connect)


def others(fleet: Fleet, dialer: Dialer, greeting: Greeting) -> Other:
    """The tokens of another fleet, as fingerprints under the greeting's key, which is made for this comparison only.

    All tokens that a host holds count: staged and previous ones too.
    """

    def ask(host: Host) -> frozenset[str] | Cause:
        with _session(fleet, host, dialer, greeting) as session:
            return session.open() or _held(session, greeting)

    said = ask_all(ask, fleet.hosts, fleet.policy.width, dialer.connect)
    answers = dict(zip((host.name for host in fleet.hosts), said, strict=True))
    holders: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for name, answer in answers.items():
        for token in answer if isinstance(answer, frozenset) else ():
            holders[token] += (name,)
    unasked = {name: str(answer) for name, answer in answers.items() if isinstance(answer, Cause)}
    return Other(fleet.name, holders, unasked)


def _held(session: Session, greeting: Greeting) -> frozenset[str] | Cause:
    """Every token that a host holds, under the greeting's key; a cause if a slot cannot be read: it may hold one."""
    session.introduce(greeting, {})
    answer = session.ask(LOOK)
    if isinstance(answer, Cause):
        return answer
    seen = answer.seen
    if seen is None or answer.cause:  # a host that refuses the greeting lets itself be looked at all the same
        return answer.cause or Cause(Trouble.RUBBISH, "the agent did not report the state of the host")
    slots = [slot for slot in (seen.active, seen.staged, seen.previous) if slot is not None]
    unread = [slot.fault for slot in slots if slot.fingerprint is None]
    if unread or not slots:
        return Cause(Trouble.TOKEN_MISSING, f"its token {unread[0]}" if unread else "it holds no token")
    return frozenset(slot.fingerprint.keyed for slot in slots if slot.fingerprint)


def is_reached(host: Host) -> bool | None:
    """Whether the service behind a host's front can be reached from here; None without a front, or behind a jump host.

    To connect is all that is tried: nothing is said.
    """
    if host.service.front is None or host.jump not in (None, "none"):
        return None
    try:
        socket.create_connection((host.address, host.service.front.behind.port), REACH_SECONDS).close()
    except socket.gaierror:
        return None  # a name that only the SSH configuration knows
    except OSError:
        return False
    return True


class Watch:
    """Looks at hosts repeatedly, over one line to each that stays open."""

    def __init__(self, fleet: Fleet, hosts: Sequence[Host], dialer: Dialer, greeting: Greeting) -> None:
        self._fleet = fleet
        self._sessions = {host: Session(host, dialer, fleet.policy, greeting, fleet.timeouts.request) for host in hosts}
        self._host_records: dict[Host, HostRecord | None] = {}  # a host says it once a line

    def look(self) -> dict[Host, Reply | Cause]:
        """What every host shows now. Takes no lock and writes nothing anywhere."""
        return self.ask(dict.fromkeys(self._sessions, LOOK))

    def ask(self, steps: Mapping[Host, Sequence[Step]]) -> dict[Host, Reply | Cause]:
        """The answer of each of these hosts to its own steps."""

        def one(host: Host) -> Reply | Cause:
            session = self._sessions[host]
            reply = session.open() or session.ask(steps[host])
            if isinstance(reply, Cause):
                return reply
            self._host_records[host] = reply.host_record or self._host_records.get(host)
            return replace(reply, answers={**reply.answers, Verb.HELLO: self._host_records[host]})

        def connect(host: Host, applicant: Applicant) -> None:
            self._sessions[host].connect(applicant)

        return dict(zip(steps, ask_all(one, list(steps), self._fleet.policy.width, connect), strict=True))

    def close(self) -> None:
        """Ends every agent; safe to repeat."""
        for session in self._sessions.values():
            session.close()


@contextmanager
def _session(fleet: Fleet, host: Host, dialer: Dialer, greeting: Greeting) -> Iterator[Session]:
    session = Session(host, dialer, fleet.policy, greeting, fleet.timeouts.request)
    try:
        yield session
    finally:
        session.close()


def _off(theirs: float, asked: float, answered: float) -> float:
    """By how much a host's clock differs from ours at least: 0 when its time lies between question and answer."""
    return min(theirs - asked, 0.0) if theirs < asked else max(theirs - answered, 0.0)
