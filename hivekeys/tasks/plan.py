"""`fab plan`: what a rotation would do, read-only."""

from hivekeys.tasks.options.fleet import HostsOptions
from hivekeys.tasks.options.output import OutputOptions
from hivekeys.tasks.options.verb import verb


@verb
def plan(scope: HostsOptions, output: OutputOptions) -> None:
    """Show what a rotation would meet and change, host by host; changes nothing."""
    from hivekeys.bastion.excluding import split_excluded
    from hivekeys.tasks.work import foreseeing
    from hivekeys.tasks.work.request import Request

    fleet, hosts = scope.load_hosts()
    hosts, excluded = split_excluded(fleet, hosts, (), scope.state_dir)
    foreseeing.plan(fleet, hosts, Request(output=output, state_dir=scope.state_dir, excluded=excluded))
