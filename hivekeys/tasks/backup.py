"""`fab backup`: the fleet's token into an encrypted file."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.changes import FromOption, ReasonOption
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import FleetOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import print_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hivekeys.age import Recipients
    from hivekeys.backups.folder import Order
    from hivekeys.backups.shelf import BackupResult
    from hivekeys.fleet import Fleet, Host
    from hivekeys.token import Fingerprint, Token


@dataclass(frozen=True, kw_only=True)
class BackupOptions(FromOption, ReasonOption):
    """What is sealed for whom, and where it goes."""

    to: tuple[str, ...] = option(
        "for whom: age1…, an SSH public key, or a file of them; again or with commas for several "
        "(default: `to` of [backup] in the inventory)",
        default=(),
    )
    passphrase: bool = option("seal it with a passphrase instead, asked on the terminal", default=False)
    output: str = option("write to this file instead of the fleet's folder of backups")
    keep: str = option("how many backups of the folder stay (default: `keep` of [backup], else all)")
    list: bool = option("show the backups in the fleet's folder, contact no host", default=False)
    dry_run: bool = option(
        "show which token would be sealed for whom, and where; it is not read, and nothing is written", default=False
    )
    yes: bool = option("do not ask whether --from is meant", default=False)


@verb
def backup(scope: FleetOptions, own: BackupOptions, output: JsonOption) -> None:
    """Seal the fleet's token for the holders of some keys, read from a host that proves it; or list what there is."""
    from hivekeys.journal.past import tombstones

    fleet = scope.load()
    if own.list:
        _show_list(fleet, scope.state_dir, output.json)
        return
    from hivekeys.journal import state_folder
    from hivekeys.journal.events import Phase
    from hivekeys.tasks.work.grounds import grounds_of
    from hivekeys.tasks.work.request import Request
    from hivekeys.tasks.work.upkeep import upkeep_of
    from hivekeys.upkeep.current_token import current, proven

    order = _order(fleet, own)
    request = Request(reason=own.reason, state_dir=scope.state_dir, records=not own.dry_run)
    grounds = grounds_of(fleet, own.from_, own.yes or own.dry_run, scope.state_dir)
    modules = ("tombstones",)
    with upkeep_of(fleet, fleet.hosts, Phase.BACKUP, request, modules, beside_open=False, only_asks=True) as work:
        title = f"read the token, to be sealed for {order.whom}"
        gone = tombstones(state_folder.folder_for(fleet.name, scope.state_dir))
        if own.dry_run:
            _show_foreseen(*proven(work, title, gone, grounds), order, output.json)
            work.end(ExitCode.DONE)
            return
        token = current(work, title, gone, grounds)
        taken = _put(fleet, token, order, scope.state_dir)
        code = work.end(ExitCode.INCOMPLETE if taken.why else ExitCode.DONE)
    _show(taken, fleet, code, output.json)
    leave(code)


def _order(fleet: "Fleet", own: BackupOptions) -> "Order":
    """What was asked for, checked before any host is contacted; a passphrase is asked for when all else is right."""
    from hivekeys import age
    from hivekeys.backups import folder as backup_folder

    keep, output, by_passphrase = own.keep, own.output, own.passphrase
    texts = [text for given in own.to for text in given.split(",") if text.strip()]
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


def _put(fleet: "Fleet", token: "Token", order: "Order", state_dir: str) -> "BackupResult":
    from hivekeys.backups import folder as backup_folder
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import past_runs

    folder = state_folder.folder_for(fleet.name, state_dir)
    key = state_folder.fingerprint_key(folder)
    want = token.fingerprint(key)
    run = next((run.id for run in past_runs(fleet.name, state_dir) if run.want == want and run.is_served), "")
    signer = state_folder.signing_key(folder)
    return backup_folder.put(token, key, fleet.name, run, time.time(), order=order, state=folder, signer=signer)


def _show(taken: "BackupResult", fleet: "Fleet", code: ExitCode, as_json: bool) -> None:
    from hivekeys.tasks.terminal.live import Show

    if as_json:
        print_document(taken.document(code, fleet.typed))
        return
    show = Show()
    for line in taken.lines():
        show.line(line)


def _show_foreseen(want: "Fingerprint", holders: "Sequence[Host]", order: "Order", as_json: bool) -> None:
    from hivekeys.tasks.terminal.live import Show
    from hivekeys.tasks.work import foreseeing
    from hivekeys.text.documents.backups import ForeseenBackup
    from hivekeys.text.documents.head import head
    from hivekeys.text.names import fold_names

    where = order.output or "the fleet's folder of backups"
    names = fold_names(host.name for host in holders)
    would = f"would seal token:{want}, proven by {names}, for {order.whom}, into {where}"
    if as_json:
        document: ForeseenBackup = {
            "form": "backup-foreseen",
            **head(would, ""),
            "exit_code": int(ExitCode.DONE),
            "dry_run": True,
            "token": want.fp6,
            "from": [host.name for host in holders],
            "to": str(order.whom),
            "output": order.output or None,
        }
        print_document(document)
        return
    Show().line(would)
    Show().line(foreseeing.UNTOUCHED)


def _show_list(fleet: "Fleet", state_dir: str, as_json: bool) -> None:
    from hivekeys.backups import folder as backup_folder
    from hivekeys.backups import shelf
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import tombstones
    from hivekeys.tasks.terminal.live import Show

    base = state_folder.folder_for(fleet.name, state_dir)
    folder = backup_folder.folder_in(base)
    there, gone = backup_folder.list_backups(folder), tombstones(base)
    if as_json:
        print_document(shelf.document(there, fleet.name, gone, str(folder)))
        return
    show = Show()
    show.table(shelf.table(there, fleet.name, gone))
    show.line(f"in {folder}")


def _new_passphrase() -> "Recipients":
    from hivekeys.age import passphrase
    from hivekeys.bastion.secrets_given import typed_passphrase

    return passphrase(typed_passphrase("Passphrase to seal the token with: "), typed_passphrase("The same again: "))
