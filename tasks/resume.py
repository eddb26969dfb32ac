"""`fab resume`: goes on with a run that was interrupted, in its direction."""

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.engine import Asked
from tasks.options.earlier_run import FORWARD_HELP, hosts_of, meant_run, refuse_superseded, take_up
from tasks.options.excluding import left
from tasks.options.frame import chosen, told, verb


@task(help=FORWARD_HELP, auto_shortflags=False)
@verb
def resume(
    _: Context,
    fleet: str = "",
    run: str = "",
    without: str = "",
    retire_anyway: bool = False,
    end_survivors: bool = False,
    fence: bool = False,
    state_dir: str = "",
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
    quiet: bool = False,
    events: bool = False,
    on_finish: str = "",
) -> None:
    """Go on with a run that was cut off: looks at every host first, makes no second token."""
    how = told(json, quiet, events, on_finish)
    found, _hosts = chosen(fleet, "", "")
    past = meant_run(found.name, run, state_dir)
    refuse_superseded(past, state_dir)
    if not past.is_open:
        raise UserError(
            f"run {past.id} is over: there is nothing to go on with",
            hint=f"`fab status --run {past.id}` shows how it ended",
        )
    hosts, out = left(found, hosts_of(found, past), without, state_dir)
    asked = Asked(
        past.reason, how, past=past, state_dir=state_dir, ends_survivors=end_survivors, fence=fence, excluded=out
    )
    take_up(found, hosts, asked, "resume", retire_anyway, dry_run=dry_run)
