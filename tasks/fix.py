"""`fab fix`: repairs modes, owners, access lists and directories."""

from invoke.context import Context
from invoke.tasks import task

from tasks.engine import Asked, upkeep_of
from tasks.options.frame import CHANGES_HELP, FLEET_HELP, LOGIN_HELP, Told, chosen, finish, verb, with_login
from tasks.options.grounds import known_token
from tasks.options.upkeep import VERBS, is_over, show_changes


@task(
    help={
        **FLEET_HELP,
        **LOGIN_HELP,
        "apply": "mend it (default: show what would be mended)",
        "record": "also begin the record of runs on a host anew, where it says what cannot be meant",
        "strays": "also remove copies of the token that people, editors and runs that are over have left",
        **CHANGES_HELP,
        "reason": "why, for the record",
    },
    auto_shortflags=False,
)
@verb
def fix(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    apply: bool = False,
    strays: bool = False,
    record: bool = False,
    login: str = "",
    become: str = "",
    dry_run: bool = False,
    yes: bool = False,
    reason: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Mend modes, owners, access lists and directories on every host; shows them first, and restarts nothing."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.events import Phase
    from hivekeys.journal.past import history_of
    from hivekeys.upkeep import upkeep

    found, hosts = with_login(*chosen(fleet, limit, exclude), login, become)
    asked = Asked(reason, Told(json), state_dir=state_dir, records=apply and not dry_run)
    with upkeep_of(found, hosts, Phase.FIX, asked, VERBS) as work:
        known = known_token(found, state_dir)
        last = history_of(state_folder.folder_for(found.name, state_dir)).epoch if record else None
        kept = upkeep.fix(work, strays, lambda run: is_over(found.name, run, state_dir), known, last)
        code = show_changes(work, kept, json)
    finish(code)
