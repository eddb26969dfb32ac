"""A token leaked: the same hosts and steps as a rotation, under a policy that only goes forward.

No canary, no budget, no way back. What fails is tried again so many times, then named; whoever is slow to answer holds
nobody up. The old tokens get tombstones before anything of them moves, and every host is asked twice whether it
refuses them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Fleet
from hivekeys.journal.events import Again, Condemned, Outcome, Phase, State, Stopped
from hivekeys.protocol.causes import Trouble
from hivekeys.rotation import usage
from hivekeys.rotation.runner import TURNS, Runner, Work, of_wave
from hivekeys.rotation.steps import Goal, Stance
from hivekeys.rotation.story import Story
from hivekeys.ssh.line import QUIET
from hivekeys.token import Fingerprint, Token

ATTEMPTS = 3  # times that a host is tried
PATIENCE = 2.0  # seconds that the slower half of the hosts may take longer before the others go on without them
RECENT = 3  # runs of the journal whose tokens are condemned unless more is asked for
BRINGING = (Phase.LOOK, Phase.CLAIM, Phase.STAGE, *TURNS)
RETRY_PAUSE = 3.0  # seconds before hosts that failed are tried again


def paced(fleet: Fleet, batch: Amount | None = None) -> Fleet:
    """The fleet with a revocation's pace: no canary, and all hives at once unless told otherwise."""
    policy = replace(fleet.policy, canary=0, batch=batch or Amount(100, percent=True, least=1))
    return replace(fleet, policy=policy)


class Revocation:
    """One revocation, new or taken up again.

    `gone_back`: later runs of this bastion that left the hosts as they were; any other's supersede this one.
    `leaked`: what is condemned beside all that hosts show, wherever it is now.
    `ends_survivors`: processes that outlived their service's restart, and are not shown to refuse, are ended.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        attempts: int = ATTEMPTS,
        pause: float = RETRY_PAUSE,
        patience: float = PATIENCE,
        census: bool = False,
        gone_back: Collection[str] = (),
        leaked: Collection[Fingerprint] = (),
        ends_survivors: bool = False,
    ) -> None:
        self._runner = runner
        self._ledger = runner.ledger
        self._attempts = attempts
        self._pause = pause
        self._patience = patience
        self._census = census
        self._gone_back = gone_back
        self._leaked = frozenset(leaked)
        self._ends_survivors = ends_survivors
        self._passes = 0
        self._tries: Counter[Story] = Counter()
        self._finished: set[Story] = set()  # asked a second time whether they refuse the old tokens
        self._comes_back = False  # the others are finished: now there is time for whoever was left behind
        self._is_lost = False  # another run has the hosts, or nobody who answers has the token

    def revoke(self, make: Callable[[], Token]) -> ExitCode:
        """Brings the run's token to every host that answers. So also goes on what was cut off, or left hosts behind.

        `make` is asked only while no host can have the run's token yet.
        """
        self._bring(make)
        self._finish()
        while self._runner.late and not self._is_over():
            self._comes_back = True
            self._runner.gather(waits=True)
            self._bring(make)
            self._finish()
        if self._ledger.run.want:
            self._fence(self._runner.stories)
            self._runner.fail_doubles()  # turned under each name, since none may hold it up; but which of them is it?
        if self._ledger.run.want and self._census and not self._is_over():  # holds nothing back: it is for the report
            self._ledger.tell(usage.taken(self._runner, self._ledger.run.condemned))
        return self._runner.end()

    def _bring(self, make: Callable[[], Token]) -> None:
        """Turns the hosts that are open, each so many times at most; one that is still at work is not waited for."""
        while (here := self._open()) and self._try(here, make):
            pass

    # -- one attempt

    def _try(self, stories: Sequence[Story], make: Callable[[], Token]) -> bool:
        """Look, claim, stage, turn: all hosts at first, later those that are open. False: nothing more to try."""
        want = self._ledger.run.want
        self._passes += 1
        self._tries.update(stories)
        self._finished.difference_update(stories)
        self._phase(Phase.LOOK, stories, lambda story: story.look_again(want))
        if self._standing(stories):
            self._claim(self._standing(stories))
            token = self._token(make)
            if token is None:
                return False
            self._turn(stories, token)
        return not self._is_over()

    def _open(self) -> list[Story]:
        """The hosts to try: all at first; after a pause those that are not through: what they failed of is history."""
        if not self._passes:
            return self._runner.stories
        here = self._not_through()
        if not here or self._runner.interrupted.wait(self._pause):
            return []
        self._runner.gather()
        late = self._runner.late
        here = [story for story in self._not_through() if story not in late]
        if here:
            names = tuple(story.host.name for story in here)
            self._ledger.tell(Again(self._passes + 1, names, self._ledger.now()))
        return here

    def _not_through(self) -> list[Story]:
        """The hosts, at work or not, that have failed or were left behind, and may be tried again."""
        stories = self._runner.stories
        return [story for story in stories if not _is_through(story) and self._tries[story] < self._attempts]

    def _claim(self, stories: list[Story]) -> None:
        """Takes the hosts' locks: the queen's first and alone, so that of two runs exactly one wins.

        A bastion that died keeps them for a lease. Nobody is woken to wait for that and type the command again.
        """
        run = self._ledger.run
        if run.epoch == 0:
            self._runner.claim_place()
        self._runner.go_past(self._gone_back)
        self._runner.introduce()

        def claim(story: Story) -> Outcome:
            return story.claim((story.part.now, run.want), self._is_over)

        first = 1 if stories[0].host == self._runner.fleet.queen else 2  # one hive's word turns nobody away
        for story in stories[:first]:
            self._phase(Phase.CLAIM, [story], claim)
        busy = self._ledger.run.bears_out(Trouble.HOST_BUSY)
        self._is_lost = self._is_lost or (busy and run.attempt == 1)
        self._phase(Phase.CLAIM, stories[first:], claim)

    def _token(self, make: Callable[[], Token]) -> Fingerprint | None:
        """The run's token, in memory; and the old ones: to ask with, and to lay tombstones with."""
        run = self._ledger.run
        if self._is_over() or not self._runner.standing():
            return None
        found = {fingerprint for story in self._runner.standing() for fingerprint in (*story.held, *story.loaded)}
        old = (found | set(run.condemned) | self._leaked) - {run.want}
        wanted = {run.want} if run.want else set()
        asked = old & (self._runner.common_tokens() | self._runner.served_tokens())
        self._runner.recall((wanted | asked) - self._runner.tokens.keys())
        want = run.want
        if want is None or want not in self._runner.tokens:
            if want and run.may_be_held(want):
                why = "no host that answers holds the run's token: `fab revoke` makes another"
                self._ledger.tell(Stopped(Phase.STAGE, why, self._ledger.now()))
                self._is_lost = True
                return None
            want = self._runner.bring(make())
        fresh = sorted(old - set(run.condemned), key=lambda fingerprint: fingerprint.keyed)
        if fresh:
            shared = [token for token in fresh if token in self._runner.tokens]
            self._ledger.tell(
                Condemned(tuple(fresh), self._ledger.now(), self._unshared(set(fresh).difference(shared)))
            )
            if shared:  # of what a host brought to light that came late, the others are asked as well
                self._finished.clear()
        return want

    def _unshared(self, tokens: Collection[Fingerprint]) -> tuple[tuple[str, Fingerprint], ...]:
        """The hosts that hold one of these, which can be asked of nobody else."""
        held = ((story.host.name, token) for story in self._runner.standing() for token in sorted(story.held, key=str))
        return tuple((name, token) for name, token in held if token in tokens)

    def _turn(self, stories: Sequence[Story], want: Fingerprint) -> None:
        """Staged and tombstoned everywhere first; then the queen, then the hives."""
        staged = Goal(Stance.STAGED, want, revoke=self._ledger.run.condemned)
        self._phase(
            Phase.STAGE, self._standing(stories), lambda story: story.reach(Phase.STAGE, staged, story.part.state)
        )
        for wave in self._runner.waves:
            left = of_wave(wave, self._standing(stories))
            while left and not self._is_over():
                places = self._runner.places(wave)
                here, left = left[:places], left[places:]
                self._phase(wave.phase, here, partial(self._reach, wave.phase, want), wave.title)

    def _reach(self, phase: Phase, want: Fingerprint, story: Story) -> Outcome:
        revoked = self._ledger.run.condemned
        refuse = tuple(old for old in revoked if self._runner.is_known(story, old))
        ends = self._ends_survivors
        goal = Goal(Stance.SERVING, want, refuse, revoke=revoked, sweep=phase is Phase.SETTLE, ends_survivors=ends)
        return story.reach(phase, goal, State.PROVEN)

    # -- the end

    def _finish(self) -> None:
        """Who is through is asked again, who cannot be turned is fenced; where all holds, no old token is left."""
        want, through = self._ledger.run.want, self._through()
        if want is None:
            return
        self._wait_for_caches(through)
        self._phase(Phase.SETTLE, through, partial(self._reach, Phase.SETTLE, want))
        through = self._standing(through)
        self._finished.update(story for story in through if _is_through(story))
        self._fence([story for story in self._runner.stories if self._tries[story] >= self._attempts])
        proven = [story for story in through if story.part.state is State.PROVEN]
        alone = Goal(Stance.ALONE, want)
        self._phase(Phase.RETIRE, proven, lambda story: story.reach(Phase.RETIRE, alone, State.PROVEN))

    def _fence(self, stories: Sequence[Story]) -> None:
        """Those of them that could not be turned are stopped, where that was asked for."""
        late = self._runner.late
        if self._ledger.run.fence:
            open_ = [story for story in stories if story.part.state is State.FAILED and story not in late]
            self._phase(Phase.FENCE, open_, Story.fence)

    def _through(self) -> list[Story]:
        """The hosts that were turned and not asked again yet."""
        return [story for story in self._runner.standing() if _is_through(story) and story not in self._finished]

    def _wait_for_caches(self, stories: Sequence[Story]) -> None:
        """Until `revocation_recheck` seconds have passed since the last of them began to refuse the old tokens."""
        most = self._runner.fleet.policy.revocation_recheck
        refused = [story.part.refused for story in stories if story.part.refused]
        if refused and not self._is_over():
            left = max(refused) + most - self._ledger.now().at
            self._runner.interrupted.wait(min(max(left, 0.0), most))

    # -- where the run stands

    def _phase(self, phase: Phase, stories: Sequence[Story], work: Work, title: str = "") -> list[Outcome]:
        patience = max(self._patience, QUIET) if self._comes_back else self._patience
        again = self._passes > 1 and not self._comes_back
        ahead = sum(map(_is_through, self._runner.stories)) if again and phase in BRINGING else 0
        rounds = self._runner.apart(stories)
        return [
            outcome
            for together in rounds
            if not self._is_over()
            for outcome in self._runner.phase(phase, together, work, title, patience, ahead)
        ]

    def _standing(self, stories: Sequence[Story]) -> list[Story]:
        standing = set(self._runner.standing())
        return [story for story in stories if story in standing]

    def _is_over(self) -> bool:
        """Nothing more may be begun: interrupted, or another run has the hosts."""
        return self._is_lost or self._runner.interrupted.is_set() or self._runner.is_superseded


def _is_through(story: Story) -> bool:
    """True for a host that was turned, and has not failed since."""
    return story.part.state in (State.PROVEN, State.HEALTHY)
