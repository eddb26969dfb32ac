"""A host's line for a whole run: dialed on first use, and again after it broke."""

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

from hivekeys.fleet import Host, Policy, SudoLog, Timeouts
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.measured import beyond_measure
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.seen import Place
from hivekeys.protocol.verbs import Greeting, Hello, Meter, Recall, Step, Verb
from hivekeys.protocol.wire import PROTOCOL, Tokens, decode, drain_seconds, encode, seconds_for
from hivekeys.ssh.line import Applicant, Dialer, Line
from hivekeys.token import Fingerprint

# Seconds that an answer may take on top of the agent's own deadline: as much again, within these bounds.
GRACE, LEAST_GRACE = 10.0, 5.0
LEAST_SECRET = 16  # characters; a shorter "token", planted on a host, would make common words look like leaks


class Session:
    """Used by one thread at a time, but for `call_off`.

    What an agent knows is on its host, so a line can be lost and opened again.
    """

    def __init__(
        self, host: Host, dialer: Dialer, policy: Policy, greeting: Greeting, request: float = Timeouts.request
    ) -> None:
        """`request`: the most seconds that one request may take on the host, whatever the policy adds up to."""
        self.host = host
        self.request = request
        self.is_off = False  # the operator ended the run
        self._dialed = self._metered = 0.0  # when, and when a request was sent whose answer had its meter's counts
        self._grace = min(GRACE, max(LEAST_GRACE, request))
        self._dialer = dialer
        self._policy = policy
        self._greeting = greeting
        self._tokens: Tokens = {}
        self._line: Line | None = None
        self._greeted = False
        self._sudo_log: tuple[str, ...] | None = None  # what sudo records there; None: not said yet
        self._seen: Place | None = None  # the run that had changed the host when this process first looked

    def introduce(self, greeting: Greeting, tokens: Tokens) -> None:
        """Greets the host anew with the next request: as a run that writes, and that knows these tokens."""
        self._greeting, self._tokens, self._greeted = greeting, tokens, False

    def let_go(self) -> None:
        """Greets the host anew without its lock."""
        self._greeting, self._greeted = replace(self._greeting, write=False), False

    def knows(self, fingerprint: Fingerprint) -> bool:
        """True when the token itself is in this run's memory, and can be written."""
        return fingerprint in self._tokens

    def connect(self, applicant: Applicant) -> None:
        """Has the applicant know when `open` has no SYN to wait for: at once, where there is a line."""
        if self._line is None:
            self._dialer.connect(self.host, applicant)
        else:
            applicant.ready()

    def open(self, within: float | None = None) -> Cause | None:
        """Makes sure that there is a line; the cause when there can be none, or not `within` so many seconds."""
        if self._line is None:
            self._dialed = self._metered = time.monotonic()
            answer = self._dialer.dial(self.host) if within is None else _dialled(self._dialer, self.host, within)
            if isinstance(answer, Cause):
                return answer
            self._line, self._greeted = answer, False
            if self.is_off:
                answer.call_off()
        return None

    def call_off(self) -> None:
        """Has the host wait for no work to end any more, from any thread: this line's agent, and any later one's."""
        self.is_off = True
        if line := self._line:
            line.call_off()

    def ask(self, steps: Sequence[Step]) -> Reply | Cause:
        """The host's answer to these steps, or why there is none: then the line is gone and the host unknown.

        No token passes a sudo that records it. A host that has not said yet whether it has one is greeted without.
        """
        if self._line is not None and self._tokens and self._sudo_log is None:
            first = self._ask((), {}, replace(self._greeting, write=False))  # it takes no lock, and leaves no trace
            if isinstance(first, Cause) or first.cause:
                return first
            self._greeted = False
        recorded = self.recorded(*(["input"] if self._tokens else []), *(["output"] if _asks_for_token(steps) else []))
        return Reply((), cause=recorded) if recorded else self._ask(steps, self._tokens, self._greeting)

    def recorded(self, *passing: str) -> Cause | None:
        """Why a token must not be sent to the host ("input") or from it ("output"): sudo would record it."""
        found = [kind for kind in self._sudo_log or () if kind in passing]
        if not found or self.host.sudo_log is SudoLog.ACCEPTED:
            return None
        names = " and ".join(f"log_{kind}" for kind in found)
        return Cause(Trouble.SUDO_RECORDS, f"sudo records what passes here ({names}), and that is the token")

    def _ask(self, steps: Sequence[Step], tokens: Tokens, greeting: Greeting) -> Reply | Cause:
        if self._line is None:
            return Cause(Trouble.LINE_BROKEN, "there is no line")
        if not self._greeted:
            steps = (Hello(greeting, self.host.service, bool(self.host.beside), self._seen), *steps)
        words = [encode(step, self._policy, tokens) for step in steps]
        limit = min(seconds_for(steps, self._policy), self.request) + drain_seconds(steps, self.host.service.drain)
        began = time.monotonic()
        raw = self._line.ask({"protocol": PROTOCOL, "deadline": limit, "steps": words}, limit + self._grace)
        if self._quotes_a_token(raw) and not _asks_for_token(steps):
            raw = Cause(Trouble.RUBBISH, "the host sent the token back")
        answer = raw if isinstance(raw, Cause) else decode(raw)
        if not isinstance(answer, Cause) and answer.cause is None and len(answer.results) != len(words):
            answer = Cause(Trouble.LINE_BROKEN, "the agent left before it was done")
        if not isinstance(answer, Cause) and answer.cause and answer.cause.trouble is Trouble.LINE_BROKEN:
            answer = answer.cause  # ended in the middle of a step: its last line is not the host's fault
        if not isinstance(answer, Cause) and not _fits(answer, steps):
            answer = Cause(Trouble.RUBBISH, "the agent answered what it was not asked")
        if not isinstance(answer, Cause):
            answer = self._measured(answer, began, limit + self._grace)
        if isinstance(answer, Cause):
            self.close()
        elif any(result.verb is Verb.HELLO for result in answer.results):
            self._greeted = True  # a last look is done also where the greeting was refused
            self._sudo_log = answer.host_record.sudo_log if answer.host_record else self._sudo_log
            self._seen = self._seen or (answer.host_record.changed if answer.host_record else None)
        return answer

    def _measured(self, reply: Reply, began: float, waited: float) -> Reply | Cause:
        """The reply, unless the host says that it measured what it cannot have.

        `began`: when it was asked; `waited`: how many seconds at most.
        """
        now, took = time.monotonic(), self._line.took if self._line else 0.0
        if why := beyond_measure(reply, took, now - self._metered, now - self._dialed, waited):
            return Cause(Trouble.RUBBISH, f"the agent's answer is beyond all measure: {why}")
        if reply.to(Meter):
            self._metered = began
        return reply

    def _quotes_a_token(self, raw: dict[str, object] | Cause) -> bool:
        """True when an answer contains a token that was sent: the answer must get into no record and on no screen."""
        said = raw.detail if isinstance(raw, Cause) else json.dumps(raw)
        texts = (text for token in self._tokens.values() if len(text := token.reveal()) >= LEAST_SECRET)
        return any(text in said or json.dumps(text)[1:-1] in said for text in texts)

    def close(self) -> None:
        """Ends the agent; safe to repeat."""
        if self._line is not None:
            self._line.close()
            self._line = None


def _dialled(dialer: Dialer, host: Host, within: float) -> Line | Cause:
    """A line that stands within so many seconds; one that comes later is closed, and has told the host nothing.

    A dial is bounded by itself, too, but stage by stage and hop by hop: together that may be a minute.
    """
    answer: Future[Line | Cause] = Future()

    def dial() -> None:
        try:
            answer.set_result(dialer.dial(host))
        except BaseException as error:  # the thread that waits for it raises it
            answer.set_exception(error)

    threading.Thread(target=dial, name=f"dial {host.name}", daemon=True).start()
    try:
        return answer.result(within)
    except TimeoutError:
        answer.add_done_callback(_hang_up)
        return Cause(Trouble.NO_CONNECTION, f"no line to it within {within:.0f} s")


def _hang_up(answer: "Future[Line | Cause]") -> None:
    """Closes a line that no thread waits for any more."""
    if answer.exception() is None and not isinstance(line := answer.result(), Cause):
        line.close()


def _asks_for_token(steps: Sequence[Step]) -> bool:
    """True when the answer is to hold a token."""
    return any(isinstance(step, Recall) for step in steps)


def _fits(reply: Reply, asked: Sequence[Step]) -> bool:
    """True when the results are of the steps that were asked for, in their order; after a failure some are missing."""
    left = (step.verb for step in asked)
    return all(result.verb in left for result in reply.results)
