"""A shard whose hosts a worker holds: orders go to it, what happened comes back and is recorded here.

What a worker says counts for its own hosts alone.
"""

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

from hivekeys import __version__
from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.events import Event, Intent, MeterRead, Outcome, Phase, Retried, State, Status, Waiting
from hivekeys.journal.recorder import Recorder
from hivekeys.journal.run import Run
from hivekeys.journal.store import event_of, facts_of
from hivekeys.protocol.audited import Query
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.verbs import Greeting, Verb
from hivekeys.protocol.wire import Tokens
from hivekeys.rotation.controller import Controller
from hivekeys.rotation.shards import messages
from hivekeys.rotation.shards.link import SILENCE, Link, LinkLostError
from hivekeys.rotation.shards.messages import Act, Begin, Done, Failed, Introduction, News, Order, Recorded, Written
from hivekeys.rotation.steps import Goal
from hivekeys.ssh.excluded import CutOut
from hivekeys.ssh.line import Applicant
from hivekeys.token import Fingerprint, Token

OF_HOSTS = (Intent, Outcome, MeterRead, Waiting)  # what a worker may record
TRIES = 2  # how often an order is given: its worker may end under it
STARTS = 4  # how often a run starts one shard's worker: one that ends again and again does not come to life


@dataclass(frozen=True)
class Beside:
    """What workers need to know beside fleet and run."""

    modules: tuple[str, ...] = ()  # of the agent, beside those of every run
    excluded: Mapping[str, CutOut] = field(default_factory=dict)
    key: bytes = field(default=b"", repr=False)  # of the fingerprints
    password: str | None = field(default=None, repr=False)  # for sudo


class _Connects(Future[Done]):
    """The answer to an order to connect."""

    def __init__(self, applicant: Applicant) -> None:
        super().__init__()
        self.applicant = applicant


class RemoteShard:
    """Hosts whose lines a worker holds. `start` gives a link to a new worker."""

    def __init__(self, fleet: Fleet, hosts: Sequence[Host], start: Callable[[], Link], beside: Beside) -> None:
        self.hosts = hosts
        self._fleet = fleet
        self._names = frozenset(host.name for host in hosts)
        self._known = self._names | {fleet.queen.name}  # which token clients have depends on her
        self._beside = beside
        self._start = start
        self._meters = False
        self._changing = threading.RLock()  # of what follows
        self._link: Link | None = None
        self._why: BaseException = LinkLostError("its worker is not started any more")  # or how it ended
        self._starts = self._number = 0
        self._waiting: dict[int, Future[Done]] = {}
        self._greeting: Greeting | None = None
        self._introductions: dict[frozenset[Fingerprint], Introduction] = {}
        self._introduced: set[int] = set()  # the introductions that this worker has
        self._outcomes: dict[str, Outcome] = {}
        self._arriving: dict[int, Event] = {}  # the events that this worker sent last, by identity

    def begin(self, recorder: Recorder, is_over: Callable[[], bool], *, meters: bool) -> Sequence[Controller]:
        """A controller for each host; the worker begins to start."""
        self._recorder = recorder
        self._meters = meters
        recorder.listeners.append(self._pass_on)
        with self._changing:
            self._started()
        return [RemoteController(host, self, recorder, meters) for host in self.hosts]

    def close(self) -> None:
        """Has the worker let all hosts go, and ends it."""
        with self._changing:
            link, self._link, self._starts = self._link, None, STARTS
        if link:
            with contextlib.suppress(LinkLostError):
                link.send(messages.End())
            self._listener.join(SILENCE)
            link.close()

    def interrupt(self) -> None:
        """Has the worker begin nothing more, and wait for no work to end."""
        with self._changing:
            link = self._link
        if link:
            with contextlib.suppress(LinkLostError):
                link.send(messages.Interrupt())

    # -- orders

    def introduction(self, greeting: Greeting, tokens: Tokens) -> Introduction:
        """Who speaks to a host from now on, with which tokens; the same for all hosts that may know the same."""
        with self._changing:
            if greeting is not self._greeting:
                self._greeting = greeting
                self._introductions.clear()
            known = frozenset(tokens)
            if known not in self._introductions:
                self._number += 1
                texts = tuple(token.reveal() for token in tokens.values())
                self._introductions[known] = Introduction(self._number, messages.without_key(greeting), texts)
            return self._introductions[known]

    def carry_out(self, host: Host, act: Act, introduction: Introduction | None, starts: bool = True) -> Done:
        """The answer to an order; a worker that has ended is started anew for it where it `starts` one.

        Raises LinkLostError where the worker ends under it, UserError for mistakes of the operator's.
        """
        return self._order(host, act, introduction, Future(), starts).result()

    def connect(self, host: Host, applicant: Applicant) -> None:
        """Has the applicant know when the host has no SYN to wait for, or there is no worker to ask."""
        answer = _Connects(applicant)
        try:
            self._order(host, messages.Connect(), None, answer)
        except LinkLostError:
            applicant.ready()
        else:
            answer.add_done_callback(lambda _: applicant.ready())

    def _order(
        self, host: Host, act: Act, introduction: Introduction | None, answer: Future[Done], starts: bool = True
    ) -> Future[Done]:
        with self._changing:
            if self._link is None and starts:
                self._started()
            link = self._link
            if link is None:
                raise self._why
            self._number += 1
            number = self._number
            self._waiting[number] = answer
            try:
                if introduction and introduction.number not in self._introduced:
                    link.send(introduction)
                    self._introduced.add(introduction.number)
                link.send(Order(number, host.name, introduction.number if introduction else 0, act))
            except LinkLostError:
                link.close()  # who listens to it says why, to all who wait
        return answer

    def outcome_of(self, host: Host) -> Outcome:
        """The outcome of the order that was carried out last on a host. Raises LinkLostError where none was said."""
        outcome = self._outcomes.pop(host.name, None)
        if outcome is None:
            raise LinkLostError("its worker did not say what became of it")
        return outcome

    # -- the worker

    def _started(self) -> None:
        if self._starts >= STARTS:
            return
        self._starts += 1
        try:
            link = self._start()
        except UserError as error:
            self._why = LinkLostError(error.message)
            return
        self._introduced.clear()
        run = self._recorder.run
        there = {name: part for name, part in run.hosts.items() if name in self._known}
        fleet = replace(self._fleet, hosts=tuple(host for host in self._fleet.hosts if host.name in self._known))
        begin = Begin(
            messages.FORM,
            __version__,
            fleet,
            tuple(host.name for host in self.hosts),
            replace(run, hosts=there),
            self._beside.modules,
            self._meters,
            dict(self._beside.excluded),
            self._beside.key.hex(),
            self._beside.password,
        )
        try:
            link.send(begin)
        except LinkLostError as error:
            link.close()
            self._why = error
            return
        self._link = link
        self._listener = threading.Thread(target=self._listen, args=(link,), name="shard", daemon=True)
        self._listener.start()

    def _listen(self, link: Link) -> None:
        try:
            while True:
                self._take(link, link.receive())
        except LinkLostError as error:
            self._lose(link, str(error))
        except BaseException as error:  # what cannot be recorded: the thread that gave the order raises it
            self._lose(link, "", error)

    def _take(self, link: Link, message: messages.Downward | messages.Upward) -> None:
        match message:
            case Recorded():
                self._record(_events(message))
                link.send(Written(message.number))
            case messages.Connecting():
                if isinstance(waits := self._waiting.get(message.number), _Connects):
                    waits.applicant.connecting()
            case Done():
                if waits := self._waiting.pop(message.number, None):
                    waits.set_result(message)
            case Failed(number, words, hint, code):
                error = UserError(words, hint=hint, code=code)
                if number == 0:
                    raise error
                if waits := self._waiting.pop(number, None):
                    waits.set_exception(error)
            case messages.Ready():
                pass
            case _:
                raise LinkLostError("it said what no worker says")

    def _record(self, events: Sequence[Event]) -> None:
        """Records what happened on hosts of this shard; of others this worker has nothing to say."""
        for event in events:
            if not isinstance(event, OF_HOSTS) or event.host not in self._names:
                raise LinkLostError(f"it spoke of what is not its affair: {type(event).__name__}")
        self._arriving = {id(event): event for event in events}
        self._recorder.record(*events)
        self._outcomes |= {event.host: event for event in events if isinstance(event, Outcome)}

    def _lose(self, link: Link, why: str, error: BaseException | None = None) -> None:
        """The worker is gone: who waits for it is told so."""
        link.close()
        with self._changing:
            if self._link is not link:
                return
            self._link = None
            self._why = error or LinkLostError(f"the worker of {len(self.hosts)} hosts is lost: {why}")
            waiting, self._waiting = self._waiting, {}
        for waits in waiting.values():
            waits.set_exception(self._why)

    def _pass_on(self, event: Event, _: Run) -> None:
        """Sends the worker an event that it did not send itself: of the run, of its hosts, of the queen."""
        with self._changing:
            link = self._link
        if link is None or id(event) in self._arriving:
            return
        if isinstance(event, OF_HOSTS) and event.host not in self._known:
            return
        if isinstance(event, Retried):
            event = replace(event, hosts=tuple(name for name in event.hosts if name in self._known))
        with contextlib.suppress(LinkLostError):  # its next order says so
            link.send(News(type(event).__name__, facts_of(event)))


def _events(recorded: Recorded) -> list[Event]:
    try:
        return [event_of(kind, facts) for kind, facts in recorded.events]
    except (KeyError, ValueError, RecursionError):
        raise LinkLostError("it sent an event that is none") from None


class RemoteController(Controller):
    """Brings one host to where a run wants it, by its shard's worker."""

    def __init__(self, host: Host, shard: RemoteShard, recorder: Recorder, meters: bool) -> None:
        super().__init__(host, recorder, meters)
        self._shard = shard
        self._introduction: Introduction | None = None
        self._known: frozenset[Fingerprint] = frozenset()
        self._has_line = False  # as far as is known here

    def introduce(self, greeting: Greeting, tokens: Tokens) -> None:
        """Greets the host anew with the next request."""
        self._introduction = self._shard.introduction(greeting, tokens)
        self._known = frozenset(tokens)

    def knows(self, fingerprint: Fingerprint) -> bool:
        """True for a token that the host may be sent."""
        return fingerprint in self._known

    def connect(self, applicant: Applicant) -> None:
        """Has the applicant know when the host has no SYN to wait for: at once, where it answered last."""
        if self._has_line:
            applicant.ready()
        else:
            self._shard.connect(self.host, applicant)

    def close(self) -> None:
        """Ends the agent."""
        self._has_line = False
        with contextlib.suppress(LinkLostError):
            self._shard.carry_out(self.host, messages.Close(), None, starts=False)

    def look(self) -> Outcome:
        """Read-only."""
        return self._outcome_of(Phase.LOOK, messages.Look())

    def look_again(self, want: Fingerprint | None) -> Outcome:
        """Read-only, in a run that goes on."""
        return self._outcome_of(Phase.LOOK, messages.LookAgain(want))

    def claim(self, expected: Collection[Fingerprint | None], patient: bool = False) -> Outcome:
        """The host's lock."""
        return self._outcome_of(Phase.CLAIM, messages.Claim(tuple(expected), patient))

    def reach(self, phase: Phase, goal: Goal, there: State, anew: bool = False) -> Outcome:
        """Brings the host to the goal."""
        return self._outcome_of(phase, messages.Reach(phase, goal, there, anew))

    def fence(self) -> Outcome:
        """Stops the service."""
        return self._outcome_of(Phase.FENCE, messages.Fence())

    def _uncordon(self, phase: Phase, outcome: Outcome) -> Outcome:
        return self._outcome_of(phase, messages.Uncordon(phase, outcome.status, outcome.state, outcome.cause))

    def read_token(self, want: Fingerprint, key: bytes) -> Token | None:
        """The token itself, if it is what was asked for."""
        answer = self._asked(messages.ReadToken(want))
        token = Token(answer.token) if answer and answer.token else None
        return token if token and token.fingerprint(key) == want else None

    def audit(self, query: Query) -> Reply | Cause:
        """What the service's audit records say."""
        try:
            reply = self._shard.carry_out(self.host, messages.Audit(query), self._introduction).reply
        except LinkLostError as error:
            return Cause(Trouble.LINE_BROKEN, str(error))
        if reply is None or (reply.lost and reply.cause):
            return reply.cause if reply and reply.cause else Cause(Trouble.RUBBISH, "the worker has no answer")
        return Reply((), reply.cause, answers={Verb.AUDIT: reply.audited} if reply.audited else {})

    def read_meter(self) -> None:
        """Has what was counted recorded."""
        self._asked(messages.ReadMeter())

    def _asked(self, act: Act) -> Done | None:
        try:
            return self._shard.carry_out(self.host, act, self._introduction)
        except LinkLostError:
            return None

    def _outcome_of(self, phase: Phase, act: Act) -> Outcome:
        """The outcome of an order. A worker that ended under it is started anew once: every order may be repeated."""
        why = ""
        for _ in range(TRIES):
            try:
                self._shard.carry_out(self.host, act, self._introduction)
                outcome = self._shard.outcome_of(self.host)
            except LinkLostError as error:
                why = str(error)
                act = replace(act, anew=True) if isinstance(act, messages.Reach) else act
            else:
                self._has_line = outcome.status is Status.OK
                return outcome
        self._has_line = False
        return self._given_up(phase, Cause(Trouble.LINE_BROKEN, why))
