"""`fab watch`: has auditd note who reads the token."""

from invoke.context import Context
from invoke.tasks import task

from tasks.engine import Asked, upkeep_of
from tasks.options.frame import CHANGES_HELP, FLEET_HELP, LOGIN_HELP, Told, chosen, finish, verb, with_login
from tasks.options.upkeep import VERBS, show_changes


@task(
    help={
        **FLEET_HELP,
        **LOGIN_HELP,
        "remove": "take the rule away again",
        **CHANGES_HELP,
        "reason": "why, for the record",
    },
    auto_shortflags=False,
)
@verb
def watch(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    remove: bool = False,
    login: str = "",
    become: str = "",
    dry_run: bool = False,
    yes: bool = False,
    reason: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Let auditd note on every host who reads the token file, now and after a reboot; a second time changes nothing."""
    from hivekeys.journal.events import Phase
    from hivekeys.protocol.messages import Step, Verb

    found, hosts = with_login(*chosen(fleet, limit, exclude), login, become)
    asked = Asked(reason, Told(json), state_dir=state_dir, records=not dry_run)
    with upkeep_of(found, hosts, Phase.WATCH, asked, VERBS) as work:
        step = Step(Verb.WATCH, apply=work.apply, options=("remove",) if remove else ())
        code = show_changes(work, work.do("watch the token files", hosts, lambda _: (step,)), json)
    finish(code)
