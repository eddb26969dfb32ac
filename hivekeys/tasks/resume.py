"""`fab resume`: goes on with a run that was interrupted, in its direction."""

from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.fleet import host_names
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.turning import EarlierRunOptions, ForwardOptions
from hivekeys.tasks.options.verb import verb


@verb
def resume(
    scope: EarlierRunOptions,
    forward: ForwardOptions,
    change: ChangeOptions,
    output: OutputOptions,
    notify: NotifyOptions,
) -> None:
    """Go on with a run that was cut off: looks at every host first, makes no second token."""
    from hivekeys.bastion.earlier import hosts_of, is_bound, meant_run, refuse_to_go_on
    from hivekeys.bastion.excluding import split_excluded
    from hivekeys.tasks.work.earlier_run import request_for, take_up
    from hivekeys.tasks.work.window import await_window

    fleet = scope.load()
    past = meant_run(fleet.name, scope.run, scope.state_dir)
    refuse_to_go_on(past, scope.state_dir)
    if is_bound(past) and not change.dry_run:
        await_window(fleet, forward, output)
    hosts, excluded = split_excluded(fleet, hosts_of(fleet, past), host_names(fleet, forward.without), scope.state_dir)
    request = request_for(past, scope, output, notify, excluded, forward)
    take_up(fleet, hosts, request, "resume", forward.retire_anyway, dry_run=change.dry_run)
