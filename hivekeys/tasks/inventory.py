"""`fab inventory.check` and `fab inventory.convert`: shows a fleet's file, or converts it to our own format."""

import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.fleet import FleetOption, check_ids, inventory_folders
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import print_document
from hivekeys.text.commands import as_typed

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.inventory import LoadedInventory

# Imports inside the functions below: pydantic and rich take time that `fab --list` has not.


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What is tried beside reading."""

    try_notify: bool = option("send a trial notification to each whom [notify] names", default=False)


@verb
def check(scope: FleetOption, own: CheckOptions, output: JsonOption) -> None:
    """Check a fleet's file and show the hosts it means; contacts no host."""
    from hivekeys.inventory import table
    from hivekeys.tasks.terminal.live import Show

    loaded = _looked(scope.fleet)
    told = _tried(loaded.fleet) if own.try_notify else None
    if output.json:
        print_document(table.document(loaded.fleet, loaded.files, loaded.untouched, told))
    else:
        show = Show()
        show.table(table.table(loaded.fleet))
        for line in table.lines(loaded.fleet, loaded.files, loaded.untouched):
            show.line(line)
        for name, wrong in (told or {}).items():
            show.line(f"notify.{name}: {wrong or 'told'}")
    leave(ExitCode.FINDINGS if any((told or {}).values()) else ExitCode.DONE)


def _tried(fleet: "Fleet") -> dict[str, str]:
    """What went wrong with each of the trial notifications, "" where nothing did."""
    from hivekeys.tasks.notifications.notifier import try_each

    if not fleet.notify:
        raise UserError("--try-notify: the inventory names nobody to tell", hint="[notify.NAME] does")
    return try_each(fleet.notify, fleet.name)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Where the file goes."""

    output: str = option("the file to write, NAME.toml (default: print it)")
    force: bool = option("replace the file if it is there already", default=False)


@verb
def convert(scope: FleetOption, own: ConvertOptions) -> None:
    """Write a fleet's file in hivekeys' own form, TOML, whatever form it has; contacts no host."""
    from hivekeys.files import write_whole
    from hivekeys.inventory.written import toml

    path = _target(own.output, own.force) if own.output else None
    fleet = _looked(scope.fleet).fleet
    text = toml(fleet)
    _prove(text, fleet)
    if path is None:
        sys.stdout.write(text)
    else:
        write_whole(path, text, over=own.force)
        check = as_typed("fab inventory.check")
        sys.stderr.write(f"{path} written: {len(fleet.hosts)} hosts; next: {check} --fleet {path}\n")


def _looked(fleet: str) -> "LoadedInventory":
    from hivekeys import inventory

    return inventory.look(inventory.find(fleet or None, inventory_folders(), os.environ), check_ids)


def _prove(text: str, fleet: "Fleet") -> None:
    """The text is read again before anybody gets it. RuntimeError, a bug, if it means another fleet."""
    from hivekeys import inventory

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.toml"
        path.write_text(text, encoding="utf-8")
        if replace(inventory.load(path, check_ids), source=fleet.source) != fleet:
            raise RuntimeError("the file that was made means another fleet")


def _target(output: str, force: bool) -> Path:
    path = Path(output).expanduser()
    if path.suffix != ".toml":
        raise UserError(
            f"--output {output}: expected a name that ends in .toml", hint="hivekeys reads others as Ansible's"
        )
    if path.exists() and not force:
        raise UserError(f"--output {output}: is there already", hint="--force replaces it")
    return path
