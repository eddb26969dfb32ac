"""`fab fix`: repairs modes, owners, access lists and directories."""

from dataclasses import dataclass

from hivekeys.tasks.options.changes import ChangeOptions, ReasonOption
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions, LoginOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import leave, verb


@dataclass(frozen=True, kw_only=True)
class FixOptions:
    """What is repaired."""

    apply: bool = option("repair it (default: show what would be repaired)", default=False)
    strays: bool = option(
        "also remove copies of the token that people, editors and runs that are over have left", default=False
    )
    record: bool = option(
        "also begin the record of runs on a host anew, where it says what cannot be meant", default=False
    )


@verb
def fix(
    scope: HostsOptions,
    login: LoginOptions,
    own: FixOptions,
    change: ChangeOptions,
    reason: ReasonOption,
    output: JsonOption,
) -> None:
    """Mend modes, owners, access lists and directories on every host; shows them first, and restarts nothing."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.events import Phase
    from hivekeys.journal.past import history_of
    from hivekeys.tasks.work.grounds import known_token
    from hivekeys.tasks.work.request import Request
    from hivekeys.tasks.work.upkeep import VERBS, is_over, show_changes, upkeep_of
    from hivekeys.upkeep import upkeep

    fleet, hosts = login.apply_to(*scope.load_hosts())
    records = own.apply and not change.dry_run
    request = Request(reason=reason.reason, state_dir=scope.state_dir, records=records)
    with upkeep_of(fleet, hosts, Phase.FIX, request, VERBS) as work:
        known = known_token(fleet, scope.state_dir)
        last = history_of(state_folder.folder_for(fleet.name, scope.state_dir)).epoch if own.record else None
        results = upkeep.fix(work, own.strays, lambda run: is_over(fleet.name, run, scope.state_dir), known, last)
        code = show_changes(work, results, output.json)
    leave(code)
