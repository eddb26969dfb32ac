"""The agent's verb `meter`: calls the service as its clients do, again and again, and counts what is refused.

Where the inventory names a path of long answers (`stream`), one of these is read at any time; one that ends before its
end counts as broken.

Runs ON the host, as root, in one text with agent.py, while a run is metered. The calls go on beside the run's other
steps, until the agent ends. They are noted as our own, so that the census leaves them out.
"""

import hashlib
import re
import threading
import time

from hivekeys.host.agent import Agent, verb
from hivekeys.host.own_calls import TURNED_AWAY
from hivekeys.host.proof import CALL_SECONDS, may_hear
from hivekeys.host.system import Refusal
from hivekeys.host.tls import tls_of

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

SILENCE = 60.0  # seconds in which a long answer says nothing more: it has broken
HEAD = 1 << 16  # bytes before an answer's content
REST = 1.0  # seconds after a long answer before the next is begun
PACE = 0.1  # seconds from the beginning of one call to that of the next
SPAN = 20.0  # seconds: the longest time of which calls are noted together (hivekeys.host.own_calls.LONGEST)


@verb("calls", "locked")
def meter(agent: "Agent", want: "Optional[str]" = None) -> "tuple[bool, dict[str, Any]]":
    """What was counted since the last time; from now on the calls are made with `want` (the active token unless told).

    It begins with the first. A service that has no path that needs a token is not called: nothing can be counted.
    """
    if agent.meter is None:
        agent.meter = Meter(agent)
    return False, agent.meter.read(want)


class Meter:
    """Calls the agent's service until the agent ends, from a thread of its own."""

    def __init__(self, agent: "Agent") -> None:
        self.agent = agent
        self.path = ""
        self.token = ""
        self.trusted = frozenset()  # type: frozenset[int]
        self.tls = None  # type: Any  # hivekeys.host.tls.Tls, or None
        self.counting = threading.Lock()  # of all below
        self.counts = {"requests": 0, "refused": 0, "broken": 0}
        self.pause = 0.0
        self.let_in = time.monotonic()  # when a call was last answered as it should be
        self.spans = {}  # type: dict[tuple[str, str, int], list[Any]]
        self.over = []  # type: list[list[Any]]  # spans that are long enough
        self.calling = threading.Lock()  # of one call, from its beginning until it is counted
        self.opening = threading.Lock()  # of a long answer, from its request until it is noted
        self.held = False

    def hold(self) -> None:
        """No call is made until the next reading, and all so far are noted: the records are about to be read."""
        with self.opening, self.calling:
            self.held = True
        self.note_all()

    def read(self, want: "Optional[str]") -> "dict[str, Any]":
        """The counts so far, which begin anew."""
        facts = self.take()
        agent = self.agent
        active = agent.slots()["active"] or {}
        want = want or (active.get("fingerprint") or {}).get("keyed")
        token = agent.secrets.known.get(want or "")
        if not agent.service["protected"] or token is None:
            return dict(facts, why="there is no path that needs a token, or no token to call with")
        self.trusted = may_hear(agent, agent.unit.recent())
        self.tls = tls_of(agent.root, agent.service)
        with self.counting:
            self.let_in = time.monotonic() if self.held else self.let_in
        begins, self.token, self.held = not self.path, token, False
        if begins:
            self.path = self.open_path()
            threading.Thread(target=self.go, daemon=True).start()
            if agent.service.get("stream"):
                threading.Thread(target=self.go_on_reading, daemon=True).start()
        return dict(facts, why="")

    def open_path(self) -> str:
        """The first protected path that lets the token in; the first of all where none does."""
        paths = self.agent.service["protected"]  # type: list[str]
        for path in paths:
            began, status = self.agent.system.now(), self.ask(path, self.token)
            self.agent.own_calls.note(began, path, self.token, status)
            if 200 <= status < 300:
                return path
        return paths[0]

    def go(self) -> None:
        """Calls until no bastion waits for the answers any more."""
        with self.counting:
            self.let_in = time.monotonic()
        while not self.agent.deadline.gone.wait(PACE):
            with self.calling:
                if not self.held:
                    token, began = self.token, self.agent.system.now()  # another may be set
                    self.count(self.ask(self.path, token), token, began)

    def ask(self, path: str, token: str) -> int:
        """The status of one call; 0 where there was no answer."""
        service, system = self.agent.service, self.agent.system
        where = service["address"]
        try:
            return system.get(service["port"], path, token, CALL_SECONDS, self.trusted, where, self.tls)[0]
        except Refusal:
            return 0

    def count(self, status: int, token: str, began: float) -> None:
        now = time.monotonic()
        with self.counting:
            self.counts["requests"] += 1
            if 200 <= status < 300:
                self.pause, self.let_in = max(self.pause, now - self.let_in), now
            else:
                self.lose(status)
            if status:
                self.note(began, token, status, self.path)

    def lose(self, status: int) -> None:
        """Counts one that was not answered as it should be."""
        self.counts["refused" if status in TURNED_AWAY else "broken"] += 1

    # -- long answers

    def go_on_reading(self) -> None:
        """Reads one long answer after the other, until no bastion waits any more."""
        while not self.agent.deadline.gone.wait(REST):
            with self.opening:
                if self.held:
                    continue
                answer, line = self.begin_long()
            read_on(answer, line)
            with self.counting:
                self.counts["requests"] += 1
                if not answer.is_whole:
                    self.lose(answer.status)

    def begin_long(self) -> "tuple[LongAnswer, Any]":
        """A long answer as far as its status, which is noted, and the connection on which more comes; None for none."""
        answer, line = LongAnswer(), None  # type: LongAnswer, Any
        service, system, path = self.agent.service, self.agent.system, self.agent.service["stream"]
        token, began, where = self.token, system.now(), service["address"]
        try:
            line = system.called(
                "GET %s HTTP/1.1" % path, service["port"], token, CALL_SECONDS, self.trusted, where, self.tls
            )
            line.settimeout(CALL_SECONDS)
            while not answer.status and answer.take(line.recv(HEAD)):
                pass
        except (OSError, Refusal, ValueError):
            pass
        if answer.status:
            with self.counting:
                self.note(began, token, answer.status, path.partition("?")[0])
        return answer, line

    # -- what was called

    def note(self, began: float, token: str, status: int, path: str) -> None:
        """Notes the call with those like it before: [begun, answered, fp6, path, status, how many]."""
        at, span = self.agent.system.now(), self.spans.get((path, token, status))
        if span is None or at - span[0] > SPAN:
            if span:
                self.over.append(span)
            fp6 = hashlib.sha256(token.encode("ascii")).hexdigest()[:6]
            span = self.spans[path, token, status] = [round(began, 3), 0.0, fp6, path, status, 0]
        span[1], span[5] = round(at, 3), span[5] + 1

    def take(self) -> "dict[str, Any]":
        """The counts, which begin anew; the calls are handed over to those that are noted."""
        with self.counting:
            going_on = time.monotonic() - self.let_in if self.path and not self.held else 0.0
            facts = dict(self.counts, pause=round(max(self.pause, going_on), 3))
            self.counts, self.pause = dict.fromkeys(self.counts, 0), 0.0
        self.note_all()
        return facts

    def note_all(self) -> None:
        """Hands over the calls that are noted: not from the meter's own thread, while they are being written down."""
        with self.counting:
            self.agent.own_calls.fresh.extend([*self.over, *self.spans.values()])
            self.spans, self.over = {}, []


def read_on(answer: "LongAnswer", line: "Any") -> None:
    """Reads a long answer until its end, or until it breaks."""
    if not line:
        return
    try:
        line.settimeout(SILENCE)
        while answer.status and not answer.has_all and answer.take(line.recv(HEAD)):
            pass
    except OSError:
        pass
    finally:
        line.close()


class LongAnswer:
    """What has come of an answer over HTTP/1.1: its status, and whether it is whole."""

    def __init__(self) -> None:
        self.head = b""
        self.status = 0
        self.due = None  # type: Optional[int]  # bytes of content, where that was said
        self.is_chunked = False
        self.came = 0
        self.tail = b""
        self.is_over = False

    @property
    def has_all(self) -> bool:
        """True once as many bytes have come as were said before; else only the end of the connection tells."""
        return self.due is not None and self.came >= self.due

    @property
    def is_whole(self) -> bool:
        """True for a 2xx whose end came: the last chunk, so many bytes, or else the end of the connection."""
        if not 200 <= self.status < 300:
            return False
        if self.is_chunked:
            return self.tail == b"0\r\n\r\n"
        return self.is_over if self.due is None else self.has_all

    def take(self, data: bytes) -> bool:
        """What was read; False at the end of the connection. Raises ValueError for what is not HTTP."""
        self.is_over = not data
        if not self.status:
            self.head += data
            head, found, data = self.head.partition(b"\r\n\r\n")
            if not found:
                if len(head) > HEAD:
                    raise ValueError("no end of the head")
                return not self.is_over
            self.begin(head)
        self.came += len(data)
        self.tail = (self.tail + data)[-5:]
        return not self.is_over

    def begin(self, head: bytes) -> None:
        status = re.match(rb"HTTP/1\.[01] (\d{3})\b", head)
        if not status:
            raise ValueError("not HTTP")
        self.status = int(status.group(1))
        length = re.search(rb"(?i)\r\nContent-Length:[ \t]*(\d{1,18})", head)
        self.due = int(length.group(1)) if length else None
        self.is_chunked = bool(re.search(rb"(?i)\r\nTransfer-Encoding:[ \t]*chunked", head))
