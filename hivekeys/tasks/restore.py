"""`fab restore`: brings the token of a backup back, by a rotation."""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.changes import ChangeOptions, ReasonOption
from hivekeys.tasks.options.declared import argument, option
from hivekeys.tasks.options.fleet import HostsOptions, host_names
from hivekeys.tasks.options.output import NotifyOptions, OutputOptions
from hivekeys.tasks.options.pace import PaceOptions
from hivekeys.tasks.options.turning import TurnOptions
from hivekeys.tasks.options.verb import leave, verb

if TYPE_CHECKING:
    from hivekeys.backups.backup import Backup
    from hivekeys.fleet import Fleet
    from hivekeys.rotation.crew import Crew
    from hivekeys.token import Fingerprint, Token


@dataclass(frozen=True, kw_only=True)
class RestoreOptions(TurnOptions, ReasonOption):
    """Which backup, and what opens it."""

    file: str = argument("the backup, as `fab backup --list` names it or as a path")
    identity: str = option("the key that opens it: a file of age-keygen, or an SSH private key")
    from_elsewhere: bool = option(
        "restore it though this bastion has not signed it: an old backup, or another bastion's", default=False
    )


@verb
def restore(
    scope: HostsOptions,
    own: RestoreOptions,
    pace: PaceOptions,
    change: ChangeOptions,
    output: OutputOptions,
    notify: NotifyOptions,
) -> None:
    """Turn the fleet back to the token of a backup: a rotation like any other, with its proofs and its way back."""
    from hivekeys.bastion.approval import is_awaited, refusal
    from hivekeys.bastion.excluding import split_excluded
    from hivekeys.bastion.turning import refuse_without_queen
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import tombstones
    from hivekeys.rotation.drive import Drive
    from hivekeys.rotation.proposal import backup_of
    from hivekeys.tasks.work import foreseeing
    from hivekeys.tasks.work.approving import approved_for, carrying_out
    from hivekeys.tasks.work.request import Request
    from hivekeys.tasks.work.run import runner_of
    from hivekeys.tasks.work.turning import plan_of, refuse_without_terminal, turn
    from hivekeys.tasks.work.window import await_window

    fleet, hosts = scope.load_hosts()
    fleet = pace.apply_to(fleet)
    hosts, excluded = split_excluded(fleet, hosts, host_names(fleet, own.without), scope.state_dir)
    refuse_without_terminal(pace, change)
    missing = host_names(fleet, own.allow_missing)
    refuse_without_queen(fleet, hosts, excluded, missing)
    plan = plan_of(own, pace, missing, fleet)
    folder = state_folder.folder_for(fleet.name, scope.state_dir)
    gone = tombstones(folder)
    sealed, data = sealed_backup(fleet, own.file, gone, folder)
    _refuse_unvouched(sealed, own.file, own.from_elsewhere, change.yes, folder)
    approved = approved_for(fleet, hosts, excluded, own, scope.state_dir)
    if not change.dry_run:
        if is_awaited(fleet, own.approved):
            raise refusal(fleet, "restore")
        await_window(fleet, own, output)
    key = state_folder.fingerprint_key(folder)
    token = _opened(sealed, own.file, own.identity, gone, key)
    want, made = token.fingerprint(key), f"{sealed.header.made:%Y-%m-%d %H:%M:%S} UTC"
    request = Request(
        reason=f"restore of the backup of {made}" + (f": {own.reason}" if own.reason else ""),
        output=output,
        on_finish=notify.command,
        log=notify.log,
        state_dir=scope.state_dir,
        excluded=excluded,
        meters=own.meters(hosts),
    )
    request = carrying_out(request, approved, backup_of(data, sealed.header.fingerprint.fp6))
    check = functools.partial(_refuse_served, want=want, file=own.file)
    if change.dry_run:
        foreseeing.plan(fleet, hosts, request, check)
        return
    with runner_of(fleet, hosts, request) as (runner, show):
        drive = Drive(
            runner, plan, lambda: token, given=True, go_on=show.go_on if pace.pause_for_confirmation else None
        )
        question = "" if change.yes else f"to token:{want} of the backup of {made}"
        code = turn(runner, show, drive, check, question, scope.state_dir)
    leave(code)


def sealed_backup(fleet: "Fleet", file: str, gone: "dict[Fingerprint, str]", folder: Path) -> "tuple[Backup, bytes]":
    """The backup, unopened, when its header lets it be restored here; and the bytes of its file."""
    from hivekeys.backups import backup
    from hivekeys.backups import folder as backup_folder

    path = Path(file).expanduser()
    in_folder = backup_folder.folder_in(folder) / file
    if "/" not in file and not path.exists() and in_folder.exists():
        path = in_folder
    data = backup_folder.read(path, file)
    sealed = backup.parse(data, file)
    backup.refuse_early(sealed, fleet.name, gone, file)
    return sealed, data


def _refuse_unvouched(sealed: "Backup", file: str, from_elsewhere: bool, yes: bool, folder: Path) -> None:
    """Refuses a backup that this bastion did not sign, unless the operator says so: root on every host can make one."""
    from hivekeys.backups.signature import Maker, maker, signer_id
    from hivekeys.journal import state_folder
    from hivekeys.tasks.terminal.live import Show
    from hivekeys.text.clean import printable

    signer = signer_id(sealed.header)
    said = {
        Maker.ELSEWHERE: f"is signed by {signer}, and not by this bastion",
        Maker.CHANGED: f"was changed, or sealed anew, after {signer} had signed it",
        Maker.NOBODY: "is not signed: anyone may have made it",
    }.get(maker(sealed, state_folder.signing_key(folder).public_key()))
    if said is None:
        return
    if from_elsewhere:
        sys.stderr.write(f"hivekeys: warning: {printable(file)}: {said}\n")
    elif yes or not sys.stdin.isatty():
        hint = "if you know where it comes from: --from-elsewhere (`fab evidence --public-key` there shows its key)"
        raise UserError(f"{file}: {said}", hint=hint)
    elif not Show().agrees(f"{printable(file)} {said}. Restore its token all the same? [y/N] "):
        raise UserError("not confirmed: nothing was opened and no host contacted")


def _opened(sealed: "Backup", file: str, identity: str, gone: "dict[Fingerprint, str]", key: bytes) -> "Token":
    """The token of a backup, in memory, when it is what the header says and was not revoked."""
    from hivekeys import age
    from hivekeys.backups import backup
    from hivekeys.bastion.secrets_given import typed_passphrase
    from hivekeys.token import refuse_revoked

    if backup.PASSPHRASE in sealed.kinds:
        if identity:
            raise UserError(f"{file}: is sealed with a passphrase, not for a key", hint="leave --identity out")
        opened = age.unseal_by_passphrase(sealed.block.encode(), typed_passphrase(f"Passphrase of {file}: "), file)
    elif not identity:
        raise UserError(f"{file}: is sealed for {', '.join(sealed.kinds)}", hint="name the key with --identity FILE")
    else:
        opened = age.unseal(sealed.block, age.identities(identity, typed_passphrase), file)
    token = backup.token_in(sealed, opened, key, file)
    refuse_revoked(token.fingerprint(key), gone, file)  # the header's may be another bastion's
    return token


def _refuse_served(runner: "Crew", want: "Fingerprint", file: str) -> None:
    """Refuses a token that every host has already; where only some have it, the others get it."""
    if all(host.was == want for host in runner.run.hosts.values() if host.was):
        runner.end(ExitCode.USAGE)
        raise UserError(f"{file}: the fleet has its token already (token:{want})", hint="`fab status` shows every host")
