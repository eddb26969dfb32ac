"""Carries out one phase on all hosts of a run at once, and keeps the tokens in memory.

It decides nothing: `course` says which move is next.
"""

import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TypeVar

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Role
from hivekeys.journal.clock import Clock
from hivekeys.journal.events import (
    Claimed,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    Paused,
    Phase,
    PhaseStarted,
    RunEnded,
    TokenChosen,
)
from hivekeys.journal.fold import advance
from hivekeys.journal.history import History, later_runs, next_epoch, tokens_held
from hivekeys.journal.hostrun import is_double
from hivekeys.journal.recorder import Record, Recorder
from hivekeys.journal.run import ROTATE, Run
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.doubles import doubles
from hivekeys.protocol.verbs import Greeting
from hivekeys.report.verdict import exit_code
from hivekeys.rotation import waves
from hivekeys.rotation.beginning import Purpose, beginning
from hivekeys.rotation.controller import Controller
from hivekeys.rotation.course import is_over
from hivekeys.rotation.shards.shard import Shard
from hivekeys.rotation.stragglers import Straggler, slower_half
from hivekeys.ssh.turns import in_turn
from hivekeys.token import Fingerprint, Token, is_random

Work = Callable[[Controller], Outcome]
T = TypeVar("T")
NOTHING_KNOWN = History()


class Crew:
    """One run over a fleet, or over the hosts that were chosen of it; `past` is the run that is taken up again.

    `fence`: stop the service of a host that cannot be turned; a run that began with it keeps it.
    `history`: what the journal says of the runs before it. `excluded`: hosts that are cut out of the fleet, none of
    `hosts`. `plan`: the approved plan that it carries out.
    """

    def __init__(
        self,
        fleet: Fleet,
        shards: Sequence[Shard],
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
        meters: bool = False,
        plan: str = "",
    ) -> None:
        self.fleet = fleet
        self.history = history
        self.recorder = Recorder(record, clock, past)
        self.tokens: dict[Fingerprint, Token] = {}
        self.interrupted = threading.Event()
        self._shards = shards
        self._greeting = greeting
        self._vouched: set[Fingerprint] = set()
        self._closed = False
        self._stragglers: dict[Controller, Straggler] = {}
        self._pool = ThreadPoolExecutor(fleet.policy.width, thread_name_prefix="host")
        chosen = {host.name for shard in shards for host in shard.hosts}
        hosts = [host for host in fleet.hosts if host.name in chosen]
        self.waves = waves.plan(hosts, fleet.policy)
        purpose = Purpose(reason=reason, task=task, past=past, fence=fence, excluded=frozenset(excluded), plan=plan)
        begun = beginning(fleet, hosts, self.waves, purpose, greeting.run, greeting.who, self.recorder.now())
        self.recorder.record(begun)
        self._greeting = replace(greeting, sitting=(self.run.sittings, secrets.token_hex(4)))
        started = (shard.begin(self.recorder, self.is_over, meters=meters) for shard in shards)
        self._by_name = {controller.host.name: controller for some in started for controller in some}
        self.controllers = [self._by_name[host.name] for host in hosts]
        for controller in self.controllers:
            controller.introduce(self._greeting, {})

    def is_over(self) -> bool:
        """True when nothing more may be begun."""
        return is_over(self.run, self.interrupted.is_set())

    @property
    def run(self) -> Run:
        """The run so far."""
        return self.recorder.run

    # -- tokens

    def fingerprint(self, token: Token) -> Fingerprint:
        """The token's fingerprint under this fleet's key."""
        return token.fingerprint(self._greeting.key)

    def choose_token(self, token: Token, given: bool = False) -> Fingerprint:
        """The token of this run, written down before any host holds it."""
        want = self.fingerprint(token)
        self.tokens[want] = token
        self.recorder.record(TokenChosen(want, self.recorder.now(), given))
        self.introduce()
        return want

    def read_tokens(self, fingerprints: Iterable[Fingerprint]) -> None:
        """Reads these tokens back into memory, each from the first host that holds it and sends it."""
        for fingerprint in fingerprints:
            holders = (controller for controller in self.standing() if fingerprint in controller.held)
            found = (controller.read_token(fingerprint, self._greeting.key) for controller in holders)
            token = next((token for token in found if token), None)
            if token:
                self.tokens[fingerprint] = token
        self.introduce()

    def vouch(self, token: Token) -> Fingerprint:
        """Takes an old token on the operator's word: every host may be tried with it."""
        fingerprint = self.fingerprint(token)
        self.tokens[fingerprint] = token
        self._vouched.add(fingerprint)
        return fingerprint

    def common_tokens(self) -> set[Fingerprint | None]:
        """The tokens that may be sent to any host: the run's own, and those confirmed as the fleet's.

        A token that only one hive shows is sent to no other host, nor one that only clients show.
        """
        holders = tokens_held(self.run.services)
        queens = tokens_held([self.run.queen] if self.run.queen else [])
        several = {fingerprint for fingerprint, times in holders.items() if times > 1}
        return {self.run.want, *self._vouched, *self.history.tokens, *queens, *several}

    def served_tokens(self) -> set[Fingerprint]:
        """The tokens that services run on, by what their hosts say: other services may accept them too."""
        seen = (host.seen for host in self.run.services)
        return {one.loaded.fingerprint for one in seen if one and one.loaded.fingerprint}

    def _is_fit(self, fingerprint: Fingerprint) -> bool:
        """True for a random token that no host's honest answer contains; another would be taken for a leak."""
        text = self.tokens[fingerprint].reveal()
        said = (other.keyed for host in self.run.hosts.values() for other in host.held)
        return is_random(text) and not any(text in keyed for keyed in said)

    def is_known(self, controller: Controller, fingerprint: Fingerprint) -> bool:
        """True when the host can be tried with this token: it was sent it, or has it in a slot."""
        return controller.knows(fingerprint) or fingerprint in controller.held

    def introduce(self) -> None:
        """The next request to every host begins with a new greeting: as a run that writes, with these tokens.

        Each host gets the common tokens, and those that it holds or held itself.
        """
        common = self.common_tokens() | {
            fingerprint for fingerprint in self.served_tokens() & self.tokens.keys() if self._is_fit(fingerprint)
        }
        revoked = {**self._greeting.revoked, **{fingerprint.keyed: self.run.id for fingerprint in self.run.revoked}}
        greeting = replace(self._greeting, write=True, epoch=self.run.epoch, revoked=revoked)
        for controller in self.controllers:
            if controller not in self._stragglers:
                mine = common | controller.held | {controller.record.was}
                told = {fingerprint: token for fingerprint, token in self.tokens.items() if fingerprint in mine}
                controller.introduce(greeting, told)

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
        self.recorder.record(Claimed(next_epoch(self.run, self.history), self.recorder.now()))

    # -- phases

    def phase(
        self,
        phase: Phase,
        controllers: Sequence[Controller],
        work: Work,
        title: str = "",
        patience: float | None = None,
        ahead: int = 0,
    ) -> list[Outcome]:
        """Does `work` on all these hosts at once and waits for every host.

        With `patience`, a host that has not answered so many seconds after half of them is left behind: it does not
        stand until it was gathered. A host alone is its own half. `ahead`: so many others are through already, and
        count. Hosts that have not begun when the run is interrupted have no outcome.
        """
        names = tuple(controller.host.name for controller in controllers)
        self.recorder.record(PhaseStarted(phase, names, self.recorder.now(), title or phase.value))

        def begin(controller: Controller) -> Outcome | None:
            return None if self._closed or self.interrupted.is_set() else work(controller)

        futures = in_turn(self._pool, begin, controllers, lambda controller, turn: controller.connect(turn))
        waiting = set(futures.values())
        if patience is not None:
            waiting = slower_half(waiting, (len(futures) + ahead) // 2, patience)
        wait(waiting, patience)  # for all hosts, even when one raises: no thread goes on working unwatched
        self._stragglers.update(
            {controller: Straggler(phase, future) for controller, future in futures.items() if not future.done()}
        )
        done = (future.result() for controller, future in futures.items() if controller not in self._stragglers)
        return [outcome for outcome in done if outcome]

    def ask(self, controllers: Sequence[Controller], work: Callable[[Controller], T]) -> list[tuple[Controller, T]]:
        """Asks all these hosts at once, outside of a phase; the answers by host."""
        return list(zip(controllers, self._pool.map(work, controllers), strict=True))

    @property
    def stragglers(self) -> list[Controller]:
        """The hosts that were left behind and not gathered since, whether they have answered by now or not."""
        return [controller for controller in self.controllers if controller in self._stragglers]

    def gather(self, *, waits: bool = False) -> None:
        """Takes back the hosts that were left behind and have answered by now; `waits` until one has."""
        if waits:
            wait([straggler.future for straggler in self._stragglers.values()], return_when=FIRST_COMPLETED)
        back = {controller: straggler for controller, straggler in self._stragglers.items() if straggler.future.done()}
        self._stragglers = {
            controller: straggler for controller, straggler in self._stragglers.items() if controller not in back
        }
        for straggler in back.values():
            straggler.future.result()
        if back:
            self.introduce()  # these too, now that no thread talks to them

    def of(self, names: Collection[str]) -> list[Controller]:
        """The controllers of these hosts."""
        return [self._by_name[name] for name in names]

    def with_room(self, controllers: Sequence[Controller]) -> list[Controller]:
        """Those of a wave that may turn now: a host that was left behind while it turned still takes a place.

        Waits until there is one.
        """
        wave = next(wave for wave in self.waves if controllers[0].host in wave.hosts)
        ready = [controller.host for controller in controllers]
        hives = [controller.host for controller in self.controllers if controller.host.role is Role.HIVE]
        while True:
            turning = {one.host: straggler for one, straggler in self._stragglers.items() if straggler.turns}
            if may_turn := waves.beside(wave, ready, list(turning), hives):
                return self.of([host.name for host in may_turn])
            wait([straggler.future for straggler in turning.values()], return_when=FIRST_COMPLETED)

    def standing(self) -> list[Controller]:
        """The hosts that have not failed so far, and were not left behind."""
        return [
            controller
            for controller in self.controllers
            if controller.record.cause is None and controller not in self._stragglers
        ]

    @property
    def doubles(self) -> dict[str, Cause]:
        """The hosts whose names lead to the machine of another host, by this sitting's answers."""
        return doubles(self.fleet.hosts, self.run.machines)

    def fail_doubles(self) -> None:
        """Records, once, that these hosts have failed."""
        found = self.doubles
        for controller in self.controllers:
            cause = found.get(controller.host.name)
            if cause and not is_double(controller.record):
                controller.fail(self.run.phase or Phase.LOOK, cause)

    def apart(self, controllers: Sequence[Controller]) -> Iterator[list[Controller]]:
        """The hosts in rounds; no round has two names of one machine, which would take its lock from each other.

        As a round comes, the other names of its machines let go.
        """
        found, rounds = self.doubles, defaultdict[int, list[Controller]](list)
        names: Counter[str] = Counter()
        for controller in controllers:
            key = controller.record.machine if controller.host.name in found else controller.host.name
            rounds[names[key]].append(controller)
            names[key] += 1
        for together in rounds.values():
            here = {controller.record.machine for controller in together if controller.host.name in found}
            others = (other for other in self.controllers if other not in self._stragglers and other not in together)
            for controller in others:
                if controller.record.machine in here:
                    controller.close()
            yield together

    def read_meters(self) -> None:
        """In a metered run: has every standing host's count recorded, and its calls go on with the clients' token."""
        controllers = [controller for controller in self.standing() if controller.meters]
        wait([self._pool.submit(controller.read_meter) for controller in controllers])

    def ask_operator(self, agrees: Callable[[], bool]) -> bool:
        """The operator's answer. Question and answer are recorded, since the time between is not work of the run."""
        self.recorder.record(OperatorAsked(self.recorder.now()))
        yes = agrees()
        self.recorder.record(OperatorAnswered(yes, self.recorder.now()))
        return yes

    # -- the end

    def interrupt(self) -> None:
        """No new host begins; hosts in flight finish, but wait for no work to end. From any thread."""
        self.interrupted.set()
        for shard in self._shards:
            shard.interrupt()

    def wait(self) -> ExitCode:
        """No host answers, so nothing is decided: the run stays open and keeps its direction."""
        self.close()
        self.recorder.record(Paused(self.recorder.now(), ExitCode.INCOMPLETE))
        return ExitCode.INCOMPLETE

    def end(self, code: ExitCode | None = None) -> ExitCode:
        """Closes every line. The code follows from the hosts' states unless it is given."""
        self.close()
        if code is None and self.interrupted.is_set():
            self.recorder.record(Paused(self.recorder.now()))
            return ExitCode.INTERRUPTED
        code = self.code() if code is None else code
        begun = self.run.resumed or self.run.has_touched
        if code is ExitCode.LOCKED and begun and not self.run.is_superseded:
            self.recorder.record(Paused(self.recorder.now(), code))  # the run that holds the hosts will end
        else:
            self.recorder.record(RunEnded(code, self.recorder.now()))
        return code

    def code(self) -> ExitCode:
        """What the run would mean to the shell if it ended here."""
        return exit_code(advance(self.run, RunEnded(ExitCode.DONE, self.recorder.now())))

    def close(self) -> None:
        """Lets every host go; safe to repeat, and the only way out when an event could not be recorded."""
        if not self._closed:
            self._closed = True
            wait(straggler.future for straggler in self._stragglers.values())
            self._pool.shutdown()
            with ThreadPoolExecutor(len(self._shards)) as pool:
                list(pool.map(lambda shard: shard.close(), self._shards))
