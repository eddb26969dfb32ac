"""A worker: holds the lines to its shard's hosts and does there what it is told, until the run ends or falls silent.

What happens on its hosts it sends to the run first, and goes on when that is written. It is no more believed than its
hosts are.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from hivekeys import __version__
from hivekeys.errors import ExitCode, UserError
from hivekeys.journal.clock import Clock
from hivekeys.journal.events import Event, Outcome
from hivekeys.journal.recorder import Recorder
from hivekeys.journal.run import Run
from hivekeys.journal.store import event_of, facts_of
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.verbs import Audit
from hivekeys.rotation.controller import Controller
from hivekeys.rotation.course import is_over
from hivekeys.rotation.shards import messages
from hivekeys.rotation.shards.link import Link, LinkLostError
from hivekeys.rotation.shards.messages import Begin, Done, Failed, Introduction, News, Order, Ready, Recorded, Written
from hivekeys.rotation.shards.shard import OwnShard
from hivekeys.ssh.line import Dialer
from hivekeys.token import Token

REPORT = "the hosts are as `fab status` says; please report this"


class WrittenFirst(Recorder):
    """A run as far as a worker knows it: an event of its hosts counts once the run has it on its disk."""

    def __init__(self, link: Link, run: Run, clock: Clock) -> None:
        super().__init__(self._forward, clock, run)
        self._link = link
        self._folding = threading.Lock()
        self._changed = threading.Condition()
        self._sent = self._there = 0
        self._gone = False

    def apply(self, event: Event) -> None:
        """An event that is written down has happened."""
        with self._folding:
            super().apply(event)

    def written(self, number: int) -> None:
        """The run has all events up to this number."""
        with self._changed:
            self._there = number
            self._changed.notify_all()

    def give_up(self) -> None:
        """The run is gone: nothing is written any more."""
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _forward(self, events: Sequence[Event]) -> None:
        self._sent += 1
        number = self._sent
        self._link.send(Recorded(number, tuple((type(event).__name__, facts_of(event)) for event in events)))
        with self._changed:
            self._changed.wait_for(lambda: self._there >= number or self._gone)
            if self._gone:
                raise LinkLostError("the run is gone")


class _Connected:
    """Passes on that a host has no SYN to wait for: `hivekeys.ssh.line.Applicant`."""

    def __init__(self, send: Callable[[messages.Upward], None], number: int) -> None:
        self._send = send
        self._number = number

    def connecting(self) -> None:
        """It is the host that lets us wait."""
        self._send(messages.Connecting(self._number))

    def ready(self) -> None:
        """It can be dialled."""
        self._send(Done(self._number))


class Worker:
    """One worker. `dialer_of` makes what dials its hosts of what it is told first."""

    def __init__(self, link: Link, dialer_of: Callable[[Begin], Dialer], clock: Clock = time) -> None:
        self._link = link
        self._dialer_of = dialer_of
        self._clock = clock
        self._interrupted = threading.Event()
        self._introductions: dict[int, Introduction] = {}
        self._introduced: dict[str, int] = {}
        self._controllers: dict[str, Controller] = {}
        self._key = b""

    def serve(self) -> None:
        """Until the run ends. Raises LinkLostError where it falls silent or dies: lines are left as they are."""
        begin = self._link.receive()
        if not isinstance(begin, Begin) or (begin.form, begin.version) != (messages.FORM, __version__):
            self._link.send(Failed(0, f"this worker is of hivekeys {__version__}, the run is not", "install the same"))
            return
        self._key = bytes.fromhex(begin.key)
        self._recorder = WrittenFirst(self._link, begin.run, self._clock)
        try:
            dialer = self._dialer_of(begin)
        except UserError as error:
            self._link.send(Failed(0, error.message, error.hint, error.code))
            return
        hosts = [host for host in begin.fleet.hosts if host.name in begin.hosts]
        self._shard = OwnShard(begin.fleet, hosts, dialer)
        started = self._shard.begin(self._recorder, self._is_over, meters=begin.meters)
        self._controllers = {controller.host.name: controller for controller in started}
        self._link.send(Ready(messages.FORM, __version__))
        pool = ThreadPoolExecutor(begin.fleet.policy.width, thread_name_prefix="host")
        try:
            self._listen(pool)
        except Exception as error:
            if not isinstance(error, LinkLostError):
                self._send(Failed(0, _bug(error), REPORT, ExitCode.INCOMPLETE))
            self._interrupted.set()
            self._recorder.give_up()
            pool.shutdown(wait=False, cancel_futures=True)
            raise LinkLostError("the run is gone") from error
        pool.shutdown()
        self._shard.close()

    def _is_over(self) -> bool:
        return is_over(self._recorder.run, self._interrupted.is_set())

    def _listen(self, pool: ThreadPoolExecutor) -> None:
        """Takes messages until the end. Waits for nothing else: what an order waits for comes here."""
        while not isinstance(message := self._link.receive(), messages.End):
            match message:
                case Order(number, host, _, messages.Connect()):
                    self._controllers[host].connect(_Connected(self._send, number))
                case Order():
                    pool.submit(self._carry_out, message)
                case Written():
                    self._recorder.written(message.number)
                case News():
                    self._recorder.apply(event_of(message.kind, message.facts))
                case Introduction():
                    self._introductions[message.number] = message
                case messages.Interrupt():
                    self._interrupt()
                case _:
                    raise LinkLostError("it said what no worker is told")

    def _interrupt(self) -> None:
        self._interrupted.set()
        self._shard.interrupt()

    def _carry_out(self, order: Order) -> None:
        """One order, and the answer to it. Every order has one."""
        try:
            controller = self._controllers[order.host]
            self._introduce(controller, order.introduction)
            answer: Done | Failed = self._done(controller, order)
        except LinkLostError:
            return
        except UserError as error:
            answer = Failed(order.number, error.message, error.hint, error.code)
        except Exception as error:
            answer = Failed(order.number, f"{order.host}: {_bug(error)}", REPORT, ExitCode.INCOMPLETE)
        except BaseException:  # the worker is to end; who waits for the answer hears so
            self._link.close()
            raise
        self._send(answer)

    def _send(self, message: messages.Upward) -> None:
        with contextlib.suppress(LinkLostError):
            self._link.send(message)

    def _introduce(self, controller: Controller, number: int) -> None:
        if self._introduced.get(controller.host.name) == number:
            return
        said = self._introductions[number]
        greeting = messages.with_key(said.greeting, self._key)
        tokens = map(Token, said.tokens)
        controller.introduce(greeting, {token.fingerprint(self._key): token for token in tokens})
        self._introduced[controller.host.name] = number

    def _done(self, controller: Controller, order: Order) -> Done:
        """What is to be done, and the answer; an outcome is in the events already."""
        match order.act:
            case messages.ReadToken(want):
                token = controller.read_token(want, self._key)
                return Done(order.number, token=token.reveal() if token else None)
            case messages.Audit(query):
                reply = controller.audit(query)
                is_lost = isinstance(reply, Cause)
                audited, cause = (None, reply) if isinstance(reply, Cause) else (reply.to(Audit), reply.cause)
                return Done(order.number, reply=messages.AuditReply(audited, cause, is_lost))
            case messages.ReadMeter():
                controller.read_meter()
            case messages.Close():
                controller.close()
            case act:
                self._change(controller, act)
        return Done(order.number)

    def _change(self, controller: Controller, act: messages.Act) -> None:
        """What ends in an outcome."""
        match act:
            case messages.Look():
                controller.look()
            case messages.LookAgain(want):
                controller.look_again(want)
            case messages.Claim(expected, patient):
                controller.claim(expected, patient)
            case messages.Reach(phase, goal, there, anew):
                controller.reach(phase, goal, there, anew)
            case messages.Fence():
                controller.fence()
            case messages.Uncordon(phase, status, state, cause):
                before = Outcome(controller.host.name, phase, status, state, self._recorder.now(), cause)
                controller.uncordon(phase, before)


def _bug(error: Exception) -> str:
    """What a bug was, without its text, which may hold anything."""
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "nowhere"
    return f"a worker met a bug: {type(error).__name__} at {where}"
