"""`fab rollback`: takes a run back to the tokens from before it."""

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.engine import Asked
from tasks.options.earlier_run import (
    HELP,
    gone_back_after,
    hosts_of,
    meant_run,
    refuse_superseded,
    refuse_while_cut_off,
    take_up,
    was_cut_off,
)
from tasks.options.excluding import left
from tasks.options.frame import chosen, told, verb


@task(help=HELP, auto_shortflags=False)
@verb
def rollback(
    _: Context,
    fleet: str = "",
    run: str = "",
    state_dir: str = "",
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
    quiet: bool = False,
    events: bool = False,
    on_finish: str = "",
) -> None:
    """Take a run back to the tokens from before it, while the hosts still have them."""
    how = told(json, quiet, events, on_finish)
    found, _hosts = chosen(fleet, "", "")
    past = meant_run(found.name, run, state_dir, goes_back=True)
    refuse_superseded(past, state_dir)
    if not was_cut_off(past):
        refuse_while_cut_off(found.name, state_dir)
    if past.is_revocation:
        raise UserError(
            f"run {past.id} revoked a token that leaked: it is never taken back",
            hint="`fab resume` or `fab reconcile` goes on with it; `fab rotate` brings a new token",
        )
    if past.retiring:
        raise UserError(
            f"run {past.id} has begun to remove the old tokens: there is no way back",
            hint="`fab resume` finishes a run that was cut off; `fab rotate` brings a new token",
        )
    if not past.has_touched or (past.is_back and not past.is_open):
        on = "`fab resume` goes on with it, or begin anew: `fab rotate`"
        raise UserError(
            f"run {past.id} has nothing to take back" + ("" if past.has_touched else ": it changed no host"),
            hint=on if past.is_open else f"`fab status --run {past.id}` shows how it ended",
        )
    hosts, out = left(found, hosts_of(found, past), "", state_dir)
    asked = Asked(past.reason, how, past=past, state_dir=state_dir, goes_back=True, excluded=out)
    take_up(found, hosts, asked, "roll_back", later=gone_back_after(past, state_dir), dry_run=dry_run)
