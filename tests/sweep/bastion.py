"""A bastion that can be killed at any instant: what was in its memory is gone, its agents see the end of the line.

Types what an operator types (`rotate`, `resume`, `roll_back`, `reconcile`) for an in-process fleet. Each moment at
which it can be killed is a Point: before and after every journal append and every verb of every agent.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import dropwhile
from pathlib import Path
from typing import Any

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Host
from hivekeys.journal.events import Event, TokensRevoked
from hivekeys.journal.fold import advance
from hivekeys.journal.history import gone_back
from hivekeys.journal.run import REVOKE, ROTATE, Run
from hivekeys.journal.store import Journal
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import Drive, paced
from hivekeys.rotation.moves import REVOCATION, ROTATION
from hivekeys.rotation.shards.shard import OwnShard
from tests.inprocess import KEY, InProcessDialer, InProcessLine, SharedClock
from tests.sweep.promises import WatchedFleet


@dataclass(frozen=True)
class Point:
    """The n-th time that something is about to happen or has just happened."""

    when: str
    what: str
    nth: int

    def __str__(self) -> str:
        return f"{self.when} {self.what} ({self.nth})"


@dataclass(frozen=True)
class Folder:
    """A bastion's state folder, as it was once."""

    last: str
    journals: dict[str, list[Event]]
    tombstones: set[str]


class KilledError(BaseException):
    """SIGKILL. No Exception: nothing in the engine or the agent may catch it."""


class Bastion:
    """One operator's machine. Its journal is a list or, in a folder, a real one; a kill leaves nothing but that."""

    def __init__(self, fleet: WatchedFleet, folder: Path | None = None, who: str = "ann@bastion") -> None:
        self.fleet = fleet
        self.who = who
        self.last = ""  # the newest run
        self.clock = SharedClock(fleet)
        self.journals: dict[str, list[Event]] = {}
        self.cut_out: set[str] = set()  # hosts that its operator does not trust any more
        self.tombstones: set[str] = set()  # keyed fingerprints of what its runs revoked
        self.fatal: Point | None = None  # killed there
        self.interrupted: Point | None = None  # Ctrl-C there
        self.dies_after: int | None = None  # killed at three times so many points
        self.trail: list[Point] = []  # every point that was passed, in the last command
        self.on_event: Callable[[Event], None] | None = None
        self._folder = folder
        self._journal: Journal | None = None
        self._mutex = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._folded: dict[str, tuple[list[Event], Run]] = {}
        self._dead = False
        self._runner: Crew | None = None
        self.lines: list[InProcessLine] = []

    # -- what an operator types

    def rotate(
        self,
        run: str = "run-1",
        *,
        may_be_missing: Iterable[str] = (),
        thinking: Callable[[], None] | None = None,
    ) -> ExitCode | None:
        """`fab rotate`; None when the bastion was killed."""

        def work(runner: Crew) -> ExitCode:
            drive = Drive(runner, replace(ROTATION, may_be_missing=frozenset(may_be_missing), census=True))
            if not drive.look():
                return runner.end()
            if thinking:
                thinking()
            return drive.go()

        self.journals[run] = []
        return self._command(run, None, work)

    def revoke(self, run: str = "run-1", *, fence: bool = False) -> ExitCode | None:
        """`fab revoke`; None when the bastion was killed."""
        self.journals[run] = []
        return self._command(run, None, _revoke, REVOKE, fence)

    def resume(self, run: str = "") -> ExitCode | None:
        """`fab resume`."""
        past = self.past(run)
        if past.is_revocation:
            return self._command(past.id, past, _revoke)
        return self._command(run or self.last, past, _rotation)

    def roll_back(self, run: str = "") -> ExitCode | None:
        """`fab rollback`."""
        return self._command(run or self.last, self.past(run), partial(_rotation, back=True))

    def reconcile(self, run: str = "") -> ExitCode | None:
        """`fab reconcile`."""
        later = gone_back(self.past(name) for name in dropwhile(lambda name: name != (run or self.last), self.journals))
        if self.past(run).is_revocation:
            return self._command(run or self.last, self.past(run), lambda runner: _revoke(runner, later=later))
        reconcile = partial(_rotation, goes_back=False, gone_back=frozenset(later))
        return self._command(run or self.last, self.past(run), reconcile)

    def does_as_the_last_line_says(self) -> ExitCode | None:
        """Types the first command that the last line of the newest run names."""
        line = report.next_step(self.past(), self.fleet.inventory)
        verbs: dict[str, Callable[[], ExitCode | None]] = {
            "fab resume": self.resume,
            "fab rollback": self.roll_back,
            "fab reconcile": self._reconcile_newest,
            "fab revoke": lambda: self.revoke(f"{self.last}-again"),
            "fab rotate": lambda: self.rotate(f"{self.last}-again"),
        }
        found = sorted((line.index(words), words) for words in verbs if words in line)
        assert found, "the last line names no command"
        return verbs[found[0][1]]()

    def _reconcile_newest(self) -> ExitCode | None:
        """`fab reconcile` without a run; where none is served it refuses, and says to rotate."""
        served = next((name for name in reversed(self.journals) if self.past(name).is_served), "")
        return self.reconcile(served) if served else self.rotate(f"{self.last}-again")

    def past(self, run: str = "") -> Run:
        """A run as its journal tells it; the newest, unless it is named. What was folded before is not folded again."""
        run = run or self.last
        events = self.events(run)
        known, before = self._folded.get(run, ([], Run()))
        if events[: len(known)] != known:
            known, before = [], Run()
        self._folded[run] = events[:], reduce(advance, events[len(known) :], before)
        return self._folded[run][1]

    def events(self, run: str = "") -> list[Event]:
        """What was written down of a run."""
        run = run or self.last
        if self._folder is None:
            return self.journals[run]
        journal = Journal(self._folder)
        try:
            return journal.events(run)
        finally:
            journal.close()

    # -- what a backup of its state folder has

    def folder(self) -> "Folder":
        """A copy of all that it keeps between runs."""
        return Folder(self.last, {run: list(events) for run, events in self.journals.items()}, set(self.tombstones))

    def put_back(self, folder: "Folder") -> None:
        """What came since is not known here any more."""
        self.last, self.tombstones = folder.last, set(folder.tombstones)
        self.journals = {run: list(events) for run, events in folder.journals.items()}

    # -- how it lives and dies

    def _command(
        self, run: str, past: Run | None, work: Callable[[Crew], ExitCode], task: str = ROTATE, fence: bool = False
    ) -> ExitCode | None:
        self.last = run
        self._dead = False
        self._counts.clear()
        self.trail = []
        self._journal = Journal(self._folder) if self._folder else None
        revoked = dict.fromkeys(self.tombstones, "an earlier run")
        greeting = Greeting(self.fleet.inventory.name, KEY, run, self.who, revoked=revoked)

        def record(events: Sequence[Event]) -> None:
            for event in events:
                self._append(run, event)

        self._runner = None
        inventory = self.fleet.inventory
        if task == REVOKE or (past and past.is_revocation):
            inventory = paced(inventory)
            self.fleet.revoking.add(run)
        try:
            lines, clock = BastionDialer(self), self.clock
            hosts = [host for host in inventory.hosts if host.name not in self.cut_out]
            cut_out = frozenset(self.cut_out)
            self._runner = runner = Crew(
                inventory,
                [OwnShard(inventory, hosts, lines)],
                greeting,
                record,
                clock,
                task=task,
                past=past,
                fence=fence,
                excluded=cut_out,
            )
            return work(runner)
        except KilledError:
            return None
        finally:
            if self._runner:
                self._runner.close()
            for line in self.lines:
                line.close()
            self.lines.clear()
            self.fleet.nobody_works()
            if self._journal:
                self._journal.close()

    def _append(self, run: str, event: Event) -> None:
        what = " ".join(filter(None, ("journal:", type(event).__name__, getattr(event, "host", ""), _phase(event))))
        self.passes("before", what)
        if self.on_event:
            self.on_event(event)
        if self._journal:
            self._journal.append(run, event)
        else:
            self.journals[run].append(event)
        if isinstance(event, TokensRevoked):
            self.tombstones |= {fingerprint.keyed for fingerprint in event.fingerprints}
            self.fleet.condemn(self.tombstones)
        self.passes("after", what)

    def passes(self, when: str, what: str) -> None:
        """A point is reached: the end, if it is the fatal one or the bastion is dead already."""
        with self._mutex:
            if not self._dead:
                self._counts[when, what] += 1
                point = Point(when, what, self._counts[when, what])
                self.trail.append(point)
                if point == self.interrupted and self._runner:
                    self._runner.interrupt()
                self._dead = point == self.fatal or len(self.trail) == 3 * (self.dies_after or -1)
            if self._dead:
                raise KilledError


def _revoke(runner: Crew, later: Collection[str] = ()) -> ExitCode:
    quick = replace(REVOCATION, attempts=2, pause=0.0, patience=60.0)
    return Drive(runner, replace(quick, census=True, gone_back=frozenset(later))).go()


def _rotation(runner: Crew, **plan: Any) -> ExitCode:
    return Drive(runner, replace(ROTATION, census=True, **plan)).go()


def _phase(event: Event) -> str:
    phase = getattr(event, "phase", None)
    return phase.value if phase else ""


class BastionDialer(InProcessDialer):
    """Lines of one bastion, which end when it dies."""

    def __init__(self, bastion: Bastion) -> None:
        super().__init__(bastion.fleet)
        self._bastion = bastion

    def dial(self, host: Host) -> InProcessLine | Cause:
        self._bastion.passes("before", f"dial {host.name}")
        line = super().dial(host)
        if isinstance(line, InProcessLine):
            self._bastion.lines.append(line)
        return line


def watch(*bastions: Bastion) -> None:
    """Every verb is a point of the bastion whose line it came over."""

    def on_verb(line: InProcessLine, when: str, what: str) -> None:
        for bastion in bastions:
            if line in bastion.lines:
                bastion.passes(when, what)

    bastions[0].fleet.on_verb = on_verb
