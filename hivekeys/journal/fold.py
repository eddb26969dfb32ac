"""Makes a run of its events, one by one: nothing else does. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce

from hivekeys.journal.clock import Moment
from hivekeys.journal.events import (
    RETURN,
    Approved,
    CensusTaken,
    Claimed,
    Event,
    FellBack,
    Intent,
    MeterRead,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    OverlapBegan,
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
from hivekeys.journal.gap import cut_off
from hivekeys.journal.hostrun import HostRun, after, forgiven, unsettled
from hivekeys.journal.milestones import MILESTONES, Heading
from hivekeys.journal.persistent import PersistentMap
from hivekeys.journal.run import Run
from hivekeys.journal.sittings import Times


def fold(events: Iterable[Event]) -> Run:
    """The run that these events tell, finished or not."""
    return reduce(advance, events, Run())


def advance(run: Run, event: Event) -> Run:
    """The run after one more event."""
    if isinstance(event, Approved):  # which may be long after its end
        return replace(run, approvals=(*run.approvals, event))
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
            hosts = PersistentMap.of(run.hosts).having(event.host, _after(run, event))
            return _at(run, event.when, hosts)
        case OperatorAsked() | OperatorAnswered():
            run = replace(run, times=run.times.at_question(event))
        case OverlapBegan() | FellBack() | CensusTaken() | Stopped() | Superseded() | Paused() | RunEnded():
            run = _with_news(run, event)
    return _at(run, event.when, run.hosts)


def _at(run: Run, when: Moment, hosts: Mapping[str, HostRun]) -> Run:
    """The run with its hosts as they were at that moment."""
    times = run.times.after(when)
    return replace(run, hosts=hosts, times=times, seconds=times.seconds)


def _begun(event: RunStarted) -> Run:
    run = Run(event.run, event.task, event.fleet, event.who, event.reason, event.when.at, Times(event.when.clock))
    hosts = {name: HostRun(name) for name in (*event.hosts, *event.left_out)}
    hosts |= {name: HostRun(name, state=State.EXCLUDED) for name in event.excluded}
    run = replace(run, version=event.version, inventory=event.inventory, fence=event.fence, excluded=event.excluded)
    run = replace(run, waves=event.waves, left_out=event.left_out, hosts=hosts, passes=event.passes)
    run = replace(run, plan=event.plan, approvers=event.approvers)
    return replace(run, presenting=frozenset(event.clients), window=event.window)


def _with_tokens(run: Run, event: Claimed | TokenChosen | TokensRevoked) -> Run:
    if isinstance(event, Claimed):
        return replace(run, epoch=event.epoch)
    if isinstance(event, TokenChosen):
        return replace(run, want=event.fingerprint, given=event.given)
    if event.shared:  # a token that a late host showed is tried on the other hosts as well
        run = replace(run, hosts={name: unsettled(host) for name, host in run.hosts.items()})
    return replace(run, revoked=(*run.revoked, *event.fingerprints), unshared=(*run.unshared, *event.unshared))


def _with_news(
    run: Run, event: OverlapBegan | FellBack | CensusTaken | Stopped | Superseded | Paused | RunEnded
) -> Run:
    if isinstance(event, RunEnded):
        return replace(run, code=event.code, hosts=_final(run))
    if isinstance(event, OverlapBegan):
        return replace(run, overlap_until=event.until)
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
    if phase in RETURN:
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
    run = replace(run, window=event.window)
    order = replace(run, begun=(), waves=event.waves, left_out=event.left_out, census=None, sittings=run.sittings + 1)
    order = replace(order, presenting=run.clients | frozenset(event.clients))
    return replace(order, hosts=hosts, times=run.times.resumed(event.when, run.started))


def _after(run: Run, event: Intent | Outcome | MeterRead) -> HostRun:
    host = run.hosts[event.host]
    if isinstance(event, MeterRead):
        return replace(host, metered=host.metered.plus(event.counted) if host.metered else event.counted)
    now = run.times.place(event.when.clock)
    return after(host, event, now, run.sittings, run.want)


def _final(run: Run) -> Mapping[str, HostRun]:
    """The hosts as a run leaves them: where the fleet went on, a host that was left behind owes the new token."""
    if run.overtaken_by:
        return run.hosts
    went_on = run.went_on or any(host.state is State.HEALTHY for host in run.hosts.values())
    behind = (State.UNCHANGED, State.ROLLED_BACK)
    return {
        name: replace(host, state=State.OWES) if went_on and host.state in behind else host
        for name, host in run.hosts.items()
    }
