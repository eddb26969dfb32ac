"""All hosts of a run, driven together: one phase at once on all of them, the tokens in memory, and the end.

It decides nothing: `rollout` says which phase comes next, whether the run goes on, and in which direction.
"""

import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TypeVar

from hivekeys import __version__
from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.clock import Clock
from hivekeys.journal.events import (
    Claimed,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    Paused,
    Phase,
    PhaseStarted,
    Resumed,
    RunEnded,
    RunStarted,
    TokenChosen,
)
from hivekeys.journal.history import History, later_runs, next_epoch, tokens_held
from hivekeys.journal.recorder import Ledger, Record
from hivekeys.journal.run import ROTATE, Run, advance
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.doubles import doubles
from hivekeys.protocol.wire import Greeting
from hivekeys.report.verdict import exit_code
from hivekeys.rotation import waves
from hivekeys.rotation.story import Story
from hivekeys.ssh.line import Dialer
from hivekeys.ssh.session import Session
from hivekeys.token import Fingerprint, Token, is_random

Work = Callable[[Story], Outcome]
TURNS = (Phase.QUEEN, Phase.CANARY, Phase.WAVE)
T = TypeVar("T")
NOTHING_KNOWN = History()


class Runner:
    """One run over a fleet, or over the hosts that were chosen of it; `past` is the run that is taken up again.

    `fence`: services that cannot be turned are stopped; a run that was begun so needs not be told again.
    `history`: what the journal says of the runs before it. `excluded`: hosts that are cut out of the fleet, none of
    `hosts`.
    """

    def __init__(
        self,
        fleet: Fleet,
        hosts: Sequence[Host],
        dialer: Dialer,
        greeting: Greeting,
        record: Record,
        clock: Clock = time,
        reason: str = "",
        *,
        task: str = ROTATE,
        past: Run | None = None,
        fence: bool = False,
        history: History = NOTHING_KNOWN,
        excluded: Collection[str] = (),
    ) -> None:
        self.fleet = fleet
        self.history = history
        self.ledger = Ledger(record, clock, past)
        self.tokens: dict[Fingerprint, Token] = {}
        self.interrupted = threading.Event()
        self._dialer = dialer
        self._greeting = greeting
        self._vouched: set[Fingerprint] = set()
        self._closed = False
        self._late: dict[Story, _Late] = {}
        self._pool = ThreadPoolExecutor(fleet.policy.width, thread_name_prefix="host")
        sessions = (Session(host, dialer, fleet.policy, greeting, fleet.timeouts.request) for host in hosts)
        self.stories = [Story(session.host, session, self.ledger) for session in sessions]
        self.waves = waves.plan(hosts, fleet.policy)
        names = tuple(host.name for host in hosts)
        order = tuple((wave.phase, tuple(host.name for host in wave.hosts)) for wave in self.waves)
        others = [host.name for host in fleet.hosts if host.name not in names]
        left_out = tuple(name for name in others if name not in excluded)
        cut_out = tuple(name for name in others if name in excluded)
        now = self.ledger.now()
        if past:
            known = {host.name for host in fleet.hosts}
            gone = tuple(name for name in past.hosts if name not in known)
            self.ledger.tell(Resumed(greeting.who, names, order, left_out, now, cut_out, gone, fence))
        else:
            told = (greeting.run, fleet.name, greeting.who, reason, names, order, left_out, now, task)
            self.ledger.tell(RunStarted(*told, __version__, fleet.digest, fence, cut_out))
        self._greeting = replace(greeting, sitting=(self.run.sittings, secrets.token_hex(4)))
        for story in self.stories:
            story.session.introduce(self._greeting, {})

    @property
    def run(self) -> Run:
        """The run so far."""
        return self.ledger.run

    # -- tokens

    def fingerprint(self, token: Token) -> Fingerprint:
        """The token's fingerprint under this fleet's key."""
        return token.fingerprint(self._greeting.key)

    def bring(self, token: Token, given: bool = False) -> Fingerprint:
        """The token of this run, written down before any host holds it."""
        want = self.fingerprint(token)
        self.tokens[want] = token
        self.ledger.tell(TokenChosen(want, self.ledger.now(), given))
        self.introduce()
        return want

    def recall(self, fingerprints: Iterable[Fingerprint]) -> None:
        """Has these tokens back in memory, each from the first host that holds it and says it."""
        for fingerprint in fingerprints:
            holders = (story for story in self.standing() if fingerprint in story.held)
            found = (story.recall(fingerprint, self._greeting.key) for story in holders)
            token = next((token for token in found if token), None)
            if token:
                self.tokens[fingerprint] = token
        self.introduce()

    def vouch(self, token: Token) -> Fingerprint:
        """The operator's word for an old token: every host may be asked with it."""
        fingerprint = self.fingerprint(token)
        self.tokens[fingerprint] = token
        self._vouched.add(fingerprint)
        return fingerprint

    def common_tokens(self) -> set[Fingerprint | None]:
        """The tokens that may be brought to any host: the run's own, and what is borne out as the fleet's.

        What a single hive calls a token is brought to no other.
        """
        holders = tokens_held(self.run.hosts.values())
        queens = tokens_held([self.run.queen] if self.run.queen else [])
        several = {fingerprint for fingerprint, times in holders.items() if times > 1}
        return {self.run.want, *self._vouched, *self.history.tokens, *queens, *several}

    def served_tokens(self) -> set[Fingerprint]:
        """The tokens that services run on, as their hosts say: others may accept them too."""
        seen = (host.seen for host in self.run.hosts.values())
        return {one.loaded.fingerprint for one in seen if one and one.loaded.fingerprint}

    def _is_fit(self, fingerprint: Fingerprint) -> bool:
        """True for a token that is in no other host's honest answer: such an answer would be taken for a leak."""
        text = self.tokens[fingerprint].reveal()
        said = (other.keyed for host in self.run.hosts.values() for other in host.held)
        return is_random(text) and not any(text in keyed for keyed in said)

    def is_known(self, story: Story, fingerprint: Fingerprint) -> bool:
        """True when the host can be asked with this token: it was told it, or has it in a slot."""
        return story.session.knows(fingerprint) or fingerprint in story.held

    def introduce(self) -> None:
        """Every host is greeted anew with the next request: as a run that writes, and that knows these tokens.

        Each hears the tokens that are common, and those that it holds or held itself.
        """
        common = self.common_tokens() | {
            fingerprint for fingerprint in self.served_tokens() & self.tokens.keys() if self._is_fit(fingerprint)
        }
        revoked = {**self._greeting.revoked, **{fingerprint.keyed: self.run.id for fingerprint in self.run.condemned}}
        greeting = replace(self._greeting, write=True, epoch=self.run.epoch, revoked=revoked)
        for story in self.stories:
            if story not in self._late:
                mine = common | story.held | {story.part.was}
                told = {fingerprint: token for fingerprint, token in self.tokens.items() if fingerprint in mine}
                story.session.introduce(greeting, told)

    def go_past(self, gone_back: Collection[str]) -> None:
        """A new place in the order of runs, which the hosts would refuse as the older one otherwise.

        Only where all that are known to have changed them later are `gone_back`: runs of this bastion that left the
        hosts as they were. A later run that a single hive names is that hive's affair.
        """
        later = later_runs(self.run)
        foreign = [other for other, is_sure in later.items() if is_sure and other not in gone_back]
        if not foreign and any(other in gone_back for other in later):
            self.claim_place()

    def claim_place(self) -> None:
        """The run's place in the order of runs, behind all that are borne out."""
        self.ledger.tell(Claimed(next_epoch(self.run, self.history), self.ledger.now()))

    # -- phases

    def phase(
        self,
        phase: Phase,
        stories: Sequence[Story],
        work: Work,
        title: str = "",
        patience: float | None = None,
        ahead: int = 0,
    ) -> list[Outcome]:
        """Does `work` on all of them at once and waits for every one.

        With `patience`, whoever is not through so many seconds after half of them were is left behind: it does not
        stand until it was gathered. A host alone is its own half. `ahead`: so many others are through already, and
        count. Hosts that have not begun when the run is interrupted have no outcome.
        """
        names = tuple(story.host.name for story in stories)
        self.ledger.tell(PhaseStarted(phase, names, self.ledger.now(), title or phase.value))

        def begin(story: Story) -> Outcome | None:
            return None if self.interrupted.is_set() else work(story)

        futures = {story: self._pool.submit(begin, story) for story in stories}
        waiting = set(futures.values())
        if patience is not None:
            waiting = _slower_half(waiting, (len(futures) + ahead) // 2, patience)
        wait(waiting, patience)  # all of them also when one raises: nobody is left working on its own
        self._late.update({story: _Late(phase, future) for story, future in futures.items() if not future.done()})
        done = (future.result() for story, future in futures.items() if story not in self._late)
        return [outcome for outcome in done if outcome]

    def ask(self, stories: Sequence[Story], work: Callable[[Story], T]) -> list[tuple[Story, T]]:
        """A question to all of them at once that is no part of a phase: who has what to say."""
        return list(zip(stories, self._pool.map(work, stories), strict=True))

    @property
    def late(self) -> list[Story]:
        """Whoever was left behind and not gathered since, through or not by now."""
        return [story for story in self.stories if story in self._late]

    def gather(self, *, waits: bool = False) -> None:
        """Takes those back that were left behind and are through by now; `waits` until one is."""
        if waits:
            wait([late.future for late in self._late.values()], return_when=FIRST_COMPLETED)
        back = {story: late for story, late in self._late.items() if late.future.done()}
        self._late = {story: late for story, late in self._late.items() if story not in back}
        for late in back.values():
            late.future.result()
        if back:
            self.introduce()  # them too, now that nobody speaks with them

    def places(self, wave: waves.Wave) -> int:
        """How many hosts of a wave may turn now: one that was left behind while it turned keeps its place.

        Waits until there is one. The queen waits for all of them, and all of them for her.
        """
        width = max(len(other.hosts) for other in self.waves if other.phase is wave.phase)
        while True:
            turning = [late for late in self._late.values() if late.turns]
            apart = wave.phase is Phase.QUEEN or any(late.phase is Phase.QUEEN for late in turning)
            if len(turning) < (1 if apart else width):
                return width - len(turning)
            wait([late.future for late in turning], return_when=FIRST_COMPLETED)

    def standing(self) -> list[Story]:
        """The hosts that have not failed so far, and were not left behind."""
        return [story for story in self.stories if story.part.cause is None and story not in self._late]

    @property
    def doubles(self) -> dict[str, Cause]:
        """The hosts whose names lead to the machine of another one, by what was answered in this sitting."""
        return doubles(self.fleet.hosts, {name: host.machine for name, host in self.run.hosts.items()})

    def fail_doubles(self) -> bool:
        """Writes down that these have failed; True when there are any."""
        found = self.doubles
        for story in self.stories:
            if story.host.name in found:
                story.fail(self.run.phase or Phase.LOOK, found[story.host.name])
        return bool(found)

    def apart(self, stories: Sequence[Story]) -> Iterator[list[Story]]:
        """The hosts in rounds, of which none has two names of one machine: these would take its lock from each other.

        As a round comes, the other names of its machines let go.
        """
        found, rounds = self.doubles, defaultdict[int, list[Story]](list)
        names: Counter[str] = Counter()
        for story in stories:
            key = story.part.machine if story.host.name in found else story.host.name
            rounds[names[key]].append(story)
            names[key] += 1
        for together in rounds.values():
            here = {story.part.machine for story in together if story.host.name in found}
            for story in self.stories:
                if story.part.machine in here and story not in together and story not in self._late:
                    story.session.close()
            yield together

    def ask_operator(self, agrees: Callable[[], bool]) -> bool:
        """The operator's answer. How long that takes is no work of the run's, so both are written down."""
        self.ledger.tell(OperatorAsked(self.ledger.now()))
        yes = agrees()
        self.ledger.tell(OperatorAnswered(yes, self.ledger.now()))
        return yes

    @property
    def is_superseded(self) -> bool:
        """True when a newer run has worked on the hosts: the queen says so, or two of them."""
        return self.run.bears_out(Trouble.SUPERSEDED)

    # -- the end

    def interrupt(self) -> None:
        """No new host begins; hosts in flight finish. May be called from a signal handler."""
        self.interrupted.set()

    def wait(self) -> ExitCode:
        """Nobody answers, so nothing is decided: the run stays open, and its direction what it was."""
        self.close()
        self.ledger.tell(Paused(self.ledger.now(), ExitCode.INCOMPLETE))
        return ExitCode.INCOMPLETE

    def end(self, code: ExitCode | None = None) -> ExitCode:
        """Closes every line. The code follows from the hosts' states unless it is given."""
        self.close()
        if code is None and self.interrupted.is_set():
            self.ledger.tell(Paused(self.ledger.now()))
            return ExitCode.INTERRUPTED
        code = self.code() if code is None else code
        begun = self.run.resumed or self.run.has_touched
        if code is ExitCode.LOCKED and begun and not self.is_superseded:
            self.ledger.tell(Paused(self.ledger.now(), code))  # whoever holds the hosts will leave
        else:
            self.ledger.tell(RunEnded(code, self.ledger.now()))
        return code

    def code(self) -> ExitCode:
        """What the run would mean to the shell if it ended here."""
        return exit_code(advance(self.run, RunEnded(ExitCode.DONE, self.ledger.now())))

    def close(self) -> None:
        """Lets every host go; safe to repeat, and the only way out when an event could not be recorded."""
        if not self._closed:
            self._closed = True
            wait(late.future for late in self._late.values())
            list(self._pool.map(lambda story: story.session.close(), self.stories))
            self._pool.shutdown()
            self._dialer.close()


def _slower_half(waiting: set[Future[T]], half: int, patience: float) -> set[Future[T]]:
    """Those that are left once no more than `half` are, and none of them waits for a thread: that is not slowness.

    Where those that have the threads do not come through for `patience` seconds, the others have waited long enough.
    """
    while len(waiting) > half or not all(future.running() for future in waiting):
        done, waiting = wait(waiting, patience if len(waiting) <= half else None, FIRST_COMPLETED)
        if not done:
            break
    return waiting


@dataclass(frozen=True)
class _Late:
    """What a host that was left behind is at work on."""

    phase: Phase
    future: Future[Outcome | None]

    @property
    def turns(self) -> bool:
        """True while its service may be out."""
        return self.phase in TURNS and not self.future.done()


def of_wave(wave: waves.Wave, stories: Iterable[Story]) -> list[Story]:
    """Those of the stories whose hosts a wave has; looked up, since a wave may have a thousand."""
    hosts = frozenset(wave.hosts)
    return [story for story in stories if story.host in hosts]
