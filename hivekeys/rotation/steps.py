"""Compares the goal with what a host shows, and returns the next steps for it. Pure.

Every step is safe to repeat, so the same table serves a first run, a run that goes on after it was cut off,
and the way back: a rollback is a goal with the older token.
"""

from dataclasses import dataclass
from enum import Enum

from hivekeys.fleet import HIVE_SERVICE, Apply, Service, rights
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.seen import Seen, Slot, Unit, not_read
from hivekeys.protocol.verbs import (
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
from hivekeys.token import Fingerprint

FOR_EVER = 1e9  # seconds; hivekeys.host.restarting.FOR_EVER


class Stance(Enum):
    """How far a host shall get: the token staged, served, or served with the other slots empty."""

    STAGED = "staged"
    SERVING = "serving"
    ALONE = "alone"


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


def steps_to(goal: Goal, seen: Seen, service: Service = HIVE_SERVICE) -> tuple[Step, ...]:
    """The steps from what a host shows to the goal; () when it is there and needs no proof. `service`: what runs there.

    | goal    | active = want    | staged = want       | previous = want       | nowhere      |
    |---------|------------------|---------------------|-----------------------|--------------|
    | STAGED  | nothing          | nothing             | stage                 | stage        |
    | SERVING | (restart) prove  | swap restart prove  | revert restart prove  | stage, swap… |
    | ALONE   | as SERVING, but no proof if nothing moved; then retire and discard what is left over     |

    Where tokens are revoked, their tombstones are laid with the new one staged: before anything of the old moves.
    A service that takes a new token without a restart is notified instead, or left to watch its file.
    """
    if goal.stance is Stance.STAGED:
        there = goal.want in (seen.token, _held(seen.staged))
        tombstones = (Revoke(goal.revoke),) if goal.revoke else ()
        return (*(() if there else (Stage(goal.want),)), *tombstones)
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


def with_drain(steps: tuple[Step, ...], seen: Seen, drain: Drain, uncordon: Uncordon) -> tuple[Step, ...]:
    """The same, but the service has no work when it is restarted, and gets work again last; also after another run."""
    restarts = any(isinstance(step, Restart) for step in steps)
    before = (drain,) if restarts else ()
    return (*before, *steps, *((uncordon,) if restarts or seen.cordoned else ()))


def _moves(goal: Goal, seen: Seen, service: Service) -> tuple[Step, ...]:
    """The steps that put `want` into the active slot and into the running process."""
    taken = read_anew(seen.unit, service)
    if seen.token == goal.want:
        told = service.apply is not Apply.RESTART and goal.stance is Stance.ALONE  # and proven: no age shows it
        runs_it = (told or seen.loaded.fingerprint == goal.want) and seen.unit.state == "active"
        return () if runs_it else taken
    if _held(seen.staged) == goal.want:
        return (Swap(goal.want), *taken)
    if _held(seen.previous) == goal.want:
        return (Revert(goal.want), *taken)
    return (Stage(goal.want), Swap(goal.want), *taken)


def read_anew(unit: Unit, service: Service) -> tuple[Step, ...]:
    """What makes a service read its token file: a fresh process, above all where none runs."""
    if service.apply is Apply.RESTART or unit.state != "active":
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
    if seen.cordoned and service.drain is None:
        return Cause(Trouble.CORDONED, f"run {seen.cordoned} has drained {service.unit}")
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
    return None


def _too_slow(unit: Unit, service: Service, request: float) -> Cause | None:
    """Why the restart alone could take longer than a request may, so that its result would be lost."""
    if unit.stop_seconds is None or unit.stop_seconds <= request:
        return None
    stops = f"{service.unit} does not end at once when it is told to, and systemd waits for that"
    how_long = "for ever" if unit.stop_seconds >= FOR_EVER else f"{unit.stop_seconds:.0f} s"
    return Cause(Trouble.STOP_TOO_SLOW, f"{stops} {how_long} (TimeoutStopSec); [timeouts] request is {request:.0f} s")


def untidy(seen: Seen, service: Service) -> Cause | None:
    """Why a host that serves the right token is not done yet: the file's mode or owner is not the inventory's."""
    slot = seen.active
    if slot and service.fits(slot.mode, slot.owner, slot.group):
        return None
    shown = rights(slot.mode, slot.owner, slot.group) if slot else "not there"
    return Cause(Trouble.TOKEN_UNSAFE, f"{service.token} is {shown}, not {service.rights}")
