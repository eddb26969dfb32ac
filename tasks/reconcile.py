"""`fab reconcile`: brings hosts that owe a token to it."""

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.engine import Asked
from tasks.options.earlier_run import FORWARD_HELP, gone_back_after, refuse_superseded, refuse_while_cut_off, take_up
from tasks.options.excluding import left
from tasks.options.frame import chosen, told, verb


@task(help=FORWARD_HELP, auto_shortflags=False)
@verb
def reconcile(
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
    """Bring the hosts that owe the newest token to it, from a host that serves it; the others are only proven."""
    from hivekeys.journal.past import newest_served, past_run

    how = told(json, quiet, events, on_finish)
    found, hosts = chosen(fleet, "", "")
    newest = past_run(found.name, run, state_dir)
    refuse_superseded(newest, state_dir)
    refuse_while_cut_off(found.name, state_dir)
    past = newest if run else newest_served(found.name, state_dir)
    if past is None or past.want is None or past.rolled_back or not past.went_on:
        may_go_back = newest.behind != newest.barred
        hint = "`fab rollback` goes back with the hosts that it did not reach" if may_go_back else "`fab rotate`"
        raise UserError("no run has brought a new token to this fleet: no host owes anything", hint=hint)
    hosts, out = left(found, hosts, without, state_dir)
    asked = Asked(
        past.reason, how, past=past, state_dir=state_dir, ends_survivors=end_survivors, fence=fence, excluded=out
    )
    take_up(found, hosts, asked, "reconcile", retire_anyway, gone_back_after(past, state_dir), dry_run=dry_run)
