"""`fab uninstall`: takes off hosts what install put there."""

from dataclasses import dataclass

from hivekeys.errors import UserError
from hivekeys.tasks.options.changes import ChangeOptions, ReasonOption
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions, LoginOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import leave, verb


@dataclass(frozen=True, kw_only=True)
class UninstallOptions:
    """What is removed."""

    front: bool = option(
        "only take nginx away from before the services: clients reach them again, with the same token", default=False
    )

    restricted: bool = option(
        "only take the restricted mode away: the agent, its sudo rule, its key; no service is touched", default=False
    )


@verb
def uninstall(
    scope: HostsOptions,
    login: LoginOptions,
    own: UninstallOptions,
    change: ChangeOptions,
    reason: ReasonOption,
    output: JsonOption,
) -> None:
    """Remove what `install` put on hosts, and nothing else; their services are stopped."""
    from hivekeys.journal.events import Phase
    from hivekeys.tasks.work.request import Request
    from hivekeys.tasks.work.upkeep import VERBS, confirm_open, confirm_uninstall, show_changes, upkeep_of
    from hivekeys.upkeep import front, install

    fleet, hosts = login.apply_to(*scope.load_hosts())
    if own.front and own.restricted:
        raise UserError("--front: --restricted touches no service", hint="first the one, then the other")
    if not own.front and not own.restricted:
        front.refuse_front(hosts, "uninstall")
    if not change.dry_run and not change.yes and not own.restricted and not own.front:
        confirm_uninstall(fleet.name, [host.name for host in hosts])
    request = Request(reason=reason.reason, state_dir=scope.state_dir, records=not change.dry_run)
    hosts = front.with_front(hosts) if own.front else hosts
    bare = front.bare_behind(hosts) if own.front else []
    if bare and not change.dry_run and not change.yes:
        confirm_open(fleet.name, bare)
    with upkeep_of(fleet, hosts, Phase.UNINSTALL, request, VERBS, beside_open=own.restricted) as work:
        if own.front:
            results = front.take_away(work)
        else:
            results = install.unrestrict(work) if own.restricted else install.uninstall(work)
        code = show_changes(work, results, output.json)
    leave(code)
