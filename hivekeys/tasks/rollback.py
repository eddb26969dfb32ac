"""`fab rollback`: takes a run back to the tokens from before it."""

from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.turning import EarlierRunOptions
from hivekeys.tasks.options.verb import verb


@verb
def rollback(scope: EarlierRunOptions, change: ChangeOptions, output: OutputOptions, notify: NotifyOptions) -> None:
    """Take a run back to the tokens from before it, while the hosts still have them."""
    from hivekeys.bastion.earlier import gone_back_after, hosts_of, meant_run, refuse_to_go_back
    from hivekeys.bastion.excluding import split_excluded
    from hivekeys.tasks.work.earlier_run import request_for, take_up

    fleet = scope.load()
    past = meant_run(fleet.name, scope.run, scope.state_dir, goes_back=True)
    refuse_to_go_back(past, scope.state_dir)
    hosts, excluded = split_excluded(fleet, hosts_of(fleet, past), (), scope.state_dir)
    request = request_for(past, scope, output, notify, excluded)
    later = gone_back_after(past, scope.state_dir)
    take_up(fleet, hosts, request, "roll_back", later=later, dry_run=change.dry_run)
