"""Brings nginx before the services of hosts, and takes it away again.

Each service is started again once, behind its front: it goes as in a rotation, queen, canary, then batches, until one
fails. A host whose proof fails is as it was before.
"""

from collections.abc import Sequence

from hivekeys.errors import UserError
from hivekeys.fleet import Host
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.verbs import Front, Prove, Step
from hivekeys.text.names import fold_names
from hivekeys.upkeep.changes import UpkeepResult
from hivekeys.upkeep.first_token import TokenSource, token_for
from hivekeys.upkeep.install import in_order, refuse_running
from hivekeys.upkeep.upkeep import Replies, Upkeep

HINT = (
    'accepts = "front" and a table `front` in [services.hive], or in the `service` of a host, say what comes before it'
)


def with_front(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Those of the hosts that have a front in the inventory; UserError where none has."""
    found = tuple(host for host in hosts if host.service.front)
    if not found:
        raise UserError(f"{fold_names(host.name for host in hosts)}: no front in the inventory", hint=HINT)
    return found


def refuse_front(hosts: Sequence[Host], verb: str) -> None:
    """Raises UserError for hosts with a front, where a verb is about the services themselves."""
    found = [host.name for host in hosts if host.service.front]
    if found and verb == "install":
        hint = (
            "--front brings nginx before a service that works; one that joins is installed before that, with "
            'service = { accepts = "one" } in its entry; others are left out with --exclude'
        )
        raise UserError(f"{fold_names(found)}: clients reach a front there, which has the fleet's token", hint=hint)
    if found:
        raise UserError(f"{fold_names(found)}: there is a front", hint=f"first `fab {verb} --front`, then this again")


def front(upkeep: Upkeep, source: TokenSource) -> list[UpkeepResult]:
    """Sets the fronts of the chosen hosts up and proves them.

    A service that asks for a token has the fleet's, and its front takes that over; other fronts are brought it.
    """
    shown = _observed(upkeep)
    bare = [host for host in upkeep.hosts if _is_bare(host) and _lacks(shown[host])]
    if bare:
        _refuse_hidden(upkeep, shown)
    want = token_for(upkeep, shown, source)[0] if bare else None

    def steps(host: Host) -> tuple[Step, ...]:
        change = Front(apply=upkeep.apply, host=host.name, want=want if host in bare else None)
        return (change, Prove(stable=False)) if upkeep.apply else (change,)

    if not upkeep.apply:
        return upkeep.do("look what is to be set up", upkeep.hosts, steps)
    return in_order(upkeep, upkeep.hosts, lambda title, hosts: upkeep.do(title, hosts, steps))


def take_away(upkeep: Upkeep) -> list[UpkeepResult]:
    """Takes the fronts of the chosen hosts away: clients reach the services themselves."""
    _observed(upkeep)

    def steps(host: Host) -> tuple[Step, ...]:
        return (Front(apply=upkeep.apply, options=("remove",), host=host.name),)

    if not upkeep.apply:
        return upkeep.do("look what is to be removed", upkeep.hosts, steps)

    def do(title: str, hosts: Sequence[Host]) -> list[UpkeepResult]:
        return upkeep.do(title.replace("set up", "take away", 1), hosts, steps)

    return in_order(upkeep, upkeep.hosts, do)


def bare_behind(hosts: Sequence[Host]) -> list[str]:
    """Those of the hosts whose service lets in everybody who reaches it: its front alone asks for a token."""
    return [host.name for host in hosts if _is_bare(host)]


def _is_bare(host: Host) -> bool:
    return host.service.front is not None and not host.service.front.own_token


def _observed(upkeep: Upkeep) -> Replies:
    """What every host of the fleet shows. Raises UserError where nothing may be changed now."""
    shown = upkeep.look(upkeep.fleet.hosts)
    upkeep.refuse_doubles(shown)
    refuse_running(upkeep, shown)
    return shown


def _lacks(reply: Reply | Cause) -> bool:
    """True for a host that shows no token."""
    return isinstance(reply, Reply) and reply.seen is not None and reply.seen.active is None


def _refuse_hidden(upkeep: Upkeep, shown: Replies) -> None:
    """A token that is still in the hands of a service is shown by no front: it must not be taken for a new fleet."""
    fleet = upkeep.fleet
    hidden = [host.name for host in fleet.hosts if host.service.front and not _is_bare(host) and _lacks(shown[host])]
    if hidden:
        raise UserError(
            f"{fold_names(hidden)}: the service has the fleet's token, and there is no front yet",
            hint=f"first `fab install --fleet {fleet.name} --front --limit {fold_names(hidden)}`, then this again",
        )
