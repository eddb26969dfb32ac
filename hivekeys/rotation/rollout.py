"""The loop: which hosts are next, whether the run goes on, and in which direction.

It decides nothing itself: `machine` says what a host needs, `waves` who is next and when to stop; `story` does one
host's part, `runner` a phase on all of them. Resume is the same loop run again, rollback the same loop with the older
goal.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from hivekeys.errors import ExitCode
from hivekeys.journal.events import Outcome, Phase, State, Status, Stopped
from hivekeys.journal.hostrun import is_superseded
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.rotation import usage, waves
from hivekeys.rotation.runner import Runner, Work, of_wave
from hivekeys.rotation.steps import Goal, Stance
from hivekeys.rotation.story import Story
from hivekeys.token import Fingerprint, Token


class Rollout:
    """A rotation, new or taken up again: to the new token while that goes well, else back."""

    def __init__(
        self,
        runner: Runner,
        *,
        may_be_missing: Iterable[str] = (),
        pause: float = 0.0,
        go_on: Callable[[waves.Wave], bool] | None = None,
        census: bool = False,
        retire_anyway: bool = False,
    ) -> None:
        """`pause`: seconds between two waves; `go_on` asks the operator there.

        `census`: the services' records are asked who still uses the old tokens, and may hold these back; hosts need the
        verb `audit` for it. `retire_anyway`: they hold nothing back.
        """
        self._runner = runner
        self._ledger = runner.ledger
        self._may_be_missing = frozenset(may_be_missing)
        self._pause = pause
        self._go_on = go_on
        self._census = census
        self._retire_anyway = retire_anyway
        self._only_forward = False

    @property
    def run(self) -> Run:
        """The run so far."""
        return self._runner.run

    # -- what an operator asks for

    def look(self) -> bool:
        """Opens every host read-only and proves its current token. True when nothing stands in the way."""
        well = self._everywhere(Phase.LOOK, self._runner.stories, Story.look)
        return not self._runner.fail_doubles() and well

    def rotate(self, token: Token, given: bool = False) -> ExitCode:
        """Turns the fleet to `token`, in order; back to where it was when that cannot be done."""
        self._runner.claim_place()
        want = self._runner.bring(token, given)
        if not (self._claim(want) and self._forward(want)):
            self._roll_back(want)
        return self._runner.end()

    def resume(self, make: Callable[[], Token]) -> ExitCode:
        """Goes on with a run that was cut off, in its direction. `make` is asked only if no host has its token."""
        if self.run.retiring or self.run.reconciling:
            return self.reconcile()
        want = self._taken_up()
        if self._is_over():
            return self._runner.end()
        if self._runner.doubles or (not self._runner.standing() and not self.run.stopped):
            return self._runner.wait()
        if want not in self._runner.tokens and not self.run.stopped:
            if self.run.given or self.run.may_be_held(want):
                self._stop("no host that answers holds the run's token")
            else:
                want = self._runner.bring(make())  # lost with the bastion before any host had it: nobody ever will
        if self.run.stopped or not self._forward(want):
            self._roll_back(want)
        return self._runner.end()

    def roll_back(self, gone_back: Collection[str] = ()) -> ExitCode:
        """Takes a run back to the tokens from before it; `gone_back`: as in reconcile."""
        want = self._taken_up(gone_back)
        if self._runner.doubles and not self._is_over():
            return self._runner.wait()
        if not self._is_over() and not self.run.stopped:
            self._stop("the operator asked for the way back")
        self._roll_back(want)
        came_back = self.run.is_back and self._runner.code() is ExitCode.ROLLED_BACK
        return self._runner.end(ExitCode.DONE if came_back and not self._runner.interrupted.is_set() else None)

    def reconcile(self, gone_back: Collection[str] = ()) -> ExitCode:
        """Brings every host that owes the run's token to it, from a host that serves it; never back.

        Also how a run is finished whose old tokens are partly gone: all hosts are proven anew before more of them go.
        `gone_back`: later runs of this bastion that left the hosts as they were; any other's supersede this one.
        """
        self._only_forward = True
        want = self._taken_up(gone_back)
        if want in self._runner.tokens:
            self._forward(want)
        return self._runner.end()

    # -- directions

    def _forward(self, want: Fingerprint) -> bool:
        """Stage, turn, settle, retire. False when the run has to go back."""
        return (
            self._everywhere(Phase.STAGE, self._runner.standing(), lambda story: self._stage(story, want))
            and self._turn_all(want)
            and self._everywhere(Phase.SETTLE, self._runner.standing(), lambda story: self._settle(story, want))
            and self._retire(want)
        )

    def _retire(self, want: Fingerprint) -> bool:
        """The previous slots go, once every host of the inventory is proven. The point of no return.

        Not for the sake of a host that was cut out: it never comes back with the token that it has.
        """
        proven = all(host.state is State.PROVEN for host in self.run.counted)
        if proven and not self._is_over() and not self._is_held(want):
            goal = Goal(Stance.ALONE, want)
            self._everywhere(
                Phase.RETIRE, self._runner.stories, lambda story: story.reach(Phase.RETIRE, goal, State.PROVEN)
            )
        return True

    def _is_held(self, want: Fingerprint) -> bool:
        """True when somebody was let in with an old token after it was replaced: to retire it could cut him off."""
        old = {host.was for host in self.run.hosts.values() if host.was and host.was.fp6 != want.fp6}
        if self._census and old:
            self._ledger.tell(usage.taken(self._runner, old, self._retire_anyway))
        return self.run.is_held

    def _roll_back(self, want: Fingerprint) -> None:
        """Every host that was told anything goes back to its own old token, in the same order and pace."""
        if self._fail_finished(want):
            return
        touched = [story.host for story in self._runner.stories if story.part.touched]
        for wave in waves.plan(touched, self._runner.fleet.policy, canary=False):
            if self._is_over():
                return
            stories = of_wave(wave, self._runner.stories)
            self._everywhere(Phase.ROLLBACK, stories, lambda story: self._back(story, want), f"rollback, {wave.title}")

    def _fail_finished(self, want: Fingerprint) -> bool:
        """True, and written down, when all hosts but one, which may lie, show that the old tokens were retired.

        This journal knows nothing of that: it is a copy from before the run was finished, and there is no way back.
        """
        standing = self._runner.standing()
        shown = [story for story in standing if _is_retired(story, want)]
        if self.run.retiring or len(shown) < max(2, len(standing) - 1):
            return False
        why = "its old token is gone, and this journal has not retired it: was the run finished elsewhere?"
        for story in shown:
            story.fail(Phase.ROLLBACK, Cause(Trouble.SLOT_CHANGED, why))
        return True

    # -- phases

    def _claim(self, want: Fingerprint) -> bool:
        """Takes the hosts' locks: the first host alone, so that of two runs exactly one wins."""

        def claim(story: Story) -> Outcome:
            if not self.run.resumed:
                return story.claim((story.part.was,))
            # Forward: whatever a host that was away or re-imaged has now.
            there = story.part.now if self._only_forward else story.part.was
            return story.claim((there, want), self._is_over)  # a bastion that died has its locks for a lease

        standing = self._runner.standing()
        groups = (standing[:1], standing[1:])  # the queen stands first in every inventory
        return all(self._everywhere(Phase.CLAIM, group, claim) for group in groups if group)

    def _turn_all(self, want: Fingerprint) -> bool:
        order = waves.among(self._runner.waves, [story.host for story in self._runner.standing()])
        return all((wave is order[0] or self._breathe(wave)) and self._turn_wave(wave, want) for wave in order)

    def _turn_wave(self, wave: waves.Wave, want: Fingerprint) -> bool:
        standing = of_wave(wave, self._runner.standing())
        return self._everywhere(wave.phase, standing, lambda story: self._turn(story, wave.phase, want), wave.title)

    def _breathe(self, wave: waves.Wave) -> bool:
        """The pause between two waves, and the operator's word where it was asked for."""
        self._runner.interrupted.wait(self._pause)
        go_on = self._go_on
        if go_on and not self._runner.interrupted.is_set() and not self._runner.ask_operator(lambda: go_on(wave)):
            self._runner.interrupt()
        return not self._is_over()

    def _everywhere(self, phase: Phase, stories: Sequence[Story], work: Work, title: str = "") -> bool:
        """Does `work` on all hosts at once and waits for every one. False when the run must not go on."""
        if self._is_over():
            return False
        outcomes = self._runner.phase(phase, stories, work, title)
        if phase in (Phase.ROLLBACK, Phase.RETIRE):
            return True
        failed = [outcome.host for outcome in outcomes if self._has_failed(outcome)]
        in_all = sum(
            host.cause is not None and not self._is_excused(phase, host.name) for host in self.run.hosts.values()
        )
        queen = self._runner.fleet.queen.name
        why = waves.stop_reason(phase, failed, in_all, len(self._runner.stories), self._runner.fleet.policy, queen)
        if self._is_over() or not why or self._only_forward:
            return not self._is_over()
        if not self.run.stopped:
            self._stop(why, phase)
        return False

    # -- one host's part in a phase

    def _stage(self, story: Story, want: Fingerprint) -> Outcome:
        return story.reach(Phase.STAGE, Goal(Stance.STAGED, want), story.part.state)

    def _turn(self, story: Story, phase: Phase, want: Fingerprint) -> Outcome:
        """Swap, restart, prove; a host that fails puts its own old token back at once."""
        outcome = story.reach(phase, self._serving(story, want), State.PROVEN)
        if outcome.status is not Status.FAILED or is_superseded(outcome.cause) or self._only_forward:
            return outcome
        return replace(self._back(story, want, phase), cause=outcome.cause)

    def _settle(self, story: Story, want: Fingerprint) -> Outcome:
        return story.reach(Phase.SETTLE, self._serving(story, want), State.PROVEN)

    def _back(self, story: Story, want: Fingerprint, phase: Phase = Phase.ROLLBACK) -> Outcome:
        """The older goal: the host's own old token, and nothing of the new one left behind."""
        was = story.part.was
        if was is None or was == want:
            return story.leave(phase, story.part.state)
        there = State.ROLLED_BACK if story.part.turned else State.UNCHANGED
        refuse = (want,) if self._runner.is_known(story, want) else ()
        proven = story.part.state in (State.UNCHANGED, State.ROLLED_BACK)
        if self.run.resumed or not proven:  # its service may have been restarted, and nobody knows how it is
            outcome = story.reach(phase, Goal(Stance.SERVING, was, refuse), there)
            if outcome.status is not Status.OK:
                return outcome
        # An earlier run's: a host that still owes its token uses the one from before. Promise 4.
        keep = frozenset(host.now for host in self.run.hosts.values() if host.now and host.now not in (was, want))
        return story.reach(phase, Goal(Stance.ALONE, was, refuse, keep), there)

    def _serving(self, story: Story, want: Fingerprint) -> Goal:
        """To serve `want` and refuse the token from before, where anybody still has it to ask with."""
        was = story.part.was
        asked = (was,) if was and was != want and self._runner.is_known(story, was) else ()
        return Goal(Stance.SERVING, want, asked)

    # -- taking a run up again

    def _taken_up(self, gone_back: Collection[str] = ()) -> Fingerprint:
        """Looks at every host, takes their locks, and has the run's tokens back in memory where a host holds them.

        Where two names lead to one machine it takes none: what is done next would be done to the wrong host.
        """
        want = self.run.want
        if want is None:
            raise ValueError("a run without a token has nothing to go on with")
        self._everywhere(Phase.LOOK, self._runner.stories, lambda story: story.look_again(want))
        if self._runner.fail_doubles():
            return want
        self._runner.go_past(gone_back)
        self._runner.introduce()
        self._claim(want)
        self._runner.recall({want, *(host.was for host in self.run.hosts.values() if host.was)})
        return want

    # -- where the run stands

    def _has_failed(self, outcome: Outcome) -> bool:
        """True for a host that speaks for the way back.

        One that is lost when all waves are proven does not: it has the new token, and to turn the others back would
        part them from it for certain. Nothing is retired without it. Nor does a resume that reaches nobody.
        """
        lost = outcome.status in (Status.UNREACHABLE, Status.UNKNOWN)
        nobody = outcome.phase is Phase.LOOK and self.run.resumed and not self._runner.standing()
        if lost and (self.run.settling or nobody):
            return False
        failed = outcome.status is not Status.OK or outcome.cause is not None
        return failed and not self._is_excused(outcome.phase, outcome.host)

    def _is_excused(self, phase: Phase, name: str) -> bool:
        """A host that may be missing and is: it will owe the token, and does not stop the others."""
        return name in self._may_be_missing and self.run.hosts[name].state is State.UNREACHABLE

    def _is_over(self) -> bool:
        """Nothing more may be begun: interrupted, or another run works on these hosts.

        Who holds a host ends the run only before it has begun to change any; afterwards it goes forward or back.
        """
        begins = self.run.phase in (Phase.LOOK, Phase.CLAIM)
        busy = begins and self.run.bears_out(Trouble.HOST_BUSY)
        return busy or self._runner.interrupted.is_set() or self._runner.is_superseded

    def _stop(self, why: str, phase: Phase | None = None) -> None:
        self._ledger.tell(Stopped(phase or self.run.phase or Phase.LOOK, why, self._ledger.now()))


def _is_retired(story: Story, want: Fingerprint) -> bool:
    """True for a host that shows the run's token alone, and had another one before."""
    seen, was = story.part.seen, story.part.was
    return seen is not None and was not in (None, want) and seen.token == want and seen.previous is None
