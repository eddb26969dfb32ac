"""`fab plan`: what a rotation would do, read-only; and a plan of it that others can approve."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.changes import ReasonOption
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import HostsOptions, host_names
from hivekeys.tasks.options.output import OutputOptions
from hivekeys.tasks.options.turning import MissingOption, RetireOption
from hivekeys.tasks.options.verb import verb
from hivekeys.tasks.terminal.document import print_document

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet, Host
    from hivekeys.rotation.proposal import Goal
    from hivekeys.text.documents.approvals import Stated


@dataclass(frozen=True, kw_only=True)
class ProposeOptions(MissingOption, RetireOption, ReasonOption):
    """What is proposed, for others to approve."""

    propose: str = option("write the plan to this file, to be signed by who may approve it ([approval])")
    token_file: str = option("propose the token in this file (- is stdin), for `rotate --token-file`")
    backup: str = option("propose the token of this backup, for `restore`")
    run: str = option("state what this run has done (an id, or last), to be approved afterwards; contacts no host")

    @property
    def aimless(self) -> str:
        """An option that says what is proposed, where nothing is; "" for none."""
        if self.propose:
            return ""
        names = ("token_file", "backup", "run", "allow_missing", "retire_anyway", "reason")
        return next((f"--{name.replace('_', '-')}" for name in names if getattr(self, name)), "")


@verb
def plan(scope: HostsOptions, own: ProposeOptions, output: OutputOptions) -> None:
    """Show what a rotation would meet and change, host by host; changes nothing. --propose: for others to approve."""
    from hivekeys.bastion.excluding import split_excluded
    from hivekeys.tasks.work import foreseeing
    from hivekeys.tasks.work.request import Request

    if own.aimless:
        raise UserError(f"{own.aimless} says what is proposed", hint="add --propose FILE")
    fleet, hosts = scope.load_hosts()
    if own.run:
        _state(scope, own, fleet, output.json)
        return
    hosts, excluded = split_excluded(fleet, hosts, (), scope.state_dir)
    lines = _propose(scope, own, fleet, hosts, excluded) if own.propose else []
    foreseeing.plan(fleet, hosts, Request(output=output, state_dir=scope.state_dir, excluded=excluded), lines=lines)


def _propose(
    scope: HostsOptions, own: ProposeOptions, fleet: "Fleet", hosts: "tuple[Host, ...]", excluded: tuple[str, ...]
) -> list[str]:
    """Writes the plan to its file; what is to be typed next."""
    from hivekeys.bastion.approval import scope_of
    from hivekeys.bastion.turning import refuse_without_queen
    from hivekeys.files import destination
    from hivekeys.tasks.work.approving import propose

    path = destination("--propose", own.propose)
    missing = host_names(fleet, own.allow_missing)
    refuse_without_queen(fleet, hosts, excluded, missing)
    goal, verb, last = _goal(own, fleet, scope.state_dir)
    given = {
        "--limit": scope.limit,
        "--exclude": scope.exclude,
        "--allow-missing": own.allow_missing,
        "--token-file": own.token_file,
        "--state-dir": scope.state_dir,
    }
    options = [word for name, value in given.items() if value for word in (name, value)]
    anyway = ["--retire-anyway"] if own.retire_anyway else []
    words = [*options, *anyway, "--approved", str(path), *last]
    planned = scope_of(fleet, hosts, excluded, scope.state_dir, missing=missing, retire_anyway=own.retire_anyway)
    return propose(planned, goal, own.reason, path, verb, words).lines


def _goal(own: ProposeOptions, fleet: "Fleet", state_dir: str) -> "tuple[Goal, str, list[str]]":
    """The token that is proposed, the verb that brings it, and that verb's argument."""
    from hivekeys.bastion import secrets_given
    from hivekeys.bastion.approval import goal_of
    from hivekeys.bastion.earlier import refuse_leaked
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import tombstones
    from hivekeys.rotation.proposal import backup_of
    from hivekeys.tasks.restore import sealed_backup

    if own.token_file and own.backup:
        raise UserError("--token-file and --backup both say which token is proposed", hint="give one of them")
    if own.backup:
        folder = state_folder.folder_for(fleet.name, state_dir)
        sealed, data = sealed_backup(fleet, own.backup, tombstones(folder), folder)
        return backup_of(data, sealed.header.fingerprint.fp6), "restore", [own.backup]
    if not own.token_file:
        return goal_of(fleet, None, state_dir), "rotate", []
    token = secrets_given.new_token(own.token_file)
    refuse_leaked(fleet, token, state_dir, own.token_file)
    return goal_of(fleet, token, state_dir), "rotate", []


def _state(scope: HostsOptions, own: ProposeOptions, fleet: "Fleet", as_json: bool) -> None:
    """Writes what a run has done to its file, and says how that is approved."""
    from hivekeys.bastion.afterwards import stated_run
    from hivekeys.files import destination
    from hivekeys.tasks.work.approving import state
    from hivekeys.text.documents.head import head

    if scope.limit or scope.exclude or own.token_file or own.backup:
        raise UserError("--run states what a whole run has done", hint="leave the other options out")
    path = destination("--propose", own.propose)
    folder = ["--state-dir", scope.state_dir] if scope.state_dir else []
    stated = stated_run(fleet, "" if own.run == "last" else own.run, scope.state_dir)
    written = state(fleet, stated.data, path, folder)
    if not as_json:
        sys.stdout.write("".join(f"{line}\n" for line in written.lines))
        return
    document: Stated = {
        "form": "stated",
        **head(written.words, written.next),
        "fleet": fleet.name,
        "exit_code": int(ExitCode.DONE),
        "run": stated.run,
        "output": str(path),
    }
    print_document(document)
