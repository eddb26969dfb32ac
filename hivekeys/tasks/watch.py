"""`fab watch`: has auditd note who reads the token."""

from dataclasses import dataclass

from hivekeys.tasks.options.changes import ChangeOptions, ReasonOption
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions, LoginOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import leave, verb


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Whether the rule comes or goes."""

    remove: bool = option("take the rule away again", default=False)


@verb
def watch(
    scope: HostsOptions,
    login: LoginOptions,
    own: WatchOptions,
    change: ChangeOptions,
    reason: ReasonOption,
    output: JsonOption,
) -> None:
    """Let auditd note on every host who reads the token file, now and after a reboot; a second time changes nothing."""
    from hivekeys.journal.events import Phase
    from hivekeys.protocol.verbs import Watch
    from hivekeys.tasks.work.request import Request
    from hivekeys.tasks.work.upkeep import VERBS, show_changes, upkeep_of

    fleet, hosts = login.apply_to(*scope.load_hosts())
    request = Request(reason=reason.reason, state_dir=scope.state_dir, records=not change.dry_run)
    with upkeep_of(fleet, hosts, Phase.WATCH, request, VERBS) as work:
        step = Watch(apply=work.apply, options=("remove",) if own.remove else ())
        results = work.do("watch the token files", hosts, lambda _: (step,))
        code = show_changes(work, results, output.json)
    leave(code)
