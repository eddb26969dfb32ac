"""`fab restore`: brings the token of a backup back, by a rotation."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import ExitCode, UserError
from tasks.engine import Asked, runner_of
from tasks.options import foreseeing
from tasks.options.after_run import kept
from tasks.options.excluding import WITHOUT, left
from tasks.options.frame import CHANGES_HELP, FLEET_HELP, NOTICE_HELP, TOLD_HELP, chosen, finish, names, told, verb
from tasks.options.pace import PACE_HELP, RETIRE_ANYWAY, seconds, with_pace
from tasks.options.turning import confirm, refuse_without_queen

if TYPE_CHECKING:
    from hivekeys.backups.backup import Backup
    from hivekeys.fleet import Fleet
    from hivekeys.rotation.crew import Crew
    from hivekeys.token import Fingerprint, Token
from tasks.options.secrets_given import typed_passphrase


@task(
    help={
        **FLEET_HELP,
        **PACE_HELP,
        **TOLD_HELP,
        **NOTICE_HELP,
        "file": "the backup, as `fab backup --list` names it or as a path",
        "identity": "the key that opens it: a file of age-keygen, or an SSH private key",
        "without": WITHOUT,
        "from-elsewhere": "restore it though this bastion has not signed it: an old backup, or another bastion's",
        "allow-missing": "hosts that may be out of reach: they count as debts, and do not stop the others",
        "retire-anyway": RETIRE_ANYWAY,
        "reason": "why, for the record",
        **CHANGES_HELP,
    },
    auto_shortflags=False,
)
@verb
def restore(
    _: Context,
    file: str,
    fleet: str = "",
    limit: str = "",
    exclude: str = "",
    without: str = "",
    identity: str = "",
    from_elsewhere: bool = False,
    canary: str = "",
    batch: str = "",
    max_failures: str = "",
    pause: str = "",
    pause_for_confirmation: bool = False,
    allow_missing: str = "",
    retire_anyway: bool = False,
    reason: str = "",
    state_dir: str = "",
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
    quiet: bool = False,
    events: bool = False,
    on_finish: str = "",
) -> None:
    """Turn the fleet back to the token of a backup: a rotation like any other, with its proofs and its way back."""
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import newest_served, tombstones
    from hivekeys.rotation.course import ROTATION
    from hivekeys.rotation.drive import Drive
    from tasks.terminal.asking import paces

    how = told(json, quiet, events, on_finish)
    found, hosts = chosen(fleet, limit, exclude)
    found = with_pace(found, canary, batch, max_failures)
    hosts, out = left(found, hosts, without, state_dir)
    if (pause_for_confirmation or not yes) and not dry_run and not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for confirmation on", hint="look at `fab plan`, then add --yes")
    missing = names(found, allow_missing)
    refuse_without_queen(found, hosts, out, missing)
    between = seconds("--pause", pause)
    folder = state_folder.folder_for(found.name, state_dir)
    gone = tombstones(folder)
    sealed = _sealed(found, file, gone, folder)
    _refuse_unvouched(sealed, file, from_elsewhere, yes, folder)
    token = _opened(sealed, file, identity, gone, state_folder.fingerprint_key(folder))
    made = f"{sealed.header.made:%Y-%m-%d %H:%M:%S} UTC"
    why = f"restore of the backup of {made}" + (f": {reason}" if reason else "")
    asked = Asked(why, how, state_dir=state_dir, excluded=out)
    if dry_run:
        want = token.fingerprint(state_folder.fingerprint_key(folder))
        foreseeing.plan(found, hosts, asked, lambda runner: _refuse_served(runner, want, file))
        return
    with runner_of(found, hosts, asked) as (runner, show):
        go_on = show.go_on if pause_for_confirmation else None
        plan = replace(ROTATION, may_be_missing=frozenset(missing), pause=between, census=True)
        plan = replace(plan, retire_anyway=retire_anyway)
        drive = Drive(runner, plan, lambda: token, given=True, go_on=go_on)
        if drive.look():
            _refuse_served(runner, runner.fingerprint(token), file)
            if not yes:
                show.plan(runner.run, found, newest_served(found.name, state_dir))
                where = f"to token:{runner.fingerprint(token)} of the backup of {made}"
                confirm(runner, show, where, paces(found.name, state_dir, runner.run.task))
            code = drive.go()
        else:
            code = runner.end()
        show.result(runner.run, found, code, kept(found, runner, code, state_dir))
    finish(code)


def _sealed(fleet: "Fleet", file: str, gone: "dict[Fingerprint, str]", folder: Path) -> "Backup":
    """The backup, unopened, when its header lets it be restored here."""
    from hivekeys.backups import backup
    from hivekeys.backups import folder as backup_folder

    path = Path(file).expanduser()
    in_folder = backup_folder.folder_in(folder) / file
    if "/" not in file and not path.exists() and in_folder.exists():
        path = in_folder
    sealed = backup.parse(backup_folder.read(path, file), file)
    backup.refuse_early(sealed, fleet.name, gone, file)
    return sealed


def _refuse_unvouched(sealed: "Backup", file: str, from_elsewhere: bool, yes: bool, folder: Path) -> None:
    """One that this bastion has not signed is restored only when somebody says so: every host's root can make one."""
    from hivekeys.backups.signature import Maker, maker, signer_id
    from hivekeys.journal import state_folder
    from hivekeys.text.clean import printable
    from tasks.terminal.live import Show

    signer = signer_id(sealed.header)
    said = {
        Maker.ELSEWHERE: f"is signed by {signer}, and not by this bastion",
        Maker.CHANGED: f"was changed, or sealed anew, after {signer} had signed it",
        Maker.NOBODY: "is not signed: anybody may have made it",
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
    """A token that every host has already is no rotation; where only some have it, it is one for the others."""
    if all(host.was == want for host in runner.run.hosts.values() if host.was):
        runner.end(ExitCode.USAGE)
        raise UserError(f"{file}: the fleet has its token already (token:{want})", hint="`fab status` shows every host")
