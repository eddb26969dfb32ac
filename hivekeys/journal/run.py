"""A run as its events tell it: `fold` builds it, and nothing else does. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

from hivekeys.errors import ExitCode
from hivekeys.journal.events import (
    Approved,
    CensusTaken,
    Phase,
    PhaseStarted,
    State,
)
from hivekeys.journal.gap import Gap, between
from hivekeys.journal.hostrun import HostRun, is_barred, is_superseded
from hivekeys.journal.milestones import Heading, Milestone
from hivekeys.journal.persistent import PersistentMap
from hivekeys.journal.sittings import BEGUN, Times
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.metered import Metered
from hivekeys.token import Fingerprint

ROTATE, REVOKE = "rotate", "revoke"  # the tasks of runs that bring a token; upkeep has other names


@dataclass(frozen=True)
class Run:
    """A whole run: who, when, what, and one state for every host."""

    id: str = ""
    task: str = ROTATE
    fleet: str = ""
    who: str = ""
    reason: str = ""
    started: float = 0.0
    times: Times = BEGUN
    seconds: float = 0.0  # at work, in all sittings, as `times` says
    epoch: int = 0
    want: Fingerprint | None = None
    given: bool = False  # the token came from the operator
    revoked: tuple[Fingerprint, ...] = ()  # tokens that this run revokes
    unshared: tuple[tuple[str, Fingerprint], ...] = ()  # tokens that one host alone held: no other was tried with them
    attempt: int = 1
    waves: tuple[tuple[Phase, tuple[str, ...]], ...] = ()
    left_out: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()  # from the fleet, by an operator
    gone: tuple[str, ...] = ()  # from the inventory, when it was last taken up
    presenting: frozenset[str] = frozenset()  # clients, also those that are in no wave
    superseded_by: str = ""  # the revocation that took this run's place
    phase: Phase | None = None
    begun: tuple[PhaseStarted, ...] = ()  # the phases of this sitting, since hosts were tried again the last time
    lost: bool = False  # a revocation that cannot go on in this sitting
    sittings: int = 1  # how often it was begun or taken up
    heading: Heading = Heading.FORWARD
    came_to: Milestone = Milestone.BEGUN
    stopped: str = ""
    reasons: tuple[str, ...] = ()  # why it stopped, each time
    overlap_until: float = 0.0  # clients have until then for the new token (epoch); 0: nothing overlaps
    census: CensusTaken | None = None  # who used the old tokens, by the services' records
    code: ExitCode | None = None
    paused: ExitCode | None = None  # the exit code of its command, where the run itself did not end
    at_work: str = ""  # who is at work on it now, by the fleet's lock; its own events do not say this, nor the next two
    settled_by: str = ""  # a later run, after which no host owes this run anything
    paid: frozenset[str] = frozenset()  # hosts that later runs have proven: they owe this one nothing
    version: str = ""  # of the hivekeys that began it
    inventory: str = ""  # SHA-256 of the inventory that it began with
    fence: bool = False  # the services of hosts that cannot be turned are stopped
    window: str = ""  # whether it was last begun, or taken up, in an allowed time; "": the fleet has no windows
    plan: str = ""  # the approved plan that it carries out
    approvers: int = 0  # so many persons must approve it
    approvals: tuple[Approved, ...] = ()  # by whom it was approved
    passes: bool = False  # its services accept two tokens: accept, use and drop instead of one turn
    fell_back: str = ""  # why it went on with one token at a time
    hosts: Mapping[str, HostRun] = field(default_factory=PersistentMap)

    @property
    def brings_token(self) -> bool:
        """True for a rotation and a revocation, False for upkeep."""
        return self.task in (ROTATE, REVOKE)

    @property
    def approved_by(self) -> tuple[str, ...]:
        """The persons who have approved it, before or afterwards."""
        return tuple(dict.fromkeys(person for approved in self.approvals for person in approved.persons))

    @property
    def lacks_approval(self) -> bool:
        """True when it has changed something, and is still to be approved."""
        return self.approvers > 0 and not self.approvals and self.left_a_trace

    @property
    def resumed(self) -> bool:
        """True when it was taken up again, by `resume`, `rollback` or `reconcile`."""
        return self.sittings > 1

    @property
    def rolled_back(self) -> bool:
        """True when its hosts go back, or went back, to the token from before it."""
        return self.heading is Heading.BACK

    @property
    def reconciling(self) -> bool:
        """True when it had ended and was taken up again for the hosts that it had left behind."""
        return self.heading is Heading.RECONCILE

    @property
    def settling(self) -> bool:
        """True once all that could be turned was proven."""
        return self.came_to is not Milestone.BEGUN

    @property
    def retiring(self) -> bool:
        """True past the point of no return."""
        return self.came_to is Milestone.IRREVOCABLE

    @property
    def is_revocation(self) -> bool:
        """True for a run that may only go forward: the old tokens leaked."""
        return self.task == REVOKE

    @property
    def is_open(self) -> bool:
        """True for a run that was cut off after it had chosen a token: it is resumed or rolled back, not left."""
        return self.code is None and self.want is not None and not self.superseded_by and not self.settled_by

    @property
    def here(self) -> tuple[HostRun, ...]:
        """The hosts that the inventory still had when the run was last at work."""
        return tuple(host for host in self.hosts.values() if host.name not in self.gone)

    @property
    def counted(self) -> tuple[HostRun, ...]:
        """The hosts that the run is for: all but those that are excluded, or gone from the inventory."""
        return tuple(host for host in self.hosts.values() if host.state is not State.EXCLUDED)

    @property
    def was_begun(self) -> bool:
        """True once the operator agreed (if asked): it has a token to bring, or found that it cannot go on."""
        return self.want is not None or self.code not in (None, ExitCode.USAGE)

    @property
    def left_with(self) -> Fingerprint | None:
        """The token that the run brings, or the one from before where it was taken back, and all hosts had the same."""
        if not (self.rolled_back or self.code is ExitCode.ROLLED_BACK):
            return self.want
        old = {host.was for host in self.counted if host.was}
        return old.pop() if len(old) == 1 and not self.behind else None

    @property
    def overtaken_by(self) -> str:
        """The newer run that came to the hosts before this one ended, in the queen's words or most hosts'."""
        if not self.is_superseded:
            return ""
        said = {
            host.name: host.cause.detail for host in self.hosts.values() if host.cause and is_superseded(host.cause)
        }
        return said.get(self.queen.name if self.queen else "") or Counter(said.values()).most_common(1)[0][0]

    @property
    def is_settled(self) -> bool:
        """True when a newer run has the hosts: no host owes this run anything, and it cannot be rolled back."""
        return bool(self.settled_by or self.superseded_by or self.overtaken_by)

    @property
    def has_touched(self) -> bool:
        """True when a host was sent something that could change it."""
        return any(host.touched for host in self.hosts.values())

    @property
    def left_a_trace(self) -> bool:
        """True when the run changed something: a host, or this bastion's list of revoked tokens."""
        return self.has_touched or bool(self.revoked)

    @property
    def went_on(self) -> bool:
        """True when the fleet serves this run's token, as far as it can be reached. Upkeep brings none."""
        if self.is_revocation:
            return self.want is not None
        return self.brings_token and (
            _came_through(self) or any(host.state is State.PROVEN for host in self.hosts.values())
        )

    @property
    def is_served(self) -> bool:
        """True when the fleet went on with this run's token and was not taken back from it."""
        return self.went_on and not self.rolled_back and not self.superseded_by and not self.overtaken_by

    @property
    def is_back(self) -> bool:
        """True when the run was taken back, and every host that it touched with it."""
        return self.rolled_back and is_as_before(self)

    @property
    def is_held(self) -> bool:
        """True when every host is proven and the old tokens stay, because a client still used one."""
        holds = self.census is not None and self.census.holds and not self.is_revocation
        return holds and not self.rolled_back and not self.is_settled

    @property
    def is_overlapping(self) -> bool:
        """True while every host accepts the old token and the new one, because clients were given time."""
        accepted = bool(self.counted) and all(host.state is State.BOTH for host in self.counted)
        over = self.rolled_back or self.retiring or self.is_settled or self.is_held
        return self.overlap_until > 0 and self.code is not None and accepted and not over

    @property
    def behind(self) -> tuple[str, ...]:
        """The hosts that the way back did not reach."""
        went_back = self.rolled_back and not self.is_settled
        return tuple(host.name for host in self.counted if went_back and not host.is_as_before)

    @property
    def barred(self) -> tuple[str, ...]:
        """Those of `behind` that can never go back: their own token was revoked meanwhile. They can only go forward."""
        return tuple(name for name in self.behind if is_barred(self.hosts[name]))

    @property
    def debts(self) -> tuple[str, ...]:
        """The hosts that do not serve the run's token though the fleet does."""
        owing = self.went_on and not self.is_settled and not self.is_overlapping
        unpaid = (host.name for host in self.counted if owing and not self._has_turned(host))
        return tuple(name for name in unpaid if name not in self.paid)

    @property
    def came_short(self) -> tuple[str, ...]:
        """The hosts that did not come through, forward or back: that failed, could not be reached, or owe something."""
        owing = {*self.debts, *self.behind}
        short = (host.name for host in self.counted if host.name in owing or (host.cause and not self.is_settled))
        return tuple(name for name in short if name not in self.paid)

    def _has_turned(self, host: HostRun) -> bool:
        """True for a host that is proven, or uses the run's token and accepts the earlier one as well."""
        return host.state is State.PROVEN or (host.state is State.BOTH and host.now == self.want)

    @property
    def queen(self) -> HostRun | None:
        """The queen's part, None when the run has no queen."""
        return next((self.hosts.get(names[0]) for phase, names in self.waves if phase is Phase.QUEEN), None)

    @property
    def clients(self) -> frozenset[str]:
        """The hosts that only present the token: they accept none, and refuse none."""
        return self.presenting.union(*(names for phase, names in self.waves if phase is Phase.CLIENTS))

    @property
    def services(self) -> tuple[HostRun, ...]:
        """The hosts that accept tokens: all but clients."""
        clients = self.clients
        return tuple(host for host in self.hosts.values() if host.name not in clients)

    @property
    def is_superseded(self) -> bool:
        """True when a newer run has worked on the hosts: the queen says so, or two of them."""
        return self.bears_out(Trouble.SUPERSEDED)

    @property
    def metered(self) -> Metered | None:
        """What all meters have counted; None for a run that was not metered."""
        counted = [host.metered for host in self.hosts.values() if host.metered]
        return reduce(Metered.plus, counted) if counted else None

    @property
    def machines(self) -> dict[str, str]:
        """What stands for the machine that each host's name led to in this sitting; "" where it was not said."""
        return {name: host.machine for name, host in self.hosts.items()}

    def were_in(self, *phases: Phase) -> set[str]:
        """The hosts that were in one of these phases of this sitting, since hosts were tried again the last time."""
        return {name for event in self.begun if event.phase in phases for name in event.hosts}

    def bears_out(self, trouble: Trouble) -> bool:
        """True when the queen has this trouble, or more than one host: then it may decide for the run.

        One host of the fleet may be hostile: what it alone says counts for that host only.
        """
        names = {name for name, host in self.hosts.items() if host.cause and host.cause.trouble is trouble}
        return len(names) > 1 or (self.queen is not None and self.queen.name in names)

    def may_be_held(self, want: Fingerprint) -> bool:
        """True when some host may have had this token of the run already, reachable or not, or re-imaged since."""
        turned = (State.PROVEN, State.HEALTHY, State.CORDONED, State.FAILED, State.UNKNOWN)
        forgot = any(host.touched and not self._is_known_to(host) for host in self.hosts.values())
        return forgot or any(host.now == want or host.state in turned for host in self.hosts.values())

    def _is_known_to(self, host: HostRun) -> bool:
        """True when the host's own records name this run, and its word counts."""
        believed = host.host_record if host.state is not State.EXCLUDED else None
        return believed is not None and self.id in (believed.run, believed.changed.run)

    def gap(self, host: HostRun) -> Gap | None:
        """How long clients could not use this host and the queen with the same token; None: not at all in this run."""
        queen = self.queen or host
        if host.state is State.EXCLUDED or host.name in self.clients:
            return None
        return between(host.served, queen.served, (host.was, queen.was), self.times.elapsed, self.sittings)


def _came_through(run: Run) -> bool:
    """True when every wave was turned and no host taken back; also if no host answers any more."""
    return run.settling and not run.rolled_back


def is_as_before(run: Run) -> bool:
    """True when every host of the inventory that the run touched has its token from before the run."""
    return all(host.is_as_before for host in run.here)
