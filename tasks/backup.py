"""`fab backup`: the fleet's token into an encrypted file."""

import json as jsonlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import ExitCode, UserError
from tasks.engine import Asked, upkeep_of
from tasks.options import foreseeing
from tasks.options.frame import (
    FLEET_HELP,
    Told,
    chosen,
    finish,
    verb,
)
from tasks.options.grounds import FROM_HELP, grounds_of
from tasks.options.secrets_given import typed_passphrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hivekeys.age import Recipients
    from hivekeys.backups.folder import Order
    from hivekeys.backups.shelf import Taken
    from hivekeys.fleet import Fleet, Host
    from hivekeys.token import Fingerprint, Token

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
    from hivekeys.journal.past import tombstones

    found, hosts = chosen(fleet, "", "")
    if list:
        _show_list(found, state_dir, json)
        return
    from hivekeys.journal import state_folder
    from hivekeys.journal.events import Phase
    from hivekeys.upkeep.current_token import current, proven

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
    from hivekeys import age
    from hivekeys.backups import folder as backup_folder

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
    from hivekeys.backups import folder as backup_folder
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import past_runs

    folder = state_folder.folder_for(fleet.name, state_dir)
    key = state_folder.fingerprint_key(folder)
    want = token.fingerprint(key)
    run = next((run.id for run in past_runs(fleet.name, state_dir) if run.want == want and run.is_served), "")
    signer = state_folder.signing_key(folder)
    return backup_folder.put(token, key, fleet.name, run, time.time(), order=order, state=folder, signer=signer)


def _tell(taken: "Taken", json: bool) -> None:
    from tasks.terminal.live import Show

    if json:
        sys.stdout.write(jsonlib.dumps(taken.document(), indent=2) + "\n")
        return
    show = Show()
    for line in taken.lines():
        show.line(line)


def _tell_foreseen(want: "Fingerprint", holders: "Sequence[Host]", order: "Order", json: bool) -> None:
    from hivekeys.text.names import fold_names
    from tasks.terminal.live import Show

    where = order.output or "the fleet's folder of backups"
    if json:
        document = {"dry_run": True, "token": want.fp6, "from": [host.name for host in holders], "to": str(order.whom)}
        sys.stdout.write(jsonlib.dumps({**document, "output": order.output or None}, indent=2) + "\n")
        return
    names = fold_names(host.name for host in holders)
    Show().line(f"would seal token:{want}, proven by {names}, for {order.whom}, into {where}")
    Show().line(foreseeing.UNTOUCHED)


def _show_list(fleet: "Fleet", state_dir: str, json: bool) -> None:
    from hivekeys.backups import folder as backup_folder
    from hivekeys.backups import shelf
    from hivekeys.journal import state_folder
    from hivekeys.journal.past import tombstones
    from tasks.terminal.live import Show

    base = state_folder.folder_for(fleet.name, state_dir)
    folder = backup_folder.folder_in(base)
    there, gone = backup_folder.found(folder), tombstones(base)
    if json:
        sys.stdout.write(jsonlib.dumps(shelf.document(there, fleet.name, gone), indent=2) + "\n")
        return
    show = Show()
    show.table(shelf.table(there, fleet.name, gone))
    show.line(f"in {folder}")


def _new_passphrase() -> "Recipients":
    from hivekeys.age import passphrase

    return passphrase(typed_passphrase("Passphrase to seal the token with: "), typed_passphrase("The same again: "))
