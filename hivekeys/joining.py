"""`fab install` and `fab uninstall`: hosts come into the fleet and leave it, and into restricted mode and out of it.

A new fleet gets a token made here; a host that joins gets the fleet's own, from a host that has just proven it, through
this run's memory. Where services that run have to be restarted, it goes as in a rotation: queen, canary, then batches,
until one fails. All other hosts are set up at once, and no host's failure stops another's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from hivekeys import waves
from hivekeys.causes import Cause, Trouble
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Host
from hivekeys.machine import Goal, Stance, steps_to
from hivekeys.model import Reply, Step, Upkept, Verb
from hivekeys.recall import Shown, holders_of, recalled
from hivekeys.restriction import Restriction
from hivekeys.token import Fingerprint, Token, refuse_revoked
from hivekeys.upkeep import Upkeep, fleets_token
from hivekeys.verify.survey import Watch

RELOADED = ("unit", "token", "environment", "account")  # parts that the service must be started again for


def install(
    upkeep: Upkeep, options: Sequence[str], make: Callable[[], Token], revoked: Mapping[Fingerprint, str]
) -> list[Upkept]:
    """Sets the chosen hosts up and proves them. `revoked`: tokens that leaked, and the run that revoked each.

    Raises UserError where nobody can tell which token they are to have, or where that one leaked.
    """
    shown = upkeep.look(upkeep.fleet.hosts)
    upkeep.refuse_doubles(shown)
    _refuse_running(shown)
    want = _the_token(upkeep, shown)
    if want:
        refuse_revoked(want, revoked, f"fleet {upkeep.fleet.name}")
    token = None if not upkeep.apply else make() if want is None else _recalled(upkeep, shown, want)
    if token:
        want = upkeep.know(token)

    step = Step(Verb.INSTALL, want, apply=upkeep.apply, options=tuple(options))
    if not upkeep.apply or want is None:
        return upkeep.do("look what is to be set up", upkeep.hosts, lambda _: (step,))
    after = partial(_after, want)
    found = upkeep.look(upkeep.hosts, replace(step, apply=False))
    turned = [host for host in upkeep.hosts if host == upkeep.fleet.queen or _is_interrupted(found[host], after)]
    return _in_order(upkeep, turned, lambda title, hosts: upkeep.do(title, hosts, lambda _: (step,), after))


def _after(want: Fingerprint, reply: Reply) -> tuple[Step, ...]:
    """What a host that is set up still needs: its service started anew where that read something else, and a proof."""
    if reply.seen is None:
        return ()
    steps = steps_to(Goal(Stance.SERVING, want), reply.seen)
    changed = any(change.part in RELOADED and not change.refused for change in reply.changes)
    restart = Step(Verb.RESTART)
    return (restart, *steps) if changed and restart not in steps else steps


def _is_interrupted(found: Reply | Cause, after: Callable[[Reply], tuple[Step, ...]]) -> bool:
    """True for a host whose service runs and will be restarted."""
    if isinstance(found, Cause) or found.cause or found.seen is None or found.seen.unit.state != "active":
        return False
    return any(step.verb is Verb.RESTART for step in after(found))


def _in_order(
    upkeep: Upkeep, turned: Sequence[Host], set_up: Callable[[str, Sequence[Host]], list[Upkept]]
) -> list[Upkept]:
    """The queen and the hosts that are `turned`, wave by wave, until one fails; then the others."""
    fleet, policy = upkeep.fleet, upkeep.fleet.policy
    others = [host for host in upkeep.hosts if host not in turned]
    kept: list[Upkept] = []
    why = ""
    for wave in waves.plan(turned, policy):
        if why:
            kept += [Upkept(host.name, cause=Cause(Trouble.NOT_BEGUN, why)) for host in wave.hosts]
            continue
        now = set_up(f"set up: {wave.title}", wave.hosts)
        kept += now
        failed = [one.host for one in now if one.cause]
        in_all = sum(one.cause is not None for one in kept)
        why = waves.stop_reason(wave.phase, failed, in_all, len(turned), policy, fleet.queen.name)
        if why:
            upkeep.stop(why)
    return [*kept, *(set_up("set up: the other hives", others) if others else ())]


def uninstall(upkeep: Upkeep) -> list[Upkept]:
    """Takes what install put there from the chosen hosts."""
    title = "remove" if upkeep.apply else "look what is to be removed"
    return upkeep.do(title, upkeep.hosts, lambda _: (Step(Verb.UNINSTALL, apply=upkeep.apply),))


def restrict(upkeep: Upkeep, restrictions: Mapping[str, Restriction]) -> list[Upkept]:
    """Brings each of the chosen hosts its agent and sudo rule. No service is touched."""

    def steps_of(host: Host) -> tuple[Step, ...]:
        return (Step(Verb.RESTRICT, apply=upkeep.apply, restriction=restrictions[host.name]),)

    return upkeep.do("restrict" if upkeep.apply else "look what is to be restricted", upkeep.hosts, steps_of)


def come_back(kept: Sequence[Upkept], watch: Watch) -> list[Upkept]:
    """The same, but a host that the restricted login does not reach, as every later run will come, has failed.

    `watch`: the hosts in restricted mode.
    """
    looks = {host.name: reply for host, reply in watch.look().items()}
    return [one if one.cause else replace(one, cause=_cause(looks[one.host])) for one in kept]


def _cause(reply: Reply | Cause) -> Cause | None:
    return reply if isinstance(reply, Cause) else reply.cause


def unrestrict(upkeep: Upkeep) -> list[Upkept]:
    """Takes what restrict put there from the chosen hosts."""
    step = Step(Verb.RESTRICT, apply=upkeep.apply, options=("remove",))
    title = "end the restricted mode" if upkeep.apply else "look what is to be removed"
    return upkeep.do(title, upkeep.hosts, lambda _: (step,))


def _refuse_running(shown: Shown) -> None:
    """A host with a staged token is in the middle of a run, maybe from another bastion."""
    staged = [
        host.name for host, reply in shown.items() if isinstance(reply, Reply) and reply.seen and reply.seen.staged
    ]
    if staged:
        raise UserError(
            f"{', '.join(staged)}: there is a staged token: a rotation is at work, or was cut off",
            hint="wait for it, or finish it with `fab resume` or `fab rollback` where it was begun",
            code=ExitCode.LOCKED,
        )


def _the_token(upkeep: Upkeep, shown: Shown) -> Fingerprint | None:
    """The fleet's token; None for a fleet that has none yet, which only hosts that answer can say."""
    held = {reply.seen.token for reply in shown.values() if isinstance(reply, Reply) and reply.seen} - {None}
    if len(held) > 1:
        raise UserError(
            f"the hosts of fleet {upkeep.fleet.name} have {len(held)} different tokens",
            hint="bring them to one first: `fab reconcile`, or `fab rotate`",
        )
    want = fleets_token(upkeep.fleet, shown)
    silent = [host.name for host, reply in shown.items() if isinstance(reply, Cause) and host not in upkeep.hosts]
    if want is None and silent:
        raise UserError(
            f"no host that answers has a token, and {', '.join(silent)} cannot be asked: is this a new fleet?",
            hint="it must be known whether there is a token before one is made; `fab plan` says what is wrong",
            code=ExitCode.INCOMPLETE,
        )
    return want


def _recalled(upkeep: Upkeep, shown: Shown, want: Fingerprint) -> Token:
    """The fleet's token from a host that proves it; in a fleet that is being set up, from one that has it."""
    holders = holders_of(want, shown)
    found = recalled(upkeep, holders, want)
    if found is None and all(host in upkeep.hosts for host in holders):  # cut off: nobody has served the token yet
        found = next(filter(None, (upkeep.recall(host, want) for host in holders)), None)
    if found is None:
        raise UserError(
            f"no host of fleet {upkeep.fleet.name} proves its token: a host that joins would get one that may not work",
            hint="`fab verify` says what is wrong; mend it, or `fab rotate`",
            code=ExitCode.INCOMPLETE,
        )
    return found
