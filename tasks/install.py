"""`fab install`: sets hosts up."""

import sys

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.engine import Asked, upkeep_of
from tasks.options import restricting
from tasks.options.frame import CHANGES_HELP, FLEET_HELP, LOGIN_HELP, Told, chosen, finish, verb, with_login
from tasks.options.grounds import FROM_HELP, grounds_of
from tasks.options.upkeep import VERBS, readmitted, show_changes


@task(
    help={
        **FLEET_HELP,
        **LOGIN_HELP,
        "create-account": "create the services' account and group where they are missing",
        "harden": "give the units the hardening lines of the guide as well",
        "plain-file": "let the services read the token file itself, not a systemd credential",
        "readmit": "take the hosts of --limit back that were cut out of the fleet: they were rebuilt since",
        "restricted": "put the agent on the hosts and let the inventory's login run it and nothing else",
        "restrict-key": "with --restricted: let this public key (FILE.pub) start the agent and do nothing else",
        "print-sudoers": "print the rule for sudo that --restricted puts in place; contacts nobody",
        **FROM_HELP,
        **CHANGES_HELP,
        "reason": "why, for the record",
    },
    auto_shortflags=False,
)
@verb
def install(
    _: Context,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    create_account: bool = False,
    harden: bool = False,
    plain_file: bool = False,
    readmit: bool = False,
    restricted: bool = False,
    restrict_key: str = "",
    print_sudoers: bool = False,
    from_: str = "",
    yes: bool = False,
    login: str = "",
    become: str = "",
    dry_run: bool = False,
    reason: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Set hosts up, from "the binary is there" to "proven in the fleet"; what is right already stays untouched."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.events import Phase
    from hivekeys.journal.past import tombstones
    from hivekeys.token import generate
    from hivekeys.upkeep import install

    inventory = chosen(fleet, limit, exclude)
    wanted = {"create-account": create_account, "harden": harden, "plain-file": plain_file}
    options = [name for name, is_wanted in wanted.items() if is_wanted]
    if (restricted or print_sudoers) and options:
        raise UserError(f"--{options[0]}: --restricted touches no service", hint="first the one, then the other")
    if restricted and from_:
        raise UserError("--from: --restricted hands on no token", hint="leave one out")
    if readmit and restricted:
        raise UserError(
            "--readmit: --restricted brings no host its token", hint="first `fab install --readmit` without it"
        )
    if restrict_key and not restricted:
        raise UserError("--restrict-key: expected --restricted with it")
    asked = Asked(reason, Told(json), state_dir=state_dir, records=not dry_run)
    if print_sudoers:
        sys.stdout.write(restricting.sudoers_of(inventory[1]))
        return
    found, hosts = with_login(*inventory, login, become)
    if restricted:
        restricting.refuse_shared(*inventory)
        restrictions = restricting.restrictions_of(inventory[1], restrict_key)
        with upkeep_of(found, hosts, Phase.INSTALL, asked, VERBS) as work:
            kept = install.restrict(work, restrictions)
            kept = kept if dry_run else restricting.come_back(kept, *inventory, state_dir)
            code = show_changes(work, kept, json)
        finish(code)
        return
    grounds = grounds_of(found, from_, yes or dry_run, state_dir)
    back = readmitted(found.name, hosts, readmit, limit, state_dir)
    with upkeep_of(found, hosts, Phase.INSTALL, asked, VERBS, beside_open=False, readmitted=back) as work:
        gone = tombstones(state_folder.folder_for(found.name, state_dir))
        code = show_changes(work, install.install(work, options, generate, gone, grounds), json)
    finish(code)
