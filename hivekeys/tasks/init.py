"""`fab init`: writes a first inventory. Contacts no host."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.declared import argument, option
from hivekeys.tasks.options.fleet import check_ids, inventory_folders
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import verb
from hivekeys.tasks.terminal.document import print_document
from hivekeys.text.commands import as_typed
from hivekeys.text.documents.head import head

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.inventory.first import Outline
    from hivekeys.text.documents.inventory import Init


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """What is known of the fleet."""

    name: str = argument("the fleet's name, which its hosts will remember; the file is NAME.toml")
    queen: str = option("the queen's address; with --ansible the group that she is in (default there: queen)")
    hives: str = option(
        "the hives' addresses, comma separated, ranges too (10.0.1.[11:50]); with --ansible their group "
        "(default there: hives)"
    )
    user: str = option("the account to log in as (default: what OpenSSH's configuration says)")
    jump: str = option("the jump host before them, as ssh -J takes it")
    ansible: str = option("take the hosts from this Ansible inventory, at each run anew")
    print: bool = option("print the file, and write none", default=False)


@verb
def init(own: InitOptions, output: JsonOption) -> None:
    """Write a first inventory of a fleet from what is known of it; replaces no file, contacts no host."""
    from hivekeys.files import write_whole
    from hivekeys.inventory.first import text_of

    path = _place(own.name)
    if not own.print and path.exists():
        raise UserError(f"{path}: is there already", hint="edit it; or take another name")
    text = text_of(_outline(own))
    fleet = _read(text, path)
    if own.print:
        if output.json:
            print_document(_document(path, fleet, f"{path}: {len(fleet.hosts)} hosts; not written", "", text))
        else:
            sys.stdout.write(text)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, text, over=False)
    written = f"{path} written: {len(fleet.hosts)} hosts"
    then = as_typed(f"fab trust --fleet {fleet.name}   then: fab plan --fleet {fleet.name}")
    if output.json:
        print_document(_document(path, fleet, written, then))
    sys.stderr.write(f"{written}; next: {then}\n")


def _document(path: Path, fleet: "Fleet", words: str, then: str, text: str = "") -> "Init":
    return {
        "form": "init",
        **head(words, then),
        "fleet": fleet.name,
        "exit_code": int(ExitCode.DONE),
        "file": str(path),
        "hosts": [host.name for host in fleet.hosts],
        "text": text or None,
    }


def _place(name: str) -> Path:
    """The folder of the project if it has one, else the one that the environment names, else the operator's own."""
    if not name or "/" in name or name.startswith("."):
        raise UserError(f"{name!r}: expected a fleet's name, such as production", hint="the file is NAME.toml")
    here, *others = inventory_folders()
    return (here if here.is_dir() else others[0]) / f"{name}.toml"


def _outline(own: InitOptions) -> "Outline":
    from hivekeys.inventory.first import Outline

    hives = tuple(piece.strip() for piece in own.hives.split(",") if piece.strip())
    if not own.ansible and not (own.queen and hives):
        hint = "--queen 10.0.0.10 --hives '10.0.1.[11:50]'; or --ansible FILE"
        raise UserError("where are the hosts? --queen and --hives, or --ansible, are missing", hint=hint)
    ansible = str(Path(own.ansible).expanduser().absolute()) if own.ansible else ""
    return Outline(own.name, own.queen, hives, own.user, own.jump, ansible)


def _read(text: str, path: Path) -> "Fleet":
    """The fleet that the text means, as every verb will read it; mistakes are those of the file that it is to be."""
    from hivekeys import inventory

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / path.name
        scratch.write_text(text, encoding="utf-8")
        try:
            return inventory.load(scratch, check_ids)
        except UserError as error:
            said = error.message.replace(f"{scratch}: ", f"{path.name}: ")
            for mistake in error.mistakes:
                mistake["file"] = mistake["file"].replace(str(scratch), path.name)
            said = f"{said}\nnothing was written"
            raise UserError(said, hint=error.hint, code=error.code, mistakes=error.mistakes) from None
