"""Compares the goal with what a host shows, and returns the next steps for it. Pure.

Every step is safe to repeat, so the same table serves a first run, a run that goes on after it was cut off,
and the way back: a rollback is a goal with the older token.
"""

from dataclasses import dataclass
from enum import Enum

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.seen import Seen, Slot, Unit, not_read
from hivekeys.protocol.verbs import (
    Accept,
    Discard,
    Drain,
    EndSurvivors,
    Notify,
    Prove,
    Restart,
    Retire,
    Revert,
    Revoke,
    Stage,
    Step,
    Swap,
    Sweep,
    Uncordon,
)
from hivekeys.service import Apply, Service, rights
from hivekeys.token import Fingerprint

FOR_EVER = 1e9  # seconds; hivekeys.host.restarting.FOR_EVER


class Stance(Enum):
    """How far a host shall get: the token staged, served, or served with the other slots empty.

    In between, where a service accepts two: the earlier token served and the new one accepted as well, or the other
    way round.
    """

    STAGED = "staged"
    ACCEPTING = "accepting"
    USING = "using"
    SERVING = "serving"
    ALONE = "alone"


class Part(Enum):
    """What of a wave is done: services are turned and proven, watched whether they stay up, or the two in a row."""

    WHOLE = "turn and watch"
    TURN = "turn"
    WATCH = "watch"


@dataclass(frozen=True)
class Goal:
    """Where a host should be: `want` in that stance, `refuse` no longer accepted, no copy of `keep` removed."""

    stance: Stance
    want: Fingerprint
    refuse: tuple[Fingerprint, ...] = ()
    keep: frozenset[Fingerprint] = frozenset()  # other hosts use them
    revoke: tuple[Fingerprint, ...] = ()  # these leaked: nothing may ever write them again
    sweep: bool = False  # every other place on the host is tried as well
    ends_survivors: bool = False  # processes that outlived the restart are ended first
    other: Fingerprint | None = None  # accepted as well as `want`
    part: Part = Part.WHOLE


def steps_to(goal: Goal, seen: Seen, service: Service = HIVE_SERVICE) -> tuple[Step, ...]:
    """The steps from what a host shows to the goal; () when it is there and needs no proof. `service`: what runs there.

    | goal    | active = want    | staged = want       | previous = want       | nowhere      |
    |---------|------------------|---------------------|-----------------------|--------------|
    | STAGED  | nothing          | nothing             | stage                 | stage        |
    | SERVING | (restart) prove  | swap restart prove  | revert restart prove  | stage, swap… |
    | ALONE   | as SERVING, but no proof if nothing moved; then retire and discard what is left over     |

    Where tokens are revoked, their tombstones come first: a host has them also where the new one cannot be staged.
    A service that takes a new token without a restart is notified instead, or left to watch its file. Of one that
    accepts two the list is written before the slots move, so that what is served is always in it.
    """
    if goal.stance is Stance.STAGED:
        there = goal.want in (seen.token, _held(seen.staged))
        tombstones = (Revoke(goal.revoke),) if goal.revoke else ()
        return (*tombstones, *(() if there else (*_displaced(goal, seen), Stage(goal.want))))
    if goal.other and goal.stance in (Stance.ACCEPTING, Stance.USING):
        return _both(goal, goal.other, seen, service)
    moves = _moves(goal, seen, service)
    prove = Prove(goal.want, goal.refuse)
    if goal.stance is Stance.SERVING:
        end = (EndSurvivors(refuse=goal.refuse),) if goal.ends_survivors else ()
        sweep = (Sweep(refuse=goal.refuse),) if goal.sweep else ()
        return (*moves, *end, prove, *sweep)
    left_over: list[Step] = []
    if (seen.previous is not None and _held(seen.previous) not in goal.keep) or _swaps(moves):
        # Also after a revert: a copy with a mode of its own is not put back but written anew, and stays behind.
        left_over.append(Retire(goal.want))
    if seen.staged is not None and not _swaps(moves):
        left_over.append(Discard())
    return (*moves, *((prove,) if moves else ()), *left_over)


def _displaced(goal: Goal, seen: Seen) -> tuple[Step, ...]:
    """A staged token of a run that was cut off leaves the list before another takes its slot.

    In no slot, nobody would know whose it is. Of one that leaked the tombstone says it, and no list may be written that
    has such a token.
    """
    gone = _held(seen.staged)
    if goal.revoke or gone is None or gone not in seen.listed or gone in (seen.token, _held(seen.previous)):
        return ()
    left = tuple(token for token in seen.listed if token != gone)
    return (Accept(left),) if left and not seen.revoked else ()


def with_drain(
    steps: tuple[Step, ...], seen: Seen, drain: Drain, uncordon: Uncordon, is_shut: bool = False
) -> tuple[Step, ...]:
    """The same, but the service has no work when it is restarted, and gets work again last; also after another run.

    `is_shut`: its front lets nothing in while it is drained, so that no proof can succeed before that is over.
    """
    restarts = any(isinstance(step, Restart) for step in steps)
    if seen.cordoned and is_shut and not restarts:
        return (uncordon, *steps)
    before = (drain,) if restarts else ()
    return (*before, *steps, *((uncordon,) if restarts or seen.cordoned else ()))


def _moves(goal: Goal, seen: Seen, service: Service) -> tuple[Step, ...]:
    """The steps that put `want` into the active slot and into the running process."""
    taken, listed = read_anew(seen.unit, service), _listed((goal.want,), seen, service)
    if seen.token == goal.want and not listed:
        told = service.apply is not Apply.RESTART and goal.stance is Stance.ALONE  # and proven: no age shows it
        return () if (told and seen.unit.runs) or _runs(goal.want, seen) else taken
    staged = () if goal.want in (seen.token, _held(seen.staged), _held(seen.previous)) else (Stage(goal.want),)
    return (*staged, *listed, *_moved(goal.want, seen), *taken)


def _both(goal: Goal, other: Fingerprint, seen: Seen, service: Service) -> tuple[Step, ...]:
    """The steps to a service that accepts `want` and the earlier token, and serves the one that the goal says."""
    is_new = goal.stance is Stance.USING or seen.token == goal.want
    first, second = (goal.want, other) if is_new else (other, goal.want)
    there = goal.want in (seen.token, _held(seen.staged), _held(seen.previous))
    writes = (*(() if there else (Stage(goal.want),)), *_listed((first, second), seen, service), *_moved(first, seen))
    told = service.apply is not Apply.RESTART  # whether it has read what was written before, no age shows
    taken = read_anew(seen.unit, service) if writes or told or not _runs(first, seen) else ()
    return (*writes, *taken, Prove(first, also=second))


def _listed(tokens: tuple[Fingerprint, ...], seen: Seen, service: Service) -> tuple[Step, ...]:
    """The step that makes a service's list hold these tokens alone, in this order, and be as it must be.

    Where there is no list, the token in the active slot is accepted alone.
    """
    shown = seen.accepted
    if shown is None and seen.token is not None and tokens == (seen.token,):
        return ()
    if not service.accepted:
        return ()
    if shown and seen.listed == tokens and not shown.more and not untidy_list(seen, service):
        return ()
    return (Accept(tokens),)


def _moved(want: Fingerprint, seen: Seen) -> tuple[Step, ...]:
    """The step that puts the token into the active slot."""
    if seen.token == want:
        return ()
    return (Revert(want),) if _held(seen.previous) == want != _held(seen.staged) else (Swap(want),)


def _runs(want: Fingerprint, seen: Seen) -> bool:
    """True for a process that has read the token, and the list where there is one, as far as ages tell."""
    is_read = seen.accepted is None or seen.accepted.is_read
    return seen.loaded.fingerprint == want and is_read and seen.unit.runs


def read_anew(unit: Unit, service: Service) -> tuple[Step, ...]:
    """What makes a service read its token file: a fresh process, above all where none runs."""
    if service.unit and (service.apply is Apply.RESTART or not unit.runs):
        return (Restart(),)
    return () if service.apply is Apply.WATCH else (Notify(),)


def _held(slot: Slot | None) -> Fingerprint | None:
    return slot.fingerprint if slot else None


def _swaps(moves: tuple[Step, ...]) -> bool:
    return any(isinstance(step, Swap) for step in moves)


def obstacle(seen: Seen, service: Service, request: float) -> Cause | None:
    """Why a host cannot be rotated as it is, seen before anything is changed. `request`: seconds that one may take."""
    unit = seen.unit
    cause = _of_file(seen, service)
    if cause:
        return cause
    if seen.cordoned and (service.drain is None or service.drain.by_front):
        return Cause(Trouble.CORDONED, f"run {seen.cordoned} has drained {service.unit}")
    if not service.unit:
        return seen.directory.bar
    if unit.load == "masked":
        return Cause(Trouble.RESTART_REFUSED, f"{service.unit} is masked")
    if unit.load != "loaded":
        return Cause(Trouble.UNIT_MISSING, f"{service.unit} is {unit.load or 'unknown'}")
    return not_read(seen, service) or seen.directory.bar or unit.bar or _too_slow(unit, service, request)


def _of_file(seen: Seen, service: Service) -> Cause | None:
    """What is wrong with the token file, or the path to it."""
    if seen.directory.fault:
        missing = "does not exist" in seen.directory.fault
        return Cause(Trouble.TOKEN_MISSING if missing else Trouble.TOKEN_UNSAFE, seen.directory.fault)
    if seen.active is None:
        return Cause(Trouble.TOKEN_MISSING, f"{service.token} does not exist")
    if seen.active.fault:
        return Cause(Trouble.TOKEN_UNSAFE, f"{service.token} {seen.active.fault}")
    return _of_list(seen, service)


def _of_list(seen: Seen, service: Service) -> Cause | None:
    """What is wrong with the file of accepted tokens: it would be written anew, and a stranger's token with it lost.

    One that leaked may be lost.
    """
    if seen.accepted is None:
        return None
    if seen.accepted.fault:
        return Cause(Trouble.TOKEN_UNSAFE, f"{service.accepted} {seen.accepted.fault}")
    ours = {_held(slot) for slot in (seen.active, seen.staged, seen.previous)} | {*seen.revoked}
    strange = [f"token:{token}" for token in seen.listed if token not in ours]
    strange += [f"{seen.accepted.more} more"] if seen.accepted.more else []
    if not strange:
        return None
    why = f"{service.accepted} has {' and '.join(strange)}: in no slot of the host, and would be lost"
    return Cause(Trouble.TOKEN_UNSAFE, why)


def _too_slow(unit: Unit, service: Service, request: float) -> Cause | None:
    """Why the restart alone could take longer than a request may, so that its result would be lost."""
    if unit.stop_seconds is None or unit.stop_seconds <= request:
        return None
    stops = f"{service.unit} does not end at once when it is told to, and systemd waits for that"
    how_long = "for ever" if unit.stop_seconds >= FOR_EVER else f"{unit.stop_seconds:.0f} s"
    return Cause(Trouble.STOP_TOO_SLOW, f"{stops} {how_long} (TimeoutStopSec); [timeouts] request is {request:.0f} s")


def replaced(before: Seen | None, now: Seen) -> Cause | None:
    """Why a service has not stayed up that is well now: since it was proven another process has taken its place."""
    if before is None or (before.unit.pid, before.unit.restarts) == (now.unit.pid, now.unit.restarts):
        return None
    return Cause(Trouble.UNSTABLE, "the process that was proven did not stay: another has taken its place")


def untidy_list(seen: Seen, service: Service) -> bool:
    """True for a list of accepted tokens whose mode or owner is not the inventory's."""
    shown = seen.accepted
    return bool(shown and shown.owner) and not (shown and service.fits(shown.mode, shown.owner, shown.group))


def untidy(seen: Seen, service: Service) -> Cause | None:
    """Why a host that serves the right token is not done yet: the file's mode or owner is not the inventory's."""
    slot = seen.active
    if slot and service.fits(slot.mode, slot.owner, slot.group):
        return None
    shown = rights(slot.mode, slot.owner, slot.group) if slot else "not there"
    return Cause(Trouble.TOKEN_UNSAFE, f"{service.token} is {shown}, not {service.rights}")
