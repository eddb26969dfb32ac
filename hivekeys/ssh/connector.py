"""Connects to many hosts at once, ahead of their turns: one thread, however many of them do not answer.

To wait for the answer to a SYN is no work, so a host that is dead takes none of the places (`width`) that hosts at work
share. Nothing is said on a socket before its host's turn.
"""

import contextlib
import errno
import heapq
import itertools
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from hivekeys.fleet import Host
from hivekeys.protocol.causes import Cause
from hivekeys.ssh.addresses import Address, LookUps, numeric, resolved, unanswered
from hivekeys.ssh.line import Applicant
from hivekeys.ssh.reach import Wire, refusal, refused, share, tune
from hivekeys.ssh.settings import Settings
from hivekeys.ssh.standing import STANDS, Place, Standing
from hivekeys.ssh.stream import watchdog

# SYNs without an answer at a time. For each dead machine of a local network Linux keeps a neighbour, of which it has
# 1,024 for all programs (gc_thresh3), and a firewall on the way has an entry for each. Who lives is through at once.
AT_ONCE = 512


@dataclass(eq=False)
class _Attempt:
    """A host that is connected to: for whom, by which settings, and where it may be."""

    host: Host
    applicant: Applicant
    settings: Settings | None = None
    place: Place = ()
    untried: deque[Address] = field(default_factory=deque)
    until: float = 0.0  # monotonic; the addresses share the time
    plug: socket.socket | None = None
    refusals: list[str] = field(default_factory=list)
    namesakes: list["_Attempt"] = field(default_factory=list)  # other names of the same place


class Connector:
    """One for each run. Safe for many threads; its own begins with the first host, and stays."""

    def __init__(
        self, direct: Callable[[Host], Settings | None], timeout: float, at_once: int = AT_ONCE, stands: float = STANDS
    ) -> None:
        """`direct`: the settings of a host that is reached directly; it may take its time to say them.

        `timeout`: seconds that the resolver gets, and then a host, with all of its addresses.
        """
        self._direct = direct
        self._timeout = timeout
        self._look_ups = LookUps()
        self._at_once = at_once
        self._standing = Standing(stands)
        self._thread = threading.Thread(target=self._run, name="connect", daemon=True)
        self._mutex = threading.Lock()  # of the next three
        self._is_over = False
        self._open: set[_Attempt] = set()  # whose applicants are not ready
        self._placed: deque[_Attempt] = deque()  # of which the addresses are known
        # The thread's own:
        self._under_way: dict[Place, _Attempt] = {}
        self._due: list[tuple[float, int, _Attempt, socket.socket]] = []
        self._numbers = itertools.count()

    def connect(self, host: Host, applicant: Applicant) -> None:
        """Begins to connect to a host, if it is reached directly; any other is ready as it is."""
        attempt = _Attempt(host, applicant)
        with self._mutex:
            begins = not self._is_over
            if begins:
                self._open.add(attempt)
                if self._thread.ident is None:
                    self._begin()
        if begins:
            self._look_ups.add(partial(self._look_up, attempt))
        else:
            applicant.ready()

    def take(self, who: str, settings: Settings) -> Wire | Cause | None:
        """The connection to the host named `who`, or why there is none; None where it is to be tried anew."""
        outcome = self._standing.take((who, settings))
        if isinstance(outcome, socket.socket):
            outcome.settimeout(self._timeout)
            return Wire(outcome)
        return outcome

    def close(self) -> None:
        """Lets go of the sockets that nobody took. Whoever still waits is ready at once. May be repeated."""
        with self._mutex:
            self._is_over = True
        self._look_ups.clear()
        self._wake()

    def _begin(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waker, woken = socket.socketpair()
        for end in (self._waker, woken):
            end.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ)
        self._thread.start()

    def _wake(self) -> None:
        if self._thread.ident is not None:
            with contextlib.suppress(OSError):  # it is full of calls already, or closed
                self._waker.send(b"\0")

    def _end(self, attempt: _Attempt, outcome: socket.socket | Cause | None) -> None:
        """Has the applicant know, once: a resolver may answer after it was given up."""
        with self._mutex:
            is_late = attempt not in self._open
            self._open.discard(attempt)
        if not is_late:
            if outcome is not None and attempt.settings is not None:
                self._standing.put((attempt.host.name, attempt.settings), outcome, attempt.place)
            attempt.applicant.ready()
        elif isinstance(outcome, socket.socket):
            outcome.close()

    # -- in threads that look up

    def _look_up(self, attempt: _Attempt) -> None:
        try:
            settings = attempt.settings = self._direct(attempt.host)
        except Exception:  # who dials the host meets it again, and somebody waits there
            settings = None
        if settings is None:
            self._end(attempt, None)
            return
        addresses = numeric(settings)
        if isinstance(addresses, Cause):
            attempt.applicant.connecting()
            give_up = partial(self._end, attempt, unanswered(settings, self._timeout))
            with watchdog(time.monotonic() + self._timeout, give_up):
                addresses = resolved(settings)
        if isinstance(addresses, Cause):
            self._end(attempt, addresses)
            return
        attempt.place = tuple(addresses)
        with self._mutex:
            self._placed.append(attempt)
        self._wake()

    # -- in the thread that connects

    def _run(self) -> None:
        try:
            while not self._is_over:
                self._step()
        finally:
            self.close()
            for key in list(self._selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101  for the type checker
                key.fileobj.close()
            self._selector.close()
            self._waker.close()
            self._standing.close()
            with self._mutex:
                waiting = list(self._open)
            for attempt in waiting:
                self._end(attempt, None)

    def _step(self) -> None:
        """Waits until a socket has news, a time is over or a host is new, and goes on from there."""
        times = [until for until in (self._due[0][0] if self._due else None, self._standing.expire()) if until]
        for key, _ in self._selector.select(max(0.0, min(times) - time.monotonic()) if times else None):
            if key.data is None:
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101  for the type checker
                key.fileobj.recv(4096)
            else:
                self._answered(key.data)
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, attempt, plug = heapq.heappop(self._due)
            if attempt.plug is plug:
                self._refused(attempt, TimeoutError())
        while len(self._under_way) < self._at_once and (placed := self._next()):
            self._connect(placed)

    def _next(self) -> _Attempt | None:
        with self._mutex:
            return self._placed.popleft() if self._placed else None

    def _connect(self, attempt: _Attempt) -> None:
        """Sends the SYN; of several names of one place one alone is connected to, and the others learn by it."""
        attempt.applicant.connecting()
        if self._standing.has(attempt.place):
            self._end(attempt, None)
        elif attempt.place in self._under_way:
            self._under_way[attempt.place].namesakes.append(attempt)
        else:
            self._under_way[attempt.place] = attempt
            attempt.until = time.monotonic() + self._timeout
            attempt.untried.extend(attempt.place)
            self._try(attempt)

    def _try(self, attempt: _Attempt) -> None:
        """Goes on with the host's next address."""
        if not attempt.untried:
            self._leave(attempt, refused(attempt.refusals))
            return
        now, (family, address) = time.monotonic(), attempt.untried[0]
        try:
            plug = attempt.plug = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # too many open files, say: who dials the host meets it again
            self._leave(attempt, None)
            return
        plug.setblocking(False)
        code = plug.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self._refused(attempt, OSError(code, os.strerror(code)))
            return
        self._selector.register(plug, selectors.EVENT_WRITE, attempt)
        until = now + share(attempt.until - now, len(attempt.untried))
        heapq.heappush(self._due, (until, next(self._numbers), attempt, plug))

    def _answered(self, attempt: _Attempt) -> None:
        assert attempt.plug  # noqa: S101  for the type checker: it had news
        code = attempt.plug.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            if code:
                raise OSError(code, os.strerror(code))
            tune(attempt.plug)
        except OSError as error:
            self._refused(attempt, error)
        else:
            self._selector.unregister(attempt.plug)
            self._leave(attempt, attempt.plug)

    def _refused(self, attempt: _Attempt, error: OSError) -> None:
        assert attempt.plug  # noqa: S101  for the type checker: it was tried
        if attempt.plug in self._selector.get_map():
            self._selector.unregister(attempt.plug)
        attempt.plug.close()
        attempt.plug = None
        attempt.refusals.append(refusal(attempt.untried.popleft()[1], error))
        self._try(attempt)

    def _leave(self, attempt: _Attempt, outcome: socket.socket | Cause | None) -> None:
        """The place is known: for its other names, too, which fail as this one does, or connect at their turns."""
        attempt.plug = None
        del self._under_way[attempt.place]
        self._end(attempt, outcome)
        for other in attempt.namesakes:
            self._end(other, outcome if isinstance(outcome, Cause) else None)
