"""The one loop of every run: asks `course` for the next move and carries it out, until the end."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Batch, Fleet
from hivekeys.journal.events import (
    ENDING,
    PASSES,
    PREPARING,
    TURNED,
    TURNS,
    Event,
    FellBack,
    Outcome,
    OverlapBegan,
    Phase,
    Retried,
    State,
    Status,
    Stopped,
    TokensRevoked,
)
from hivekeys.journal.hostrun import is_superseded
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.rotation import retirement
from hivekeys.rotation.controller import Controller
from hivekeys.rotation.course import is_open, next_move
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.moves import ROTATION, Act, Census, Do, End, FallBack, Here, Move, Overlap, Plan, Rest, Stop
from hivekeys.rotation.steps import Goal, Part, Stance
from hivekeys.rotation.waves import Wave
from hivekeys.ssh.line import QUIET
from hivekeys.token import Fingerprint, Token, generate

RECENT = 3  # runs of the journal whose tokens a revocation revokes unless more is asked for


def paced(fleet: Fleet, batch: Batch | None = None) -> Fleet:
    """The fleet with a revocation's pace: no canary, and all hives at once unless told otherwise."""
    policy = replace(fleet.policy, canary=0, batch=batch or Amount(100, percent=True, least=1))
    return replace(fleet, policy=policy)


class Drive:
    """A run, new or taken up again, under a plan. `go_on` asks the operator between two waves.

    `make` is asked for the run's token only while no host can have it yet; `given`: by the operator.
    """

    def __init__(
        self,
        crew: Crew,
        plan: Plan = ROTATION,
        make: Callable[[], Token] = generate,
        *,
        given: bool = False,
        go_on: Callable[[Wave], bool] | None = None,
    ) -> None:
        finishes = crew.run.retiring or crew.run.reconciling  # a run that has ended, or is past the point of no return
        self._plan = replace(plan, goes_back=False) if finishes and not plan.back else plan
        self._crew, self._recorder = crew, crew.recorder
        self._make, self._given, self._go_on = make, given, go_on
        self._names = tuple(controller.host.name for controller in crew.controllers)
        self._asked_for_tokens = False
        self._rested = False
        self._waited = False  # for hosts that were left behind: now there is time for them
        self._behind: set[str] = set()  # hosts that were left behind, and have not begun anew
        self._passes = 0  # how often hosts were looked at

    @property
    def run(self) -> Run:
        """The run so far."""
        return self._crew.run

    # -- the loop

    def look(self) -> bool:
        """Looks at every host read-only and proves its current token. True when a run can begin."""
        while isinstance(move := self._next(), Do | Stop) and move.phase is Phase.LOOK:
            self._carry_out(move)
        return not isinstance(move, End)

    def go(self) -> ExitCode:
        """Carries the run out to its end."""
        while not isinstance(move := self._next(), End):
            if move is Act.WAIT:
                return self._crew.wait()
            self._carry_out(move)
        return self._end(move)

    def _next(self) -> Move:
        crew = self._crew
        late = frozenset(controller.host.name for controller in crew.stragglers)
        self._behind |= late
        self._behind -= {name for name in self._behind - late if self.run.hosts[name].state in TURNED}
        here = Here(
            crew.fleet,
            crew.waves,
            self._names,
            interrupted=crew.interrupted.is_set(),
            holds=self.run.want in crew.tokens,
            asked_for_tokens=self._asked_for_tokens,
            rested=self._rested,
            stragglers=late,
            back=frozenset(self._behind - late),
        )
        return next_move(self.run, self._plan, here)

    def _carry_out(self, move: Move) -> None:
        match move:
            case Do():
                self._do(move)
            case Rest():
                self._rest(move.wave)
            case Census():
                self._count(move.old)
            case Stop() | Overlap() | FallBack():
                self._recorder.record(self._news(move))
            case Act.BRING:
                self._choose_token()
            case Act.READ_TOKENS:
                old = (host.was for host in self.run.hosts.values() if host.was)
                self._crew.read_tokens({self._want, *old})
                self._asked_for_tokens = True
            case Act.RETRY:
                self._retry()
            case Act.GATHER:
                self._crew.gather(waits=True)
                self._waited, self._rested = True, False

    def _news(self, move: Stop | Overlap | FallBack) -> Event:
        """What a move that only changes the run's direction is in the journal."""
        now = self._recorder.now()
        if isinstance(move, Overlap):
            return OverlapBegan(now.at + move.seconds, now)
        if isinstance(move, FallBack):
            self._asked_for_tokens = False  # hosts begin anew: locks and tokens first
            return FellBack(move.why, now)
        return Stopped(move.phase, move.why, now)

    def _do(self, move: Do) -> None:
        """One phase, on hosts that are ready for it."""
        self._passes += move.phase is Phase.LOOK
        if move.phase is Phase.CLAIM and not self.run.were_in(Phase.CLAIM):
            self._take_place()
        if self._plan.revokes and not self._is_prepared(move):
            return
        work = self._work(move.phase, move.part)
        controllers = self._crew.of(move.hosts)
        if self._plan.revokes:
            if move.phase in TURNS:
                controllers = self._crew.with_room(controllers)
            self._leaving_stragglers(move, controllers, work)
        else:
            self._crew.phase(move.phase, controllers, work, move.title)
        if move.phase in TURNS and self._has_queen(move):
            self._crew.read_meters()
        self._rested = move.phase in (Phase.FENCE, *ENDING)
        if move.phase is Phase.LOOK and not self._plan.revokes:
            self._crew.fail_doubles()

    def _has_queen(self, move: Do) -> bool:
        return self._crew.fleet.queen.name in move.hosts

    def _work(self, phase: Phase, part: Part) -> Callable[[Controller], Outcome]:
        """What is done on each host in this phase, or a part of it."""
        match phase:
            case Phase.LOOK:
                return self._look
            case Phase.CLAIM:
                return self._claim
            case Phase.STAGE:
                return self._stage
            case Phase.FENCE:
                return lambda controller: controller.fence()
            case Phase.RETIRE:
                work = self._retire
            case Phase.ROLLBACK:
                work = self._back
            case _:
                work = partial(self._turn, phase, part)
        return lambda controller: controller.uncordon(phase, work(controller))

    # -- one host's part in a phase

    def _look(self, controller: Controller) -> Outcome:
        if self.run.resumed or self._plan.revokes:
            return controller.look_again(self.run.want)
        return controller.look()

    def _claim(self, controller: Controller) -> Outcome:
        record = controller.record
        if not self.run.resumed and not self._plan.revokes:
            return controller.claim((record.was,))
        # Forward, whatever a host that was away or re-imaged holds now.
        there = record.was if self._plan.goes_back else record.now
        return controller.claim((there, self.run.want), patient=True)  # a bastion that died has its locks for a lease

    def _stage(self, controller: Controller) -> Outcome:
        goal = Goal(Stance.STAGED, self._want, revoke=self.run.revoked)
        return controller.reach(Phase.STAGE, goal, controller.record.state)

    def _turn(self, phase: Phase, part: Part, controller: Controller) -> Outcome:
        """Swap, restart, prove; in a rotation a host that fails puts its own old token back at once."""
        settles = phase is Phase.SETTLE
        if phase in (*PASSES, Phase.REUSE) or (settles and self.run.were_in(*PASSES)):
            return self._pass(phase, part, controller)
        goal = self._revoked(controller, settles) if self._plan.revokes else self._serving(controller)
        outcome = controller.reach(phase, replace(goal, part=part), State.PROVEN)
        stays = settles or outcome.status is not Status.FAILED or is_superseded(outcome.cause)
        if stays or not self._plan.goes_back:
            return outcome
        return replace(self._back(controller, phase), cause=outcome.cause)

    def _pass(self, phase: Phase, part: Part, controller: Controller) -> Outcome:
        """Accept the new token too, use it, drop the old; a host that fails before goes back at once. Or reuse."""
        was, want = controller.record.was, self._want
        stance = Stance.ACCEPTING if phase is Phase.ACCEPT else Stance.USING
        goal, there = Goal(stance, want, other=was), State.BOTH
        if phase is Phase.REUSE and was:
            goal = Goal(Stance.USING, was, other=want)
        elif phase is Phase.DROP or was is None or not self._may_stay(controller, was):
            goal, there = self._serving(controller), State.PROVEN
        outcome = controller.reach(phase, replace(goal, part=part), there)
        stays = phase in (Phase.DROP, Phase.SETTLE, Phase.REUSE) or outcome.status is not Status.FAILED
        if stays or is_superseded(outcome.cause) or not self._plan.goes_back:
            return outcome
        return replace(self._back(controller, phase), cause=outcome.cause)

    def _may_stay(self, controller: Controller, was: Fingerprint) -> bool:
        """True for an earlier token that the host has and may go on accepting: one that leaked is dropped at once."""
        seen = controller.record.seen
        leaked = seen is not None and bool(seen.revoked_by(was))
        return was != self._want and not leaked and self._crew.is_known(controller, was)

    def _serving(self, controller: Controller) -> Goal:
        """The goal: serve the run's token and refuse the earlier one, where a copy of it is left to try."""
        was, refuses = controller.record.was, not controller.host.service.is_client
        asked = (was,) if was and refuses and was != self._want and self._crew.is_known(controller, was) else ()
        return Goal(Stance.SERVING, self._want, asked)

    def _revoked(self, controller: Controller, settles: bool) -> Goal:
        """The goal: serve the run's token and refuse every leaked one; at the end every place on the host is tried."""
        revoked, ends = self.run.revoked, self._plan.ends_survivors
        if controller.host.service.is_client:  # it accepts none of them
            return Goal(Stance.SERVING, self._want, revoke=revoked)
        refuse = tuple(old for old in revoked if self._crew.is_known(controller, old))
        return Goal(Stance.SERVING, self._want, refuse, revoke=revoked, sweep=settles, ends_survivors=ends)

    def _retire(self, controller: Controller) -> Outcome:
        return controller.reach(Phase.RETIRE, Goal(Stance.ALONE, self._want), State.PROVEN)

    def _back(self, controller: Controller, phase: Phase = Phase.ROLLBACK) -> Outcome:
        """The goal of a rollback: the host's own old token, and no copy of the new one."""
        record, want = controller.record, self._want
        was = record.was
        if was is None or was == want:
            return controller.leave(phase, record.state)
        there = State.ROLLED_BACK if record.turned else State.UNCHANGED
        known = self._crew.is_known(controller, want) and not controller.host.service.is_client
        refuse = (want,) if known else ()
        proven = record.state in (State.UNCHANGED, State.ROLLED_BACK)
        if self.run.resumed or not proven:  # its service may have been restarted, and its state is not known
            outcome = controller.reach(phase, Goal(Stance.SERVING, was, refuse), there)
            if outcome.status is not Status.OK:
                return outcome
        # An earlier run's: a host that still owes its token uses the one from before. Promise 4.
        keep = frozenset(host.now for host in self.run.hosts.values() if host.now and host.now not in (was, want))
        return controller.reach(phase, Goal(Stance.ALONE, was, refuse, keep), there)

    # -- places and tokens

    def _take_place(self) -> None:
        """The run's place in the order of runs, before the first lock is taken."""
        if self.run.epoch == 0:
            self._crew.claim_place()
        if self.run.resumed or self._plan.revokes:
            self._crew.go_past(self._plan.gone_back)
            self._crew.introduce()

    def _choose_token(self) -> None:
        if self.run.epoch == 0:
            self._crew.claim_place()
        self._crew.choose_token(self._make(), self._given)

    @property
    def _want(self) -> Fingerprint:
        if self.run.want is None:
            raise ValueError("a run without a token has nothing to continue")
        return self.run.want

    # -- between phases

    def _rest(self, wave: Wave) -> None:
        """The pause between two waves, and the operator's word where it was asked for."""
        crew, go_on = self._crew, self._go_on
        crew.interrupted.wait(self._plan.pause)
        if go_on and not crew.interrupted.is_set() and not crew.ask_operator(lambda: go_on(wave)):
            crew.interrupt()
        self._rested = True

    def _count(self, old: frozenset[Fingerprint]) -> None:
        """Asks who still uses the old tokens. In a revocation the answer changes nothing: it is for the report."""
        if self._plan.revokes:
            self._crew.fail_doubles()  # turned under each name, since neither may wait; which host it is, is not known
        self._recorder.record(retirement.census(self._crew, old, self._plan.retire_anyway))

    # -- a revocation's own

    def _leaving_stragglers(
        self, move: Do, controllers: Sequence[Controller], work: Callable[[Controller], Outcome]
    ) -> None:
        """Does the phase and leaves the slow hosts behind. Names of one machine go one after the other."""
        patience = self._plan.patience
        if patience is not None and self._waited:
            patience = max(patience, QUIET)
        hosts = self.run.hosts.values()
        again = self._passes > 1 and not self._waited
        ahead = sum(host.state in TURNED for host in hosts) if again and move.phase in (*PREPARING, *TURNS) else 0
        for together in self._crew.apart(controllers):
            if not self._crew.is_over():
                self._crew.phase(move.phase, together, work, move.title, patience, ahead)

    def _is_prepared(self, move: Do) -> bool:
        """Does what a phase needs first: tokens to stage, a free place for hosts that turn, caches that expired."""
        if move.phase is Phase.STAGE:
            return self._gather_tokens()
        if move.phase is Phase.SETTLE:
            self._wait_for_caches(move.hosts)
        return not self._crew.is_over()

    def _gather_tokens(self) -> bool:
        """The run's token, in memory; and the old ones: to ask with, and to lay tombstones with."""
        crew, run = self._crew, self.run
        found = {fingerprint for one in crew.standing() for fingerprint in (*one.held, *one.loaded_token)}
        old = (found | set(run.revoked) | self._plan.leaked) - {run.want}
        wanted = {run.want} if run.want else set()
        asked = old & (crew.common_tokens() | crew.served_tokens())
        crew.read_tokens((wanted | asked) - crew.tokens.keys())
        if run.want not in crew.tokens:
            if run.want and run.may_be_held(run.want):
                why = "no host that answers holds the run's token: `fab revoke` makes another"
                self._recorder.record(Stopped(Phase.STAGE, why, self._recorder.now()))
                return False
            self._choose_token()
        self._revoke_tokens(old - set(run.revoked))
        return True

    def _revoke_tokens(self, tokens: set[Fingerprint]) -> None:
        """Records that these tokens leaked, and which hosts are tried with them."""
        if not tokens:
            return
        asked = tokens & self._crew.tokens.keys()
        held = ((one.host.name, token) for one in self._crew.standing() for token in sorted(one.held, key=str))
        unshared = tuple((name, token) for name, token in held if token in tokens - asked)
        fresh = tuple(sorted(tokens, key=lambda fingerprint: fingerprint.keyed))
        self._recorder.record(TokensRevoked(fresh, self._recorder.now(), unshared, bool(asked)))

    def _wait_for_caches(self, names: Collection[str]) -> None:
        """Waits until `revocation_recheck` seconds are over since the last host began to refuse the old tokens."""
        most = self._crew.fleet.policy.revocation_recheck
        refused = [host.refused for host in (self.run.hosts[name] for name in names) if host.refused]
        if refused:
            left = max(refused) + most - self._recorder.now().at
            self._crew.interrupted.wait(min(max(left, 0.0), most))

    def _retry(self) -> None:
        """After a pause, tries the hosts again that are neither done nor at work; their failures are cleared."""
        self._rested = True
        if self._crew.interrupted.wait(self._plan.pause):
            return
        self._crew.gather()
        late = {controller.host.name for controller in self._crew.stragglers}
        there = (self.run.hosts[name] for name in self._names if name not in late)
        names = tuple(host.name for host in there if is_open(host, self._plan))
        if names:
            self._recorder.record(Retried(self._passes + 1, names, self._recorder.now()))
            self._behind.difference_update(names)
            self._rested = False

    # -- the end

    def _end(self, move: End) -> ExitCode:
        why = "its old token is gone, and this journal has not retired it: was the run finished elsewhere?"
        for controller in self._crew.of(move.retired):
            controller.fail(Phase.ROLLBACK, Cause(Trouble.SLOT_CHANGED, why))
        if self._plan.revokes and self.run.want:
            self._crew.fail_doubles()
        if self.run.phase is not Phase.CLAIM:  # no host is held that refused the run
            self._crew.read_meters()
        came_back = self._plan.back and self.run.is_back and self._crew.code() is ExitCode.ROLLED_BACK
        return self._crew.end(ExitCode.DONE if came_back and not self._crew.interrupted.is_set() else None)
