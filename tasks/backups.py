"""`fab backup` and `fab restore`: the fleet's token into an encrypted file, and back by a rotation."""

import json as jsonlib
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import ExitCode, UserError
from tasks import foreseeing, secrets_given
from tasks.engine import Asked, runner_of, upkeep_of
from tasks.excluding import WITHOUT, left
from tasks.frame import CHANGES_HELP, FLEET_HELP, NOTICE_HELP, TOLD_HELP, Told, chosen, finish, names, told, verb
from tasks.grounds import FROM_HELP, grounds_of
from tasks.keeping import kept
from tasks.pace import PACE_HELP, RETIRE_ANYWAY, seconds, with_pace
from tasks.rotation import confirm, refuse_without_queen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hivekeys.age import Recipients
    from hivekeys.backups.backup import Backup
    from hivekeys.backups.folder import Order
    from hivekeys.backups.shelf import Taken
    from hivekeys.fleet import Fleet, Host
    from hivekeys.rotation.crew import Crew
    from hivekeys.token import Fingerprint, Token

# Imports inside the functions below: SSH, pydantic, rich and age take time that `fab --list` has not.

HELP = {name: FLEET_HELP[name] for name in ("fleet", "state-dir", "json")}


@task(
    help={
        **HELP,
        "to": "for whom: age1…, an SSH public key, or a file of them; again or with commas for several "
        "(default: `to` of [backup] in the inventory)",
        "passphrase": "seal it with a passphrase instead, asked on the terminal",
        "output": "write to this file instead of the fleet's folder of backups",
        "keep": "how many backups of the folder stay (default: `keep` of [backup], else all)",
        "list": "show the backups in the fleet's folder, contact nobody",
        **FROM_HELP,
        "dry-run": "show which token would be sealed for whom, and where; it is not read, and nothing is written",
        "reason": "why, for the record",
    },
    iterable=["to"],
    auto_shortflags=False,
)
@verb
def backup(
    _: Context,
    fleet: str = "",
    to: "Sequence[str] | None" = None,
    passphrase: bool = False,
    output: str = "",
    keep: str = "",
    list: bool = False,
    from_: str = "",
    dry_run: bool = False,
    yes: bool = False,
    reason: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Seal the fleet's token for the holders of some keys, read from a host that proves it; or list what there is."""
    from hivekeys.journal.past import tombstones  # noqa: PLC0415

    found, hosts = chosen(fleet, "", "")
    if list:
        _show_list(found, state_dir, json)
        return
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.journal.events import Phase  # noqa: PLC0415
    from hivekeys.upkeep.current_token import current, proven  # noqa: PLC0415

    order = _order(found, to or (), passphrase, output, keep)
    asked = Asked(reason, Told(json), state_dir=state_dir, records=not dry_run)
    grounds = grounds_of(found, from_, yes or dry_run, state_dir)
    with upkeep_of(found, hosts, Phase.BACKUP, asked, ("tombstones",), beside_open=False, only_asks=True) as work:
        title = f"read the token, to be sealed for {order.whom}"
        gone = tombstones(state_folder.folder_for(found.name, state_dir))
        if dry_run:
            _tell_foreseen(*proven(work, title, gone, grounds), order, json)
            work.end(ExitCode.DONE)
            return
        token = current(work, title, gone, grounds)
        taken = _put(found, token, order, state_dir)
        code = work.end(ExitCode.INCOMPLETE if taken.why else ExitCode.DONE)
    _tell(taken, json)
    finish(code)


def _order(fleet: "Fleet", to: "Sequence[str]", by_passphrase: bool, output: str, keep: str) -> "Order":
    """What was asked for, checked before any host is contacted; a passphrase is asked for when all else is right."""
    from hivekeys import age  # noqa: PLC0415
    from hivekeys.backups import folder as backup_folder  # noqa: PLC0415

    texts = [text for given in to for text in given.split(",") if text.strip()]
    if texts and by_passphrase:
        raise UserError("--to and --passphrase: the age format has one or the other", hint="leave one out")
    if keep and output:
        raise UserError("--keep is for the fleet's folder of backups", hint="leave --keep or --output out")
    if keep and not (keep.isascii() and keep.isdigit() and int(keep[:6]) > 0 and len(keep) < 6):
        raise UserError(f"--keep: found {keep!r}, expected how many backups stay, 1 or more")
    if output:
        backup_folder.free(Path(output).expanduser())
    if not (texts or by_passphrase or fleet.backup.to):
        raise UserError(
            "for whom is the token to be sealed?",
            hint="--to age1… (make a key with age-keygen), --to ~/.ssh/id_ed25519.pub, or --passphrase",
        )
    limit = int(keep) if keep else None if output else fleet.backup.keep
    whom = _new_passphrase() if by_passphrase else age.recipients(texts or fleet.backup.to)
    return backup_folder.Order(whom, output, limit)


def _put(fleet: "Fleet", token: "Token", order: "Order", state_dir: str) -> "Taken":
    from hivekeys.backups import folder as backup_folder  # noqa: PLC0415
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.journal.past import past_runs  # noqa: PLC0415

    folder = state_folder.folder_for(fleet.name, state_dir)
    key = state_folder.fingerprint_key(folder)
    want = token.fingerprint(key)
    run = next((run.id for run in past_runs(fleet.name, state_dir) if run.want == want and run.is_served), "")
    signer = state_folder.signing_key(folder)
    return backup_folder.put(token, key, fleet.name, run, time.time(), order=order, state=folder, signer=signer)


def _tell(taken: "Taken", json: bool) -> None:
    from tasks.live import Show  # noqa: PLC0415

    if json:
        sys.stdout.write(jsonlib.dumps(taken.document(), indent=2) + "\n")
        return
    show = Show()
    for line in taken.lines():
        show.line(line)


def _tell_foreseen(want: "Fingerprint", holders: "Sequence[Host]", order: "Order", json: bool) -> None:
    from hivekeys.text.names import fold_names  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    where = order.output or "the fleet's folder of backups"
    if json:
        document = {"dry_run": True, "token": want.fp6, "from": [host.name for host in holders], "to": str(order.whom)}
        sys.stdout.write(jsonlib.dumps({**document, "output": order.output or None}, indent=2) + "\n")
        return
    names = fold_names(host.name for host in holders)
    Show().line(f"would seal token:{want}, proven by {names}, for {order.whom}, into {where}")
    Show().line(foreseeing.UNTOUCHED)


def _show_list(fleet: "Fleet", state_dir: str, json: bool) -> None:
    from hivekeys.backups import folder as backup_folder  # noqa: PLC0415
    from hivekeys.backups import shelf  # noqa: PLC0415
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.journal.past import tombstones  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

    base = state_folder.folder_for(fleet.name, state_dir)
    folder = backup_folder.folder_in(base)
    there, gone = backup_folder.found(folder), tombstones(base)
    if json:
        sys.stdout.write(jsonlib.dumps(shelf.document(there, fleet.name, gone), indent=2) + "\n")
        return
    show = Show()
    show.table(shelf.table(there, fleet.name, gone))
    show.line(f"in {folder}")


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
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.journal.past import newest_served, tombstones  # noqa: PLC0415
    from hivekeys.rotation.course import ROTATION  # noqa: PLC0415
    from hivekeys.rotation.drive import Drive  # noqa: PLC0415
    from tasks.asking import paces  # noqa: PLC0415

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
    from hivekeys.backups import backup  # noqa: PLC0415
    from hivekeys.backups import folder as backup_folder  # noqa: PLC0415

    path = Path(file).expanduser()
    in_folder = backup_folder.folder_in(folder) / file
    if "/" not in file and not path.exists() and in_folder.exists():
        path = in_folder
    sealed = backup.parse(backup_folder.read(path, file), file)
    backup.refuse_early(sealed, fleet.name, gone, file)
    return sealed


def _refuse_unvouched(sealed: "Backup", file: str, from_elsewhere: bool, yes: bool, folder: Path) -> None:
    """One that this bastion has not signed is restored only when somebody says so: every host's root can make one."""
    from hivekeys.backups.signature import Maker, maker, signer_id  # noqa: PLC0415
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.text.clean import printable  # noqa: PLC0415
    from tasks.live import Show  # noqa: PLC0415

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
    from hivekeys import age  # noqa: PLC0415
    from hivekeys.backups import backup  # noqa: PLC0415
    from hivekeys.token import refuse_revoked  # noqa: PLC0415

    if backup.PASSPHRASE in sealed.kinds:
        if identity:
            raise UserError(f"{file}: is sealed with a passphrase, not for a key", hint="leave --identity out")
        opened = age.unseal_by_passphrase(sealed.block.encode(), _secret(f"Passphrase of {file}: "), file)
    elif not identity:
        raise UserError(f"{file}: is sealed for {', '.join(sealed.kinds)}", hint="name the key with --identity FILE")
    else:
        opened = age.unseal(sealed.block, age.identities(identity, _secret), file)
    token = backup.token_in(sealed, opened, key, file)
    refuse_revoked(token.fingerprint(key), gone, file)  # the header's may be another bastion's
    return token


def _refuse_served(runner: "Crew", want: "Fingerprint", file: str) -> None:
    """A token that every host has already is no rotation; where only some have it, it is one for the others."""
    if all(host.was == want for host in runner.run.hosts.values() if host.was):
        runner.end(ExitCode.USAGE)
        raise UserError(f"{file}: the fleet has its token already (token:{want})", hint="`fab status` shows every host")


def _new_passphrase() -> "Recipients":
    from hivekeys.age import passphrase  # noqa: PLC0415

    return passphrase(_secret("Passphrase to seal the token with: "), _secret("The same again: "))


def _secret(question: str) -> str:
    """A passphrase, typed on the terminal and shown nowhere."""
    return secrets_given.typed(question, "or use a key that has no passphrase").decode()
