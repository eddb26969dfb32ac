"""The course of a run: decides its next move from its events. Pure.

    rotation     look, claim, stage, queen, canary, waves, settle, census, retire; what fails takes all of it back
    passes       the same where services accept two tokens: accept, use, settle, census, drop instead of the waves
    revocation   the same, forward only: who fails is tried again, who stays behind may be fenced
    reconcile    a rotation without the way back

A run that was cut off is looked at anew and goes on from what its hosts show: `resume`, `rollback` and `reconcile` are
the same course from another state. A move is data: `drive` carries it out here, another machine could elsewhere.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

from hivekeys.fleet import takes_two
from hivekeys.journal.events import PASSES, RETURN, TURNED, TURNS, Phase, State, Status
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.doubles import doubles
from hivekeys.rotation import waves
from hivekeys.rotation.moves import Act, Census, Do, End, FallBack, Here, Move, Overlap, Plan, Rest, Stop
from hivekeys.rotation.steps import Part
from hivekeys.service import OnDeadline
from hivekeys.text.names import fold_names
from hivekeys.token import Fingerprint

SKIP = OnDeadline.SKIP
FENCES = 2  # how often a fence stops the service of a host that could not be turned: at once, and again at the end


def next_move(run: Run, plan: Plan, here: Here) -> Move:
    """The next move. Carrying it out changes `run` or `here`. After `End` or `Act.WAIT` no other move follows."""
    return _Course(run, plan, here).next()


def is_over(run: Run, interrupted: bool) -> bool:
    """True when nothing more may be begun: interrupted, or another run works on these hosts.

    Who holds a host ends a rotation only before it has begun to change any; afterwards it goes forward or back.
    """
    busy = run.phase in (Phase.LOOK, Phase.CLAIM) and run.bears_out(Trouble.HOST_BUSY) and not run.is_revocation
    return busy or run.lost or interrupted or run.is_superseded


def is_open(host: HostRun, plan: Plan) -> bool:
    """True for a host that was not turned, or has failed since, and may be tried again."""
    return host.state not in TURNED and host.tries < plan.attempts


class _Course:
    def __init__(self, run: Run, plan: Plan, here: Here) -> None:
        self.run, self.plan, self.here = run, plan, here
        self.hosts = [run.hosts[name] for name in here.names if name not in here.stragglers]
        self.standing = [host for host in self.hosts if host.cause is None and host.name not in here.back]
        self.queen = here.fleet.queen.name
        self.clients = frozenset(host.name for host in here.fleet.clients)
        self.names = frozenset(here.names)
        taking_part = [host for host in here.fleet.hosts if host.name in self.names]
        self.passes = run.passes and not plan.revokes and takes_two(taking_part)

    def next(self) -> Move:
        run, plan = self.run, self.plan
        if is_over(run, self.here.interrupted):
            return End()
        if fresh := self._came_to(None):
            return Do(Phase.LOOK, fresh)
        if plan.revokes:
            return self._spread_token() or self._finish()
        if run.phase is Phase.LOOK and doubles(self.here.fleet.hosts, run.machines):
            return Act.WAIT if run.resumed and plan.goes_back else End()  # what is done next might hit the wrong host
        if why := self._takes_one() or self._why_stopped():
            return why
        return self._taken_up() if run.resumed else self._forward()

    def _came_to(self, *reached: Phase | None) -> tuple[str, ...]:
        """The standing hosts whose last phase was one of these; None: hosts that must be looked at first."""
        return tuple(host.name for host in self.standing if host.reached in reached)

    # -- a rotation

    def _taken_up(self) -> Move:
        """A run that was cut off: its hosts' locks and its tokens first, then on in its direction."""
        run, plan, here = self.run, self.plan, self.here
        wants_back = bool(run.stopped) or plan.back
        if not here.asked_for_tokens:
            return self._claim() or Act.READ_TOKENS
        if not plan.goes_back:
            return self._forward() if here.holds else End()
        if not self.standing and not wants_back and run.phase in (Phase.LOOK, Phase.CLAIM):
            return Act.WAIT
        if wants_back and not run.stopped:
            return self._stop("the operator asked to roll back")
        if not wants_back and not here.holds:
            if run.given or (run.want and run.may_be_held(run.want)):
                return self._stop("no host that answers holds the run's token")
            return Act.BRING  # lost with the bastion before any host had it: no host ever will
        return self._forward()

    def _forward(self) -> Move:
        """Claim, stage, turn, settle, retire; or back, where the run was stopped."""
        if self.run.stopped and self.plan.goes_back:
            return self._back()
        if self.run.want is None:
            return Act.BRING
        if not self.run.resumed and (claim := self._claim()):
            return claim
        if claimed := self._came_to(Phase.CLAIM):
            return Do(Phase.STAGE, claimed)
        if self.passes:
            return self._passes()
        if turn := self._turn():
            return turn
        if turned := self._came_to(*TURNS):
            return Do(Phase.SETTLE, turned)
        return self._retire()

    def _claim(self) -> Move | None:
        """The hosts' locks: the first host's alone, so that of two runs exactly one wins."""
        looked, claimed = self._came_to(Phase.LOOK), self.run.were_in(Phase.CLAIM)
        turned_away = self.run.stopped and self.plan.goes_back and bool(self._reason(Phase.CLAIM, claimed))
        return Do(Phase.CLAIM, looked if claimed else looked[:1]) if looked and not turned_away else None

    def _turn(self) -> Move | None:
        """The next wave, or the rest of the last; before each but the first the run rests."""
        begun, ready = self.run.were_in(*TURNS), frozenset(self._came_to(Phase.STAGE))
        taking_part = begun.union(host.name for host in self.standing)
        for wave in waves.among(self.here.waves, [host for host in self.here.fleet.hosts if host.name in taking_part]):
            if names := tuple(host.name for host in wave.hosts if host.name in ready):
                first = self.here.rested or not begun
                return Do(wave.phase, names, wave.title, self._part(names)) if first else Rest(wave)
            if watch := self._watch(wave.phase, wave.title):
                return watch
        return None

    def _part(self, names: tuple[str, ...]) -> Part:
        """Of a wave that has more hosts than may be at work at once all are turned before any is watched.

        To be watched is no work, and all can be at the same time.
        """
        policy = self.here.fleet.policy
        return Part.TURN if policy.stable_seconds and len(names) > policy.width else Part.WHOLE

    def _watch(self, phase: Phase, title: str) -> Do | None:
        """The rest of a wave that was only turned; a drained service was watched before it was given work again."""
        begun = [event for event in self.run.begun if (event.phase, event.title) == (phase, title)]
        if len(begun) != 1 or self._part(begun[0].hosts) is Part.WHOLE:
            return None
        drained = {host.name for host in self.here.fleet.hosts if host.service.drain}
        there = {host.name for host in self.standing} - drained
        names = tuple(name for name in begun[0].hosts if name in there)
        return Do(phase, names, title, Part.WATCH) if names else None

    # -- the same, where services accept two tokens

    def _passes(self) -> Move:
        """Every host through one pass, and asked once more, before any begins the next.

        A run that is taken up again goes through them again: each host is asked, and changed where it must be. Once one
        was told to drop the old token, none accepts it again.
        """
        for phase in PASSES[-1:] if self.run.retiring else PASSES:
            if phase is Phase.DROP and (held := self._before_drop()):
                return held
            if move := self._pass(phase):
                return move
        done = self.run.were_in(Phase.RETIRE) or any(host.state is not State.PROVEN for host in self.run.counted)
        return End() if done else Do(Phase.RETIRE, self.here.names)

    def _pass(self, phase: Phase) -> Move | None:
        """The next wave of a pass, or all of its hosts together when every wave was in it; None when they were."""
        begun, titles = self.run.were_in(phase), {event.title for event in self.run.begun}
        taking_part = begun.union(host.name for host in self.standing)
        waiting = self._waiting_clients(phase)
        apart = self.clients if phase is Phase.DROP else waiting  # one drops nothing: it is asked once more, with all
        hosts = [host for host in self.here.fleet.hosts if host.name in taking_part - apart]
        for wave in waves.among(self.here.waves, hosts):
            title = f"{phase.value}, {wave.title}"
            if names := tuple(host.name for host in wave.hosts if host.name not in begun):
                first = self.here.rested or not self.run.were_in(*PASSES)
                do = Do(phase, names, title, self._part(names))
                return do if first else Rest(replace(wave, phase=phase, title=title))
            if watch := self._watch(phase, title):
                return watch
        names = tuple(host.name for host in self.standing if host.name not in waiting)
        is_use = phase is Phase.USE
        again = Do(Phase.SETTLE, names, "settle") if is_use else Do(phase, names, f"{phase.value}, settled")
        return again if names and again.title not in titles else None

    def _waiting_clients(self, phase: Phase) -> frozenset[str]:
        """The clients that take no part in a pass: none uses the new token before every service accepts it."""
        services = (host for host in self.run.counted if host.name not in self.clients)
        accepted = all(host.state in (State.BOTH, State.PROVEN) for host in services)
        may_use = phase is Phase.DROP or (phase is Phase.USE and accepted)
        return frozenset() if may_use else self.clients

    def _before_drop(self) -> Move | None:
        """What keeps the first host from dropping the old token, the point of no return; None: nothing does."""
        run, want = self.run, self.run.want
        if run.retiring:
            return None
        if any(host.state not in (State.BOTH, State.PROVEN) for host in run.counted):
            return End()
        if self.plan.overlap and not run.overlap_until:
            return Overlap(self.plan.overlap)
        if run.overlap_until and not self.plan.finishes:
            return End()
        old = frozenset(host.was for host in run.hosts.values() if host.was and want and host.was.fp6 != want.fp6)
        if self.plan.census and old and run.census is None:
            return Census(old)
        return End() if run.is_held else None

    def _takes_one(self) -> FallBack | None:
        """Services of the first pass that do not accept two tokens, in the queen's words or those of two hosts."""
        run = self.run
        if not self.passes or run.phase is not Phase.ACCEPT or not run.bears_out(Trouble.TAKES_ONE):
            return None
        names = [host.name for host in self.hosts if host.cause and host.cause.trouble is Trouble.TAKES_ONE]
        return FallBack(f"not two tokens at a time on {fold_names(names)}, as the inventory says")

    def _retire(self) -> Move:
        """The previous slots go, once every host of the inventory is proven. The point of no return.

        Not for the sake of a host that was cut out: it never comes back with the token that it has.
        """
        run, want = self.run, self.run.want
        if self.run.were_in(Phase.RETIRE) or any(host.state is not State.PROVEN for host in run.counted):
            return End()
        old = frozenset(host.was for host in run.hosts.values() if host.was and want and host.was.fp6 != want.fp6)
        if self.plan.census and old and run.census is None:
            return Census(old)
        return End() if run.is_held else Do(Phase.RETIRE, self.here.names)

    # -- the way back

    def _back(self) -> Move:
        """Every host that was sent a change goes back to its own old token, clients first, in the same pace.

        In passes those that use the new token use their old one first, and accept both: nobody is refused meanwhile.
        """
        if retired := self._retired():
            return End(retired)
        run, fleet = self.run, self.here.fleet
        gone = {event.title for event in run.begun if event.phase in RETURN}
        touched = [host for host in fleet.hosts if host.name in self.names and run.hosts[host.name].touched]
        new = [host for host in self.standing if self.passes and host.now == run.want != host.was]
        uses_new = {host.name for host in new if host.was}
        planned = waves.way_back(waves.plan(touched, fleet.policy, canary=False))
        for phase, wave in product(RETURN, planned):
            names = tuple(host.name for host in wave.hosts if phase is Phase.ROLLBACK or host.name in uses_new)
            if names and (title := f"{phase.value}, {wave.title}") not in gone:
                return Do(phase, names, title)
        return End()

    def _retired(self) -> tuple[str, ...]:
        """The hosts that show that the old tokens were retired, if all but at most one do: one host may lie.

        This journal knows nothing of that: it is a copy from before the run was finished, and there is no way back.
        """
        shown = tuple(host.name for host in self.standing if _is_retired(host, self.run.want))
        return () if self.run.retiring or len(shown) < max(2, len(self.standing) - 1) else shown

    def _why_stopped(self) -> Stop | None:
        """Why the run must not go on, by the last phase and all failures so far; None when it may, or goes back."""
        run = self.run
        phase = run.begun[-1].phase if run.begun else Phase.RETIRE
        if run.stopped or not self.plan.goes_back or phase in (*RETURN, Phase.RETIRE, Phase.DROP):
            return None
        why = self._refused() or self._reason(phase, run.begun[-1].hosts)
        return Stop(phase, why) if why else None

    def _refused(self) -> str:
        """Why a run that must refuse no request has to go back, by what its meters have counted; "" for no reason."""
        metered = self.run.metered if self.plan.no_refusal else None
        lost = metered.refused + metered.broken if metered else 0
        return f"{lost} of {metered.requests} requests were refused or broke (--no-refusal)" if metered and lost else ""

    def _reason(self, phase: Phase, names: Iterable[str]) -> str:
        """Why the run must not go on, by these hosts of a phase and all failures so far; "" when it may."""
        hosts, policy = self.run.hosts, self.here.fleet.policy
        failed = [name for name in names if self._is_reason_to_roll_back(hosts[name])]
        in_all = sum(host.cause is not None and not self._is_excused(host) for host in hosts.values())
        return waves.stop_reason(phase, failed, in_all, len(self.here.names), policy, self.queen)

    def _is_reason_to_roll_back(self, host: HostRun) -> bool:
        """True for a host whose failure in the last phase is a reason to roll back.

        A host that is lost after all waves were proven is no reason: it has the new token, and rolling the others back
        would certainly separate them from it. No old token is retired without it. A resume that reaches no host is no
        reason either.
        """
        lost = host.status in (Status.UNREACHABLE, Status.UNKNOWN)
        nobody = self.run.phase is Phase.LOOK and self.run.resumed and not self.standing
        return host.cause is not None and not self._is_excused(host) and not (lost and (self.run.settling or nobody))

    def _is_excused(self, host: HostRun) -> bool:
        """True for a host that will owe the token, and does not stop the others: missing, or busy, where it may be."""
        missing = host.name in self.plan.may_be_missing and host.state is State.UNREACHABLE
        return missing or self._is_skipped(host)

    def _is_skipped(self, host: HostRun) -> bool:
        """True for a busy hive that may be left out (`on_deadline`), while another hive can be turned."""
        if host.cause is None or host.cause.trouble is not Trouble.STILL_BUSY or host.name == self.queen:
            return False
        drains = (one.service.drain for one in self.here.fleet.hosts if one.name == host.name)
        may = any(drain and drain.on_deadline is SKIP for drain in drains)
        return may and any(other.name not in (self.queen, *self.clients) for other in self.standing)

    def _stop(self, why: str) -> Stop:
        return Stop(self.run.phase or Phase.LOOK, why)

    # -- a revocation

    def _spread_token(self) -> Move | None:
        """Claim, stage, turn, and all of it again for hosts that failed; None when there is nothing more to try."""
        run, looked, claimed = self.run, self._came_to(Phase.LOOK), self.run.were_in(Phase.CLAIM)
        alone = 1 if self.queen in {*claimed, *looked} else 2  # the word of one hive does not stop the run
        claims_first = 0 < len(claimed) <= alone and run.phase is Phase.CLAIM
        if claims_first and run.attempt == 1 and run.bears_out(Trouble.HOST_BUSY):
            return self._stop("another run holds the locks of the hosts")
        if looked:
            return Do(Phase.CLAIM, looked[:1] if len(claimed) < alone else looked)
        if unstaged := self._came_to(Phase.CLAIM):
            return Do(Phase.STAGE, unstaged)
        ready = frozenset(self._came_to(Phase.STAGE))
        for wave in self.here.waves:
            if names := tuple(host.name for host in wave.hosts if host.name in ready):
                return Do(wave.phase, names, wave.title)
        behind = any(is_open(run.hosts[name], self.plan) for name in self.here.names)
        return Act.RETRY if behind and not self.here.rested and (self.standing or not claimed) else None

    def _finish(self) -> Move:
        """Fences those that cannot be turned, asks the turned hosts again; when all hold, removes the old tokens."""
        run, plan, late = self.run, self.plan, bool(self.here.stragglers)
        if run.want is None:
            return Act.GATHER if late else End()
        turned = {host.name: host for host in self.standing if host.state in TURNED}
        may_fence = [host for host in self.hosts if run.fence and host.name not in self.clients]  # these accept no call
        failed = [host for host in may_fence if host.state is State.FAILED]
        if given_up := [host.name for host in failed if host.tries >= plan.attempts and not host.fences]:
            return Do(Phase.FENCE, tuple(given_up))  # before caches are waited for: these accept the leaked token
        if unsettled := [name for name in self._came_to(*TURNS) if name in turned]:
            return Do(Phase.SETTLE, tuple(unsettled))
        settled = [turned[name] for name in self._came_to(Phase.SETTLE) if name in turned]
        if proven := [host.name for host in settled if host.state is State.PROVEN]:
            return Do(Phase.RETIRE, tuple(proven))
        if late:
            return Act.GATHER
        if unfenced := [host.name for host in failed if host.fences < (FENCES if host.tries >= plan.attempts else 1)]:
            return Do(Phase.FENCE, tuple(unfenced))
        return Census(frozenset(run.revoked)) if plan.census and run.census is None else End()


def _is_retired(host: HostRun, want: Fingerprint | None) -> bool:
    """True for a host that shows the run's token alone, and had another one before."""
    seen, was = host.seen, host.was
    return seen is not None and was not in (None, want) and seen.token == want and seen.previous is None
