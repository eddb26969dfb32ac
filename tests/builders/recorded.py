"""Runs as a journal would tell them, of any size, to draw pages of: the events, on a clock of their own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hivekeys.fleet import SERVICES, Fleet, Host, Role
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import (
    Event,
    Intent,
    Outcome,
    Paused,
    Phase,
    PhaseStarted,
    Resumed,
    RunEnded,
    RunStarted,
    State,
    Status,
    Stopped,
    TokenChosen,
    TokensRevoked,
)
from hivekeys.journal.fold import fold
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.messages import Result
from hivekeys.protocol.seen import Answer, HostRecord, Proof
from hivekeys.protocol.verbs import Verb
from hivekeys.report.verdict import exit_code
from hivekeys.token import Token
from tests.builders.seen import seen

OLD, NEW = Token("a" * 64).fingerprint(b"k"), Token("b" * 64).fingerprint(b"k")
CALLS = {"new": 200, "old": 401, "none": 401, "garbage": 401}
BEGAN = 1_790_000_000.0
WELL = Proof(CALLS, True, "/v1/workers/list", Answer("/v1/health", 200), 0.05, 0.06)
TURN = (Result(Verb.SWAP, True, 0.02), Result(Verb.RESTART, True, 0.1), Result(Verb.PROVE, False, 3.1))


def fleet_of(hives: int) -> Fleet:
    """A queen and so many hives, on paper."""
    queen = Host("queen", Role.QUEEN, "192.0.2.1", service=SERVICES[Role.QUEEN])
    names = (f"hive{number}" for number in range(1, hives + 1))
    return Fleet("paper", (queen, *(Host(name, Role.HIVE, "192.0.2.2", service=SERVICES[Role.HIVE]) for name in names)))


@dataclass
class Teller:
    """Tells a run event by event; `clock` is the bastion's."""

    fleet: Fleet
    run: str = "paper-1a2b3c4d"
    task: str = "rotate"
    reason: str = "90 days"
    batch: int = 2
    ill: Mapping[str, Cause] = field(default_factory=dict)  # hosts that fail in their wave
    lost: Iterable[str] = ()  # hosts that are not reached
    clock: float = 5000.0
    away: float = 0.0  # the wall clock's seconds beyond it: a bastion that was down
    events: list[Event] = field(default_factory=list)

    def now(self) -> Moment:
        return Moment(BEGAN + self.clock - 5000.0 + self.away, self.clock)

    def tell(self, event: Event) -> None:
        self.events.append(replace(event, when=self.now()))

    def waves(self) -> tuple[tuple[Phase, tuple[str, ...]], ...]:
        hives = [host.name for host in self.fleet.hives]
        rest = hives[1:]
        batches = [tuple(rest[start : start + self.batch]) for start in range(0, len(rest), self.batch)]
        return (
            (Phase.QUEEN, ("queen",)),
            (Phase.CANARY, tuple(hives[:1])),
            *((Phase.WAVE, batch) for batch in batches),
        )

    def begin(self) -> None:
        names = tuple(host.name for host in self.fleet.hosts)
        begun = RunStarted(self.run, "paper", "ann@bastion", self.reason, names, self.waves(), (), self.now())
        self.tell(replace(begun, task=self.task, version="0.1.0", inventory="5e" * 32))

    def phase(self, phase: Phase, names: Iterable[str], title: str = "", width: int = 32) -> None:
        """All of these hosts at once, as many as there is room for."""
        hosts = [name for name in names if name not in self.lost or phase is Phase.LOOK]
        self.tell(PhaseStarted(phase, tuple(hosts), self.now(), title or phase.value))
        for start in range(0, len(hosts), width):
            group = hosts[start : start + width]
            if phase is not Phase.LOOK:
                for name in group:
                    self.tell(Intent(name, phase, tuple(one.verb for one in _results(phase)), self.now()))
            self.clock += sum(result.seconds for result in _results(phase))
            for place, name in enumerate(group):
                self.clock += 0.01 * (place % 7)
                self.tell(self._outcome(phase, name))

    def _outcome(self, phase: Phase, name: str) -> Outcome:
        met = HostRecord("3.11.2", "paper")
        if name in self.lost:
            cause = Cause(Trouble.NO_CONNECTION, "connect: timed out")
            return Outcome(name, phase, Status.UNREACHABLE, State.UNREACHABLE, self.now(), cause)
        turning = phase in (Phase.QUEEN, Phase.CANARY, Phase.WAVE)
        if name in self.ill and turning:
            done = Outcome(name, phase, Status.FAILED, State.FAILED, self.now(), self.ill[name], seen(OLD))
            return replace(done, results=TURN[:2], proof=Proof({"none": 401, "garbage": 401, "new": 401}, False))
        if phase in (Phase.LOOK, Phase.CLAIM, Phase.STAGE):
            shown = Proof({"new": 200, "none": 401, "garbage": 401}, True, "/v1/workers/list", WELL.health, 0.01)
            state = State.UNCHANGED
            return Outcome(
                name, phase, Status.OK, state, self.now(), None, seen(OLD), shown, met, results=_results(phase)
            )
        if phase is Phase.ROLLBACK:
            return Outcome(
                name, phase, Status.OK, State.ROLLED_BACK, self.now(), None, seen(OLD), WELL, met, results=TURN
            )
        proof = WELL if turning else replace(WELL, healthy_after=None)
        return Outcome(
            name, phase, Status.OK, State.PROVEN, self.now(), None, seen(NEW), proof, met, results=_results(phase)
        )

    def before(self) -> None:
        """Up to where nothing has changed yet."""
        names = [host.name for host in self.fleet.hosts]
        self.begin()
        self.phase(Phase.LOOK, names)
        self.clock += 0.5
        self.tell(TokenChosen(NEW, self.now()))
        self.phase(Phase.CLAIM, ["queen"])
        self.phase(Phase.CLAIM, names[1:])
        self.phase(Phase.STAGE, names)

    def turn(self) -> None:
        waves = self.waves()
        for place, (phase, names) in enumerate(waves):
            title = f"wave {place - 1} of {len(waves) - 2}" if phase is Phase.WAVE else phase.value
            self.phase(phase, names, title)

    def revoke(self) -> list[Event]:
        """A revocation: no canary, all hives at once, nobody goes back."""
        self.task, self.reason, self.batch = "revoke", "token seen in a public gist", 1000
        names = [host.name for host in self.fleet.hosts]
        self.before()
        self.tell(TokensRevoked((OLD,), self.now()))
        self.phase(Phase.QUEEN, ["queen"])
        self.phase(Phase.WAVE, names[1:], "wave 1 of 1")
        self.settle()
        return self.events

    def settle(self) -> None:
        names = [host.name for host in self.fleet.hosts if host.name not in self.ill]
        self.phase(Phase.SETTLE, names)
        if not self.ill and not self.lost:
            self.phase(Phase.RETIRE, names)
        self.tell(RunEnded(exit_code(fold(self.events)), self.now()))

    def whole(self) -> list[Event]:
        """A run from its beginning to its end."""
        self.before()
        self.turn()
        self.settle()
        return self.events

    def cut(self, seconds: float, who: str = "bob@bastion") -> None:
        """Interrupted, and taken up again so much later, after a restart of the bastion."""
        names = tuple(host.name for host in self.fleet.hosts)
        self.tell(Paused(self.now()))
        self.away += seconds + self.clock
        self.clock = 0.0
        self.away -= self.clock
        self.tell(Resumed(who, names, self.waves(), (), self.now()))

    def stop(self, why: str) -> None:
        self.tell(Stopped(Phase.WAVE, why, self.now()))


def _results(phase: Phase) -> tuple[Result, ...]:
    match phase:
        case Phase.LOOK:
            return (Result(Verb.OBSERVE, False, 0.05), Result(Verb.PROVE, False, 0.06))
        case Phase.CLAIM:
            return (Result(Verb.PROBE_WRITE, True, 0.04), Result(Verb.OBSERVE, False, 0.05))
        case Phase.STAGE:
            return (Result(Verb.STAGE, True, 0.08),)
        case Phase.SETTLE:
            return (Result(Verb.PROVE, False, 0.3),)
        case Phase.RETIRE:
            return (Result(Verb.RETIRE, True, 0.05),)
        case _:
            return TURN
