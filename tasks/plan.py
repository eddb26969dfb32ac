"""`fab plan`: what a rotation would do, read-only."""

from invoke.context import Context
from invoke.tasks import task

from tasks.engine import Asked
from tasks.options import foreseeing
from tasks.options.excluding import left
from tasks.options.frame import FLEET_HELP, TOLD_HELP, chosen, told, verb


@task(help={**FLEET_HELP, **TOLD_HELP}, auto_shortflags=False)
@verb
def plan(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    state_dir: str = "",
    json: bool = False,
    quiet: bool = False,
    events: bool = False,
) -> None:
    """Show what a rotation would meet and change, host by host; changes nothing."""
    how = told(json, quiet, events)
    found, hosts = chosen(fleet, limit, exclude)
    hosts, out = left(found, hosts, "", state_dir)
    foreseeing.plan(found, hosts, Asked(told=how, state_dir=state_dir, excluded=out))
