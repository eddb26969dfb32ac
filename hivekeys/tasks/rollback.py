"""`fab rollback`: takes a run back to the tokens from before it."""

from hivekeys.errors import UserError
from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.turning import EarlierRunOptions
from hivekeys.tasks.options.verb import verb


@verb
def rollback(scope: EarlierRunOptions, change: ChangeOptions, output: OutputOptions, notify: NotifyOptions) -> None:
    """Take a run back to the tokens from before it, while the hosts still have them."""
    from hivekeys.tasks.work import earlier_run
    from hivekeys.tasks.work.excluding import split_excluded

    fleet = scope.load()
    past = earlier_run.meant_run(fleet.name, scope.run, scope.state_dir, goes_back=True)
    earlier_run.refuse_superseded(past, scope.state_dir)
    if not earlier_run.was_cut_off(past):
        earlier_run.refuse_while_cut_off(fleet.name, scope.state_dir)
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
    hosts, excluded = split_excluded(fleet, earlier_run.hosts_of(fleet, past), "", scope.state_dir)
    request = earlier_run.request_for(past, scope, output, notify, excluded)
    later = earlier_run.gone_back_after(past, scope.state_dir)
    earlier_run.take_up(fleet, hosts, request, "roll_back", later=later, dry_run=change.dry_run)
