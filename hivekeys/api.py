"""hivekeys for programs: load a fleet, look at it, check it, turn it, and follow what happens event by event.

    from hivekeys import api

    fleet = api.load("production")
    with api.rotate(fleet, reason="quarterly") as turn:
        for event in turn:
            print(event)
    print(turn.code, turn.document()["verdict"])

These names, their parameters and what they return stay; what is added has a default. Whatever an operator can correct
is a UserError, with a message and a hint; nothing is printed, and no signal is caught. A run is recorded in the same
journal, under the same lock and with the same proofs as one that is typed: `fab status`, `fab resume` and the rest know
it. A password for sudo comes from its file, or the terminal if there is one.

Not told here: `[notify]` of the inventory and `--log`, which belong to the command.
"""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from hivekeys import inventory, token
from hivekeys.bastion import earlier
from hivekeys.bastion.approval import approved_plan, goal_of, is_awaited, refusal, scope_of
from hivekeys.bastion.excluding import split_excluded
from hivekeys.bastion.looking import looking
from hivekeys.bastion.request import Request
from hivekeys.bastion.turning import Turn, refuse_known, refuse_without_queen, turn
from hivekeys.bastion.verifying import examined
from hivekeys.bastion.window import refuse_closed
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet, takes_two
from hivekeys.journal.past import past_runs
from hivekeys.journal.run import REVOKE, Run
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import Drive, paced
from hivekeys.rotation.moves import REVOCATION, ROTATION
from hivekeys.status.status import FleetStatus
from hivekeys.token import Token
from hivekeys.verify.checks import CHECKS
from hivekeys.verify.findings import Report

__all__ = [
    "ExitCode",
    "Fleet",
    "FleetStatus",
    "Report",
    "Run",
    "Turn",
    "UserError",
    "load",
    "plan",
    "resume",
    "revoke",
    "roll_back",
    "rotate",
    "runs",
    "status",
    "verify",
]


def load(fleet: str | Path = "") -> Fleet:
    """The fleet of this name or file, as `--fleet` finds it; contacts no host. Raises UserError with every mistake."""
    name = str(fleet.absolute()) if isinstance(fleet, Path) else fleet
    return inventory.load_named(name, inventory.places(Path.cwd(), os.environ), os.environ, lambda: CHECKS)


def status(fleet: Fleet, *, limit: str = "", exclude: str = "", state_dir: str = "") -> FleetStatus:
    """How every host is now; changes nothing. Raises DamagedError, a UserError, for the journal."""
    with looking(fleet, inventory.select(fleet, limit, exclude), state_dir) as look:
        return look()


def verify(
    fleet: Fleet, *, checks: Collection[str] = (), limit: str = "", exclude: str = "", state_dir: str = ""
) -> Report:
    """The security checklist, or some of its checks; changes nothing. `Report.code`: what `fab verify` exits with."""
    if unknown := [name for name in checks if name not in CHECKS]:
        raise UserError(f"there is no check {', '.join(unknown)}", hint=f"there are {', '.join(CHECKS)}")
    needs_more = ("dead-token", "shared-token")  # another fleet, or to send tokens that leaked
    chosen = [CHECKS[name] for name in checks or CHECKS if checks or name not in needs_more]
    return examined(fleet, inventory.select(fleet, limit, exclude), chosen, None, state_dir, ())


def runs(fleet: Fleet, *, state_dir: str = "") -> Iterator[Run]:
    """The runs of this bastion that brought a token, newest first, by its journal."""
    return past_runs(fleet.name, state_dir)


def plan(fleet: Fleet, *, limit: str = "", exclude: str = "", state_dir: str = "") -> Run:
    """What a rotation would meet, host by host, and its waves; changes nothing, and is not recorded."""
    hosts, excluded = split_excluded(fleet, inventory.select(fleet, limit, exclude), (), state_dir)
    request = Request(state_dir=state_dir, excluded=excluded, records=False)
    with turn(fleet, hosts, request, _looks) as looked:
        looked.finish()
        return looked.run


@contextmanager
def rotate(
    fleet: Fleet,
    *,
    reason: str = "",
    limit: str = "",
    exclude: str = "",
    without: Collection[str] = (),
    allow_missing: Collection[str] = (),
    given: Token | None = None,
    meter: bool | None = None,
    no_refusal: bool = False,
    approved: str | Path = "",
    state_dir: str = "",
) -> Iterator[Turn]:
    """Turns the fleet to a new token (or the one `given`), in order, with proof; all goes back if it cannot be done.

    `without`: hosts to exclude from the fleet; `allow_missing`: hosts that may be out of reach. `meter`: whether
    services are called meanwhile as their clients do (None: where all accept two tokens). `approved`: the file of a
    signed plan, without which a fleet whose inventory has `[approval]` is not turned.
    """
    hosts, excluded = split_excluded(fleet, inventory.select(fleet, limit, exclude), without, state_dir)
    missing = tuple(allow_missing)
    refuse_without_queen(fleet, hosts, excluded, missing)
    overlapping = earlier.overlapping_run(fleet.name, state_dir)
    if overlapping:
        earlier.refuse_overlapping(fleet, overlapping)
    if is_awaited(fleet, str(approved)):
        raise refusal(fleet)
    refuse_closed(fleet)
    if given:
        earlier.refuse_leaked(fleet, given, state_dir)
    brought = given or token.generate()
    plan = None
    if approved:
        plan = approved_plan(scope_of(fleet, hosts, excluded, state_dir, missing=missing), str(approved), state_dir)
        plan.refuse_other_goal(goal_of(fleet, given, state_dir))
    meters = no_refusal or (takes_two(hosts) if meter is None else meter)
    why = reason or (plan.proposed.reason if plan else "")
    request = Request(reason=why, state_dir=state_dir, excluded=excluded, meters=meters, approved=plan)
    how = replace(
        ROTATION,
        may_be_missing=frozenset(missing),
        census=True,
        no_refusal=no_refusal,
        overlap=fleet.policy.overlap,
    )

    def drive(crew: Crew) -> Callable[[], ExitCode]:
        driven = Drive(crew, how, lambda: brought, given=given is not None)

        def go() -> ExitCode:
            if not driven.look():
                return crew.end()
            refuse_known(crew, brought)
            return driven.go()

        return go

    with turn(fleet, hosts, request, drive) as turned:
        yield turned


@contextmanager
def revoke(
    fleet: Fleet,
    *,
    reason: str,
    without: Collection[str] = (),
    leaked: Token | None = None,
    fence: bool = False,
    take_over: bool = False,
    state_dir: str = "",
) -> Iterator[Turn]:
    """A token leaked: brings a new one to every host that answers, now, and proves that the old one is refused.

    There is no way back. The tokens that hosts show are revoked, and those of the last runs; `leaked`: one more.
    `fence`: the service of a host that cannot be turned is stopped; `take_over`: another run's lock is broken.
    """
    if not reason.strip():
        raise UserError("a revocation needs its reason")
    fleet = paced(fleet)
    warnings: list[str] = []
    hosts, excluded = split_excluded(fleet, fleet.hosts, without, state_dir, in_emergency=warnings.append)
    request = Request(
        reason=reason, task=REVOKE, state_dir=state_dir, excluded=excluded, fence=fence, take_over=take_over
    )

    def drive(crew: Crew) -> Callable[[], ExitCode]:
        tokens = earlier.tokens_to_revoke(crew, leaked, state_dir)
        return Drive(crew, replace(REVOCATION, census=True, leaked=frozenset(tokens))).go

    with turn(fleet, hosts, request, drive) as turned:
        for words in warnings:
            turned.warn(words)
        yield turned


def resume(
    fleet: Fleet, *, run: str = "", without: Collection[str] = (), state_dir: str = ""
) -> AbstractContextManager[Turn]:
    """Goes on with a run that was cut off, in its direction: the one of this id, or the newest."""
    past = earlier.meant_run(fleet.name, run, state_dir)
    earlier.refuse_to_go_on(past, state_dir)
    if earlier.is_bound(past):
        refuse_closed(fleet)
    return _taken_up(fleet, past, "resume", without, state_dir)


def roll_back(fleet: Fleet, *, run: str = "", state_dir: str = "") -> AbstractContextManager[Turn]:
    """Takes a run back to the tokens from before it, while the hosts still have them."""
    past = earlier.meant_run(fleet.name, run, state_dir, goes_back=True)
    earlier.refuse_to_go_back(past, state_dir)
    return _taken_up(fleet, past, "roll_back", (), state_dir)


@contextmanager
def _taken_up(fleet: Fleet, past: Run, verb: str, without: Collection[str], state_dir: str) -> Iterator[Turn]:
    earlier.refuse_revoked_run(past, state_dir)
    later = earlier.gone_back_after(past, state_dir) if verb == "roll_back" else frozenset()
    fleet = paced(fleet) if past.is_revocation else fleet
    hosts, excluded = split_excluded(fleet, earlier.hosts_of(fleet, past), without, state_dir)
    request = Request(reason=past.reason, past=past, state_dir=state_dir, excluded=excluded)

    def drive(crew: Crew) -> Callable[[], ExitCode]:
        return lambda: earlier.goes_on(crew, verb, False, later, False)

    with turn(fleet, hosts, request, drive) as turned:
        yield turned


def _looks(crew: Crew) -> Callable[[], ExitCode]:
    return lambda: crew.end(ExitCode.DONE if Drive(crew).look() else ExitCode.INCOMPLETE)
