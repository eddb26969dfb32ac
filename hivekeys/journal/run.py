"""A run as its events tell it: `fold` builds it, and nothing else does. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import reduce

from hivekeys.errors import ExitCode
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import (
    CensusTaken,
    Claimed,
    Event,
    FellBack,
    Intent,
    MeterRead,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    Paused,
    Phase,
    PhaseStarted,
    Resumed,
    Retried,
    RunEnded,
    RunStarted,
    State,
    Stopped,
    Superseded,
    TokenChosen,
    TokensRevoked,
)
from hivekeys.journal.gap import Gap, between, cut_off
from hivekeys.journal.hostrun import HostRun, after, forgiven, is_barred, is_superseded, unsettled
from hivekeys.journal.milestones import MILESTONES, Heading, Milestone
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
    superseded_by: str = ""  # the revocation that took this run's place
    phase: Phase | None = None
    begun: tuple[PhaseStarted, ...] = ()  # the phases of this sitting, since hosts were tried again the last time
    lost: bool = False  # a revocation that cannot go on in this sitting
    sittings: int = 1  # how often it was begun or taken up
    heading: Heading = Heading.FORWARD
    came_to: Milestone = Milestone.BEGUN
    stopped: str = ""
    reasons: tuple[str, ...] = ()  # why it stopped, each time
    census: CensusTaken | None = None  # who used the old tokens, by the services' records
    code: ExitCode | None = None
    paused: ExitCode | None = None  # the exit code of its command, where the run itself did not end
    at_work: str = ""  # who is at work on it now, by the fleet's lock; its own events do not say this, nor the next two
    settled_by: str = ""  # a later run, after which no host owes this run anything
    paid: frozenset[str] = frozenset()  # hosts that later runs have proven: they owe this one nothing
    version: str = ""  # of the hivekeys that began it
    inventory: str = ""  # SHA-256 of the inventory that it began with
    fence: bool = False  # the services of hosts that cannot be turned are stopped
    passes: bool = False  # its services accept two tokens: accept, use and drop instead of one turn
    fell_back: str = ""  # why it went on with one token at a time
    hosts: dict[str, HostRun] = field(default_factory=dict)

    @property
    def brings_token(self) -> bool:
        """True for a rotation and a revocation, False for upkeep."""
        return self.task in (ROTATE, REVOKE)

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
        owing = self.went_on and not self.is_settled
        unpaid = (host.name for host in self.counted if owing and host.state not in (State.PROVEN, State.BOTH))
        return tuple(name for name in unpaid if name not in self.paid)

    @property
    def queen(self) -> HostRun | None:
        """The queen's part, None when the run has no queen."""
        return next((self.hosts.get(names[0]) for phase, names in self.waves if phase is Phase.QUEEN), None)

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
        if host.state is State.EXCLUDED:
            return None
        return between(host.served, queen.served, (host.was, queen.was), self.times.elapsed, self.sittings)


def fold(events: Iterable[Event]) -> Run:
    """The run that these events tell, finished or not."""
    return reduce(advance, events, Run())


def advance(run: Run, event: Event) -> Run:
    """The run after one more event."""
    match event:
        case RunStarted():
            run = _begun(event)
        case Claimed() | TokenChosen() | TokensRevoked():
            run = _with_tokens(run, event)
        case Resumed():
            run = _taken_up(run, event)
        case Retried():
            fresh = {name: forgiven(run.hosts[name]) for name in event.hosts}
            run = replace(run, attempt=event.attempt, hosts={**run.hosts, **fresh}, begun=())
        case PhaseStarted():
            run = _in_phase(run, event)
        case Intent() | Outcome() | MeterRead():  # nearly all events: copy no more than needed
            hosts = {**run.hosts, event.host: _after(run, event)}
            return _at(run, event.when, hosts)
        case OperatorAsked() | OperatorAnswered():
            run = replace(run, times=run.times.at_question(event))
        case FellBack() | CensusTaken() | Stopped() | Superseded() | Paused():
            run = _with_news(run, event)
        case RunEnded():
            run = replace(run, code=event.code, hosts=_final(run))
    return _at(run, event.when, run.hosts)


def _at(run: Run, when: Moment, hosts: dict[str, HostRun]) -> Run:
    """The run with its hosts as they were at that moment."""
    times = run.times.after(when)
    return replace(run, hosts=hosts, times=times, seconds=times.seconds)


def _begun(event: RunStarted) -> Run:
    run = Run(event.run, event.task, event.fleet, event.who, event.reason, event.when.at, Times(event.when.clock))
    hosts = {name: HostRun(name) for name in (*event.hosts, *event.left_out)}
    hosts |= {name: HostRun(name, state=State.EXCLUDED) for name in event.excluded}
    run = replace(run, version=event.version, inventory=event.inventory, fence=event.fence, excluded=event.excluded)
    return replace(run, waves=event.waves, left_out=event.left_out, hosts=hosts, passes=event.passes)


def _with_tokens(run: Run, event: Claimed | TokenChosen | TokensRevoked) -> Run:
    if isinstance(event, Claimed):
        return replace(run, epoch=event.epoch)
    if isinstance(event, TokenChosen):
        return replace(run, want=event.fingerprint, given=event.given)
    if event.shared:  # a token that a late host showed is tried on the other hosts as well
        run = replace(run, hosts={name: unsettled(host) for name, host in run.hosts.items()})
    return replace(run, revoked=(*run.revoked, *event.fingerprints), unshared=(*run.unshared, *event.unshared))


def _with_news(run: Run, event: FellBack | CensusTaken | Stopped | Superseded | Paused) -> Run:
    if isinstance(event, FellBack):
        fresh = {name: forgiven(host) for name, host in run.hosts.items()}
        return replace(run, passes=False, fell_back=event.why, hosts=fresh, begun=())
    if isinstance(event, Paused):
        return replace(run, paused=event.code)
    if isinstance(event, CensusTaken):
        return replace(run, census=event)
    if isinstance(event, Superseded):
        return replace(run, superseded_by=event.by)
    reasons = dict.fromkeys((*run.reasons, event.why))
    heading = Heading.FORWARD if run.reconciling else run.heading
    return replace(run, stopped=event.why, reasons=tuple(reasons), heading=heading, lost=run.is_revocation)


def _in_phase(run: Run, event: PhaseStarted) -> Run:
    phase, hosts = event.phase, run.hosts
    if phase is Phase.LOOK:
        there = [hosts[name] for name in event.hosts if name in hosts]
        hosts = {**hosts, **{host.name: replace(host, reached=None, tries=host.tries + 1) for host in there}}
    if phase is Phase.ROLLBACK:
        run = replace(run, heading=Heading.BACK)
    if phase in MILESTONES and not run.retiring:
        run = replace(run, came_to=MILESTONES[phase])
    return replace(run, phase=phase, hosts=hosts, begun=(*run.begun, event))


def _taken_up(run: Run, event: Resumed) -> Run:
    """The run taken up again: failures are cleared, and hosts that joined the fleet are part of it."""
    names = (*event.hosts, *event.left_out)
    hosts = {name: forgiven(run.hosts.get(name, HostRun(name))) for name in names}
    for name in (*event.excluded, *event.gone):
        hosts[name] = replace(forgiven(run.hosts.get(name, HostRun(name))), state=State.EXCLUDED)
    # Names may be corrected meanwhile.
    hosts = {
        name: replace(host, served=cut_off(host.served, run.sittings), machine="", tries=0, fences=0)
        for name, host in hosts.items()
    }
    if run.code is not None:
        heading = Heading.BACK if run.rolled_back else Heading.RECONCILE
        run = replace(run, code=None, heading=heading, stopped="")
    fence = run.fence or event.fence
    run = replace(run, excluded=event.excluded, gone=event.gone, paused=None, at_work="", fence=fence, lost=False)
    order = replace(run, begun=(), waves=event.waves, left_out=event.left_out, census=None, sittings=run.sittings + 1)
    return replace(order, hosts=hosts, times=run.times.resumed(event.when, run.started))


def _after(run: Run, event: Intent | Outcome | MeterRead) -> HostRun:
    host = run.hosts[event.host]
    if isinstance(event, MeterRead):
        return replace(host, metered=host.metered.plus(event.counted) if host.metered else event.counted)
    now = run.times.place(event.when.clock)
    return after(host, event, now, run.sittings, run.want)


def _final(run: Run) -> dict[str, HostRun]:
    """The hosts as a run leaves them: where the fleet went on, a host that was left behind owes the new token."""
    if run.overtaken_by:
        return run.hosts
    went_on = run.went_on or any(host.state is State.HEALTHY for host in run.hosts.values())
    behind = (State.UNCHANGED, State.ROLLED_BACK)
    return {
        name: replace(host, state=State.OWES) if went_on and host.state in behind else host
        for name, host in run.hosts.items()
    }


def _came_through(run: Run) -> bool:
    """True when every wave was turned and no host taken back; also if no host answers any more."""
    return run.settling and not run.rolled_back


def is_as_before(run: Run) -> bool:
    """True when every host of the inventory that the run touched has its token from before the run."""
    return all(host.is_as_before for host in run.here)
