"""`fab reconcile`: brings hosts that owe a token to it."""

from hivekeys.errors import UserError
from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.fleet import host_names
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.turning import EarlierRunOptions, ForwardOptions
from hivekeys.tasks.options.verb import verb


@verb
def reconcile(
    scope: EarlierRunOptions,
    forward: ForwardOptions,
    change: ChangeOptions,
    output: OutputOptions,
    notify: NotifyOptions,
) -> None:
    """Bring the hosts that owe the newest token to it, from a host that serves it; the others are only proven."""
    from hivekeys.bastion.earlier import gone_back_after, refuse_superseded, refuse_while_cut_off
    from hivekeys.bastion.excluding import split_excluded
    from hivekeys.journal.past import newest_served, past_run
    from hivekeys.tasks.work.earlier_run import request_for, take_up
    from hivekeys.tasks.work.window import await_window

    fleet = scope.load()
    newest = past_run(fleet.name, scope.run, scope.state_dir)
    refuse_superseded(newest, scope.state_dir)
    refuse_while_cut_off(fleet.name, scope.state_dir)
    past = newest if scope.run else newest_served(fleet.name, scope.state_dir)
    if past is None or past.want is None or past.rolled_back or not past.went_on:
        may_go_back = newest.behind != newest.barred
        hint = "`fab rollback` goes back with the hosts that it did not reach" if may_go_back else "`fab rotate`"
        raise UserError("no run has brought a new token to this fleet: no host owes anything", hint=hint)
    if not past.is_revocation and not change.dry_run:
        await_window(fleet, forward, output)
    hosts, excluded = split_excluded(fleet, fleet.hosts, host_names(fleet, forward.without), scope.state_dir)
    request = request_for(past, scope, output, notify, excluded, forward)
    later = gone_back_after(past, scope.state_dir)
    take_up(fleet, hosts, request, "reconcile", forward.retire_anyway, later, dry_run=change.dry_run)
