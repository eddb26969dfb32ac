"""Brings hosts into the fleet and takes them out, also into and out of restricted mode.

What works must stay working: a service that ran is proven again, and if the proof fails, the changes are undone.
The token in the environment is removed only after that proof: a service may read nothing else (llama-orch.md, v0.1.0).

A new fleet gets a token made here; a host that joins gets the fleet's own, from a host that has just proven it, through
this run's memory. Where services that run have to be restarted, it goes as in a rotation: queen, canary, then batches,
until one fails. All other hosts are set up at once, and no host's failure stops another's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Host
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.change import Change
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.restriction import Restriction
from hivekeys.protocol.verbs import Accept, Install, Prove, Restart, Restrict, Step, Uninstall, Verb
from hivekeys.rotation import waves
from hivekeys.rotation.steps import Goal, Stance, steps_to
from hivekeys.service import Accepts
from hivekeys.text.names import fold_names
from hivekeys.token import Fingerprint
from hivekeys.upkeep.changes import UpkeepResult
from hivekeys.upkeep.first_token import TokenSource, token_for
from hivekeys.upkeep.inheritance import Inheritance, inheritance
from hivekeys.upkeep.upkeep import Ask, Replies, Upkeep
from hivekeys.verify.survey import Watch

KEEPS = "keep-environment"  # parts that a service may still need stay until it was proven on the file
RELOADED = ("unit", "token", "environment", "account")  # parts that the service must be started again for


def install(
    upkeep: Upkeep,
    options: Sequence[str],
    source: TokenSource,
) -> list[UpkeepResult]:
    """Sets the chosen hosts up and proves them.

    Raises UserError where it is not known which token they shall get, where too few hosts prove it, or where it leaked.
    """
    shown = upkeep.look(upkeep.fleet.hosts)
    upkeep.refuse_doubles(shown)
    refuse_running(upkeep, shown)
    want, token = token_for(upkeep, shown, source)

    step = Install(want=want, apply=upkeep.apply, options=tuple(options))
    if not upkeep.apply or want is None:
        return upkeep.do("look what is to be set up", upkeep.hosts, lambda _: (step,))
    inherited = inheritance(upkeep, _members(shown), token) if token else Inheritance()
    joins = [host for host in upkeep.hosts if host not in _members(shown)]

    def set_up(title: str, hosts: Sequence[Host]) -> list[UpkeepResult]:
        careful = replace(step, options=(*step.options, KEEPS))
        joining = {host: replace(careful, stones=inherited.stones) for host in hosts if host in joins}
        return upkeep.do(title, hosts, lambda host: (joining.get(host, careful),), partial(_prove, want, step))

    after = partial(_after, want)
    found = upkeep.look(upkeep.hosts, replace(step, apply=False))
    turned = [host for host in upkeep.hosts if host == upkeep.fleet.queen or _is_interrupted(host, found[host], after)]
    return _with_doubts(in_order(upkeep, turned, set_up), inherited, [host.name for host in joins])


def _members(shown: Replies) -> list[Host]:
    """The hosts whose own record says that they belong to the fleet; a re-imaged host has no record."""
    return [
        host
        for host, reply in shown.items()
        if isinstance(reply, Reply) and reply.host_record and reply.host_record.fleet
    ]


def _with_doubts(kept: Sequence[UpkeepResult], inherited: Inheritance, joins: Sequence[str]) -> list[UpkeepResult]:
    """The results; those of joining hosts also say which tombstones they were not given."""
    whys = []
    if inherited.denied_by:
        whys.append(
            f"{inherited.denied_by} alone has a tombstone for the fleet's own token: none of its tombstones were taken"
        )
    if inherited.left:
        whys.append(f"{inherited.left} more are too many: the newest are given")
    doubts = [Change("tombstones", "/var/lib/hivekeys/tombstones", "", "", why) for why in whys]
    return [replace(one, changes=(*one.changes, *doubts)) if one.host in joins else one for one in kept]


def _after(want: Fingerprint, host: Host, reply: Reply) -> tuple[Step, ...]:
    """What a host that is set up still needs: a restart if its service read something else, and a proof."""
    if reply.seen is None:
        return ()
    steps = steps_to(Goal(Stance.SERVING, want), reply.seen, host.service)
    restart = Restart()
    if host.service.accepts is Accepts.LINES and reply.seen.accepted is None:  # it may read nothing else
        return (Accept((want,)), restart, *(step for step in steps if step != restart))
    again = host.service.unit and _needs_restart(reply) and restart not in steps
    return (restart, *steps) if again else steps


def _needs_restart(reply: Reply) -> bool:
    return any(change.part in RELOADED and not change.refused for change in reply.changes)


def _prove(
    want: Fingerprint, step: Step, host: Host, done: Reply, ask: Ask
) -> tuple[Reply | Cause, tuple[Change, ...]]:
    """Restarts the service if needed and proves it; if it ran before and the proof fails, undoes the changes."""
    steps = _after(want, host, done)
    reply = ask(*steps) if steps else done
    ran = done.seen is not None and done.seen.unit.state == "active"
    if isinstance(reply, Cause) or (reply.cause and not (ran and _needs_restart(done))):
        return reply, done.changes
    if reply.cause is None:
        return _tidied(step, done, reply, ask)
    back = ask(Uninstall(apply=True, options=("last",)), Restart(), Prove(want))
    works = isinstance(back, Reply) and back.proof is not None and back.proof.calls.get("new") == 200
    why = "it did not load the file" if reply.cause.trouble is Trouble.NEW_REFUSED else reply.cause.trouble.value
    after = "it works as before" if works else "it does not work as before: look at it"
    undone = isinstance(back, Reply) and bool(back.changes) and not any(change.refused for change in back.changes)
    reads = "this program does not read the file: " if reply.cause.trouble is Trouble.NEW_REFUSED else ""
    words = f"{reads}{reply.cause.detail}; what was done is {'' if undone else 'NOT '}undone, {after}"
    changes = tuple(replace(change, refused=change.refused or f"undone: {why}") for change in done.changes)
    return replace(reply, cause=Cause(reply.cause.trouble, words)), changes if undone else done.changes


def _tidied(step: Step, done: Reply, proven: Reply, ask: Ask) -> tuple[Reply | Cause, tuple[Change, ...]]:
    """Removes the token from the environment, which no service needs any more, where that is possible."""
    if not any(change.part == "environment" for change in done.changes):
        return proven, done.changes
    last = ask(step)
    if isinstance(last, Cause):
        return last, done.changes
    kept = tuple(change for change in done.changes if change.part != "environment")
    return replace(proven, cause=last.cause), (*kept, *last.changes)


def _is_interrupted(host: Host, found: Reply | Cause, after: Callable[[Host, Reply], tuple[Step, ...]]) -> bool:
    """True for a host whose service runs and will be restarted."""
    if isinstance(found, Cause) or found.cause or found.seen is None or found.seen.unit.state != "active":
        return False
    return any(step.verb is Verb.RESTART for step in after(host, found))


def in_order(
    upkeep: Upkeep, turned: Sequence[Host], set_up: Callable[[str, Sequence[Host]], list[UpkeepResult]]
) -> list[UpkeepResult]:
    """The queen and the hosts that are `turned`, wave by wave, until one fails; then the others."""
    fleet, policy = upkeep.fleet, upkeep.fleet.policy
    others = [host for host in upkeep.hosts if host not in turned]
    kept: list[UpkeepResult] = []
    why = ""
    for wave in waves.plan(turned, policy):
        if why:
            kept += [UpkeepResult(host.name, cause=Cause(Trouble.NOT_BEGUN, why)) for host in wave.hosts]
            continue
        now = set_up(f"set up: {wave.title}", wave.hosts)
        kept += now
        failed = [one.host for one in now if one.cause]
        in_all = sum(one.cause is not None for one in kept)
        why = waves.stop_reason(wave.phase, failed, in_all, len(turned), policy, fleet.queen.name)
        if why:
            upkeep.stop(why)
    return [*kept, *(set_up("set up: the other hosts", others) if others else ())]


def uninstall(upkeep: Upkeep) -> list[UpkeepResult]:
    """Takes what install put there from the chosen hosts. Raises UserError where one is another host's machine."""
    upkeep.refuse_doubles(upkeep.look(upkeep.fleet.hosts))
    title = "remove" if upkeep.apply else "look what is to be removed"
    return upkeep.do(title, upkeep.hosts, lambda _: (Uninstall(apply=upkeep.apply),))


def restrict(upkeep: Upkeep, restrictions: Mapping[str, Restriction]) -> list[UpkeepResult]:
    """Brings each of the chosen hosts its agent and sudo rule. No service is touched."""

    def steps_of(host: Host) -> tuple[Step, ...]:
        return (Restrict(apply=upkeep.apply, restriction=restrictions[host.name]),)

    return upkeep.do("restrict" if upkeep.apply else "look what is to be restricted", upkeep.hosts, steps_of)


def come_back(kept: Sequence[UpkeepResult], watch: Watch) -> list[UpkeepResult]:
    """The same, but a host that the restricted login does not reach, as every later run will come, has failed.

    `watch`: the hosts in restricted mode.
    """
    looks = {host.name: reply for host, reply in watch.look().items()}
    return [one if one.cause else replace(one, cause=_cause(looks[one.host])) for one in kept]


def _cause(reply: Reply | Cause) -> Cause | None:
    return reply if isinstance(reply, Cause) else reply.cause


def unrestrict(upkeep: Upkeep) -> list[UpkeepResult]:
    """Takes what restrict put there from the chosen hosts."""
    step = Restrict(apply=upkeep.apply, options=("remove",))
    title = "end the restricted mode" if upkeep.apply else "look what is to be removed"
    return upkeep.do(title, upkeep.hosts, lambda _: (step,))


def refuse_running(upkeep: Upkeep, shown: Replies) -> None:
    """A staged token is a run's at work, maybe from another bastion. A host that is not to be set up may be lying."""
    seen = {host: reply.seen for host, reply in shown.items() if isinstance(reply, Reply) and reply.seen}
    staged = [host for host, look in seen.items() if look.staged]
    if len(staged) > 1 or any(host == upkeep.fleet.queen or host in upkeep.hosts for host in staged):
        names = fold_names(host.name for host in staged)
        raise UserError(
            f"{names}: there is a staged token: a rotation is at work, or was cut off",
            hint="wait for it, or finish it with `fab resume` or `fab rollback` where it was begun",
            code=ExitCode.LOCKED,
        )
