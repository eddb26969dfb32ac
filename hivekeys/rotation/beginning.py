"""Makes the first event of a run, or of a sitting in which it is taken up again. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hivekeys import __version__
from hivekeys.fleet import Fleet, Host, takes_two
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Resumed, RunStarted
from hivekeys.journal.run import ROTATE, Run
from hivekeys.rotation import windows
from hivekeys.rotation.waves import Wave


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What a run is begun for. `past`: the run that is taken up; `plan`: the approved plan that it carries out."""

    reason: str = ""
    task: str = ROTATE
    past: Run | None = None
    fence: bool = False
    excluded: Collection[str] = ()
    plan: str = ""


def beginning(
    fleet: Fleet, hosts: Sequence[Host], waves: Sequence[Wave], purpose: Purpose, run: str, who: str, now: Moment
) -> RunStarted | Resumed:
    """The event with which the run `run` begins, or is taken up again, on these `hosts` of the fleet."""
    names = tuple(host.name for host in hosts)
    chosen = set(names)
    others = [host.name for host in fleet.hosts if host.name not in chosen]
    clients = tuple(host.name for host in fleet.hosts if host.service.is_client)
    window = windows.words(fleet.windows, now.at)
    order = tuple((wave.phase, tuple(host.name for host in wave.hosts)) for wave in waves)
    left_out = tuple(name for name in others if name not in purpose.excluded)
    cut_out = tuple(name for name in others if name in purpose.excluded)
    if purpose.past:
        every = {host.name for host in fleet.hosts}
        gone = tuple(name for name in purpose.past.hosts if name not in every)
        return Resumed(who, names, order, left_out, now, cut_out, gone, clients, purpose.fence, window)
    return RunStarted(
        run=run,
        task=purpose.task,
        fleet=fleet.name,
        who=who,
        reason=purpose.reason,
        hosts=names,
        waves=order,
        left_out=left_out,
        excluded=cut_out,
        clients=clients,
        fence=purpose.fence,
        window=window,
        version=__version__,
        inventory=fleet.digest,
        passes=purpose.task == ROTATE and takes_two(hosts),
        plan=purpose.plan,
        approvers=fleet.approval.needed if fleet.approval else 0,
        when=now,
    )
