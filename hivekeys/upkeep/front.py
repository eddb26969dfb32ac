"""Brings nginx before the services of hosts, and takes it away again.

Each service is started again once, behind its front: it goes as in a rotation, queen, canary, then batches, until one
fails. A host whose proof fails is as it was before.
"""

from collections.abc import Sequence

from hivekeys.errors import UserError
from hivekeys.fleet import Host
from hivekeys.protocol.verbs import Front, Prove, Step
from hivekeys.text.names import fold_names
from hivekeys.upkeep.changes import UpkeepResult
from hivekeys.upkeep.install import in_order, refuse_running
from hivekeys.upkeep.upkeep import Upkeep

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


def front(upkeep: Upkeep, *, remove: bool = False) -> list[UpkeepResult]:
    """Sets the fronts of the chosen hosts up and proves them, or takes them away."""
    shown = upkeep.look(upkeep.fleet.hosts)
    upkeep.refuse_doubles(shown)
    refuse_running(upkeep, shown)
    options = ("remove",) if remove else ()

    def steps(host: Host) -> tuple[Step, ...]:
        change = Front(apply=upkeep.apply, options=options, host=host.name)
        return (change,) if remove or not upkeep.apply else (change, Prove(stable=False))

    if not upkeep.apply:
        title = "look what is to be removed" if remove else "look what is to be set up"
        return upkeep.do(title, upkeep.hosts, steps)
    word = "take away" if remove else "set up"

    def do(title: str, hosts: Sequence[Host]) -> list[UpkeepResult]:
        return upkeep.do(title.replace("set up", word, 1), hosts, steps)

    return in_order(upkeep, upkeep.hosts, do)
