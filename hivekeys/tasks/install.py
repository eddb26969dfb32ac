"""`fab install`: sets hosts up."""

import sys
from dataclasses import dataclass

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.changes import ChangeOptions, FromOption, ReasonOption
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions, LoginOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import print_document
from hivekeys.text.documents.head import head
from hivekeys.text.documents.upkeep import Sudoers


@dataclass(frozen=True, kw_only=True)
class InstallOptions(FromOption):
    """What is set up."""

    create_account: bool = option("create the services' account and group where they are missing", default=False)
    harden: bool = option("give the units the hardening lines of the guide as well", default=False)
    plain_file: bool = option("let the services read the token file itself, not a systemd credential", default=False)
    readmit: bool = option(
        "readmit the hosts of --limit that were excluded from the fleet: they were rebuilt since", default=False
    )
    front: bool = option(
        'bring nginx before the services of hosts with accepts = "front", and nothing else', default=False
    )
    restricted: bool = option(
        "put the agent on the hosts and let the inventory's login run it and nothing else", default=False
    )
    restrict_key: str = option("with --restricted: let this public key (FILE.pub) start the agent and do nothing else")
    print_sudoers: bool = option(
        "print the rule for sudo that --restricted puts in place; contacts no host", default=False
    )

    @property
    def changes(self) -> list[str]:
        """What is asked for beyond the rule, as the agent names it."""
        wanted = {"create-account": self.create_account, "harden": self.harden, "plain-file": self.plain_file}
        return [name for name, is_wanted in wanted.items() if is_wanted]

    def refuse_mixed(self) -> None:
        """Raises UserError for what excludes each other."""
        beside = [*self.changes, *(["restricted"] if self.restricted else []), *(["readmit"] if self.readmit else [])]
        if self.front and beside:
            raise UserError(f"--{beside[0]}: --front brings nginx alone", hint="first the one, then the other")
        if (self.restricted or self.print_sudoers) and self.changes:
            raise UserError(
                f"--{self.changes[0]}: --restricted touches no service", hint="first the one, then the other"
            )
        if self.restricted and self.from_:
            raise UserError("--from: --restricted hands on no token", hint="leave one out")
        if self.readmit and self.restricted:
            raise UserError(
                "--readmit: --restricted brings no host its token", hint="first `fab install --readmit` without it"
            )
        if self.restrict_key and not self.restricted:
            raise UserError("--restrict-key: expected --restricted with it")


@verb
def install(
    scope: HostsOptions,
    login: LoginOptions,
    own: InstallOptions,
    change: ChangeOptions,
    reason: ReasonOption,
    output: JsonOption,
) -> None:
    """Set hosts up, from "the binary is there" to "proven in the fleet"; what is right already stays untouched."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.events import Phase
    from hivekeys.journal.past import tombstones
    from hivekeys.tasks.work import restricting
    from hivekeys.tasks.work.grounds import grounds_of
    from hivekeys.tasks.work.request import Request
    from hivekeys.tasks.work.upkeep import VERBS, readmitted, show_changes, upkeep_of
    from hivekeys.token import generate
    from hivekeys.upkeep import front, install
    from hivekeys.upkeep.first_token import TokenSource

    inventory = scope.load_hosts()
    own.refuse_mixed()
    if own.print_sudoers:
        _print_sudoers(restricting.sudoers_of(inventory[1]), output.json)
        return
    fleet, hosts = login.apply_to(*inventory)
    request = Request(reason=reason.reason, state_dir=scope.state_dir, records=not change.dry_run)
    if own.restricted:
        restricting.refuse_shared(*inventory)
        restrictions = restricting.restrictions_of(inventory[1], own.restrict_key)
        with upkeep_of(fleet, hosts, Phase.INSTALL, request, VERBS) as work:
            results = install.restrict(work, restrictions)
            results = results if change.dry_run else restricting.come_back(results, *inventory, scope.state_dir)
            code = show_changes(work, results, output.json)
        leave(code)
        return
    if own.front:
        hosts = front.with_front(hosts)
    else:
        front.refuse_front(hosts, "install")
    grounds = grounds_of(fleet, own.from_, change.yes or change.dry_run, scope.state_dir)
    back = readmitted(fleet.name, hosts, own.readmit, scope.limit, scope.state_dir)
    with upkeep_of(fleet, hosts, Phase.INSTALL, request, VERBS, beside_open=own.front, readmitted=back) as work:
        gone = tombstones(state_folder.folder_for(fleet.name, scope.state_dir))
        source = TokenSource(generate, gone, grounds)
        results = front.front(work, source) if own.front else install.install(work, own.changes, source)
        code = show_changes(work, results, output.json)
    leave(code)


def _print_sudoers(text: str, as_json: bool) -> None:
    if not as_json:
        sys.stdout.write(text)
        return
    words = "the rule for sudo that restricted mode needs; no host was contacted"
    document: Sudoers = {"form": "sudoers", **head(words, ""), "exit_code": int(ExitCode.DONE), "text": text}
    print_document(document)
