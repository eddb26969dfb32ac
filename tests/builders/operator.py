"""An operator at the bastion: rotates an in-process fleet as `fab rotate` does, on a clock that only tests move."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hivekeys.errors import ExitCode
from hivekeys.fleet import Batch, Host
from hivekeys.journal.events import Event, Outcome, Phase, PhaseStarted, State
from hivekeys.journal.history import History
from hivekeys.journal.run import REVOKE, ROTATE, Run
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.crew import NOTHING_KNOWN, Crew
from hivekeys.rotation.drive import Drive, paced
from hivekeys.rotation.moves import REVOCATION, ROTATION, Plan
from hivekeys.rotation.shards.shard import OwnShard
from hivekeys.rotation.waves import Wave
from hivekeys.ssh.line import Dialer
from hivekeys.token import Fingerprint, Token, generate
from tests.builders.workers import Workers
from tests.inprocess import KEY, InProcessFleet, OwnClock, SimulatedHost


class Operator:
    """One run from one bastion. `events` is all that it recorded, `token` the one that it brings."""

    def __init__(
        self,
        fleet: InProcessFleet,
        *,
        run: str = "run-1",
        who: str = "ann@bastion",
        hosts: Sequence[Host] | None = None,
        token: Token | None = None,
        on_event: Callable[[Event], None] | None = None,
        dialer: Dialer | None = None,
        task: str = ROTATE,
        past: Run | None = None,
        revoked: Mapping[str, str] = MappingProxyType({}),
        census: bool = False,
        retire_anyway: bool = False,
        clock: OwnClock | None = None,
        batch: Batch | None = None,
        fence: bool = False,
        history: History = NOTHING_KNOWN,
        take_over: bool = False,
        without: Collection[str] = (),
        stops_in: Phase | None = None,
        meters: bool = False,
        no_refusal: bool = False,
        workers: int = 0,
    ) -> None:
        """`stops_in`: Ctrl-C, as this phase begins. `workers`: how many hold the lines; 0: this process does."""
        self.fleet = fleet
        self.token = token or generate()
        self.events: list[Event] = []
        self.on_event = on_event
        self.clock = clock or OwnClock()
        greeting = Greeting(
            fleet.inventory.name, KEY, past.id if past else run, who, revoked=revoked, take_over=take_over
        )
        inventory = paced(fleet.inventory, batch) if task == REVOKE else fleet.inventory
        chosen = [host for host in (inventory.hosts if hosts is None else hosts) if host.name not in without]
        lines = dialer or fleet.dialer()
        self.workers = Workers(fleet, inventory, chosen, self.clock, workers) if workers else None
        self.runner = Crew(
            inventory,
            self.workers.shards if self.workers else [OwnShard(inventory, chosen, lines)],
            greeting,
            self._record,
            self.clock,
            "routine",
            task=task,
            past=past,
            fence=fence,
            history=history,
            excluded=without,
            meters=meters or no_refusal,
        )
        self.plan = replace(ROTATION, census=census, retire_anyway=retire_anyway, no_refusal=no_refusal)
        self.go_on: Callable[[Wave], bool] | None = None  # asked between two waves
        self.stops_in = stops_in

    def _record(self, events: Sequence[Event]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, PhaseStarted) and event.phase is self.stops_in:
                self.runner.interrupt()
            if self.on_event:
                self.on_event(event)

    @property
    def run(self) -> Run:
        """The run so far."""
        return self.runner.run

    def look(self) -> bool:
        """`fab plan`."""
        return self.drive(self.plan).look()

    def rotate(self, thinking: Callable[[], None] | None = None) -> ExitCode:
        """Looks, lets the operator think about the plan, says yes."""
        if not self.look():
            return self.runner.end()
        if thinking:
            thinking()
        return self.go()

    def go(self, given: bool = False) -> ExitCode:
        """Says yes. `given`: the token is the operator's own."""
        return self.drive(self.plan, given=given).go()

    def resume(self, make: Callable[[], Token]) -> ExitCode:
        """`fab resume` of a rotation."""
        return self.drive(self.plan, make).go()

    def roll_back(self, gone_back: Collection[str] = ()) -> ExitCode:
        """`fab rollback`."""
        return self.drive(replace(self.plan, back=True, gone_back=frozenset(gone_back))).go()

    def reconcile(self, gone_back: Collection[str] = ()) -> ExitCode:
        """`fab reconcile`."""
        return self.drive(replace(self.plan, goes_back=False, gone_back=frozenset(gone_back))).go()

    def revoke(
        self,
        *,
        attempts: int = 1,
        patience: float = 60.0,
        pause: float = 0.0,
        ends_survivors: bool = False,
        leaked: Collection[Fingerprint] = (),
    ) -> ExitCode:
        """Types `fab revoke`, or takes one up again."""
        plan = replace(REVOCATION, attempts=attempts, patience=patience, pause=pause, census=self.plan.census)
        return self.drive(replace(plan, ends_survivors=ends_survivors, leaked=frozenset(leaked))).go()

    def drive(self, plan: Plan, make: Callable[[], Token] | None = None, given: bool = False) -> Drive:
        """The run under this plan."""
        return Drive(self.runner, plan, make or (lambda: self.token), given=given, go_on=self.go_on)

    @property
    def states(self) -> dict[str, State]:
        """Where each host ended."""
        return {name: host.state for name, host in self.run.hosts.items()}

    @property
    def troubles(self) -> dict[str, Trouble]:
        """Why, for each host that did not make it."""
        return {name: host.cause.trouble for name, host in self.run.hosts.items() if host.cause}

    def outcomes(self, host: str) -> list[Outcome]:
        """What was recorded of one host."""
        return [event for event in self.events if isinstance(event, Outcome) and event.host == host]


def breaks(fault: str) -> Callable[[SimulatedHost], None]:
    """For `fleet.at`: this fault begins."""

    def begin(host: SimulatedHost) -> None:
        host.fault = fault

    return begin


def serving(fleet: InProcessFleet, new: Token) -> dict[str, str]:
    """Which token each host's service lets in, asked at its door: old, new, both, none."""
    words = {(True, False): "old", (False, True): "new", (True, True): "both", (False, False): "none"}
    return {name: words[host.accepts(fleet.token), host.accepts(new)] for name, host in fleet.hosts.items()}


def slots_used(fleet: InProcessFleet) -> list[str]:
    """Hosts with something in a slot that should be empty when a run is over."""
    return [name for name, host in fleet.hosts.items() if host.slots()["staged"] or host.slots()["previous"]]
