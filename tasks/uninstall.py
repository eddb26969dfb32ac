"""`fab uninstall`: takes off hosts what install put there."""

from invoke.context import Context
from invoke.tasks import task

from tasks.engine import Asked, upkeep_of
from tasks.options.frame import CHANGES_HELP, FLEET_HELP, LOGIN_HELP, Told, chosen, finish, verb, with_login
from tasks.options.upkeep import VERBS, confirm_uninstall, show_changes


@task(
    help={
        **FLEET_HELP,
        **LOGIN_HELP,
        "restricted": "only take the restricted mode away: the agent, its sudo rule, its key; no service is touched",
        **CHANGES_HELP,
        "reason": "why, for the record",
    },
    auto_shortflags=False,
)
@verb
def uninstall(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    restricted: bool = False,
    login: str = "",
    become: str = "",
    dry_run: bool = False,
    reason: str = "",
    state_dir: str = "",
    yes: bool = False,
    json: bool = False,
) -> None:
    """Remove what `fab install` put on hosts, and nothing else; their services are stopped."""
    from hivekeys.journal.events import Phase
    from hivekeys.upkeep import install

    found, hosts = with_login(*chosen(fleet, limit, exclude), login, become)
    if not dry_run and not yes and not restricted:
        confirm_uninstall(found.name, [host.name for host in hosts])
    asked = Asked(reason, Told(json), state_dir=state_dir, records=not dry_run)
    with upkeep_of(found, hosts, Phase.UNINSTALL, asked, VERBS, beside_open=restricted) as work:
        code = show_changes(work, install.unrestrict(work) if restricted else install.uninstall(work), json)
    finish(code)
