"""Which files an inventory's path means, and which form each of them has; then all of them read into one inventory.

In a folder Ansible reads every file by the order of names. A program in a folder is not run: only one that was
named itself is.
"""

import os
import re
from pathlib import Path
from typing import Any

from hivekeys.errors import UserError
from hivekeys.files import NotYoursError
from hivekeys.inventory.ansible import ini, listing, tree
from hivekeys.inventory.ansible.beside import VAULT, read_beside
from hivekeys.inventory.ansible.documents import json_document, yaml_document
from hivekeys.inventory.ansible.groups import Inventory
from hivekeys.inventory.ansible.program import answer, is_program
from hivekeys.inventory.files import read_text
from hivekeys.inventory.mistakes import Mistake

# What Ansible passes over in a folder: REJECT_EXTS and INVENTORY_IGNORE_EXTS of its config/base.yml.
_PASSED_OVER = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
_VARIABLES = ("group_vars", "host_vars", "vars_plugins")
_TABLES = (".yml", ".yaml", ".json")
_LOOKS_LIKE_YAML = re.compile(r"""---(\s|$)|[{]|["']?[\w.-]+["']?:(\s|$)""")


def read_all(path: Path, ignored: frozenset[str]) -> tuple[Inventory, list[Mistake]]:
    """The inventory that a path means, with what is wrong in its files, each named."""
    inventory = Inventory()
    mistakes: list[Mistake] = []
    inside = path.is_dir()
    for file in _files(path):
        try:
            mistakes += _read(file, inventory, may_run=not inside)
        except ValueError as error:
            mistakes.append(Mistake((), str(error), str(file)))
        except NotYoursError:
            raise
        except UserError as error:
            mistakes.append(Mistake((), error.message.removeprefix(f"{file}: "), str(file)))
    if not mistakes:
        mistakes += _beneath(path, inventory)
        mistakes += read_beside(path if inside else path.parent, inventory, ignored)
    return inventory, mistakes


def _files(path: Path) -> list[Path]:
    """The file itself, or the files of a folder and of folders in it."""
    if not path.is_dir():
        return [path]
    inner = [
        each
        for each in sorted(path.iterdir())
        if not each.name.startswith(".") and each.name not in _VARIABLES and not each.name.endswith(_PASSED_OVER)
    ]
    return [file for each in inner if not each.is_symlink() or each.is_file() for file in _files(each)]


def _read(file: Path, inventory: Inventory, may_run: bool) -> list[Mistake]:
    name = str(file)
    if is_program(file):
        if not may_run and read_text(file).startswith("#!"):
            raise ValueError("found a program in a folder, expected it to be named itself, or data alone")
        said = answer(file) if may_run else None
        if said is not None:
            return _listed(name, json_document(said.decode("utf-8")), inventory)
    text = read_text(file)
    if text.startswith(VAULT):
        raise ValueError("found a file that ansible-vault encrypted, expected one that can be read")
    document = _document(file, text)
    if document is None:
        reader = ini.Reader(name, inventory)
        reader.read(text)
        return reader.mistakes
    if isinstance(document, dict) and listing.META in document:
        return _listed(name, document, inventory)
    tables = tree.Reader(name, inventory)
    tables.read(document)
    return tables.mistakes


def _document(file: Path, text: str) -> Any:
    """The tables of a file in YAML or JSON; None for one in the INI form."""
    if file.suffix == ".json":
        return json_document(text) or {}
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and line[0] not in "#;"), "")
    if file.suffix in _TABLES or (not file.suffix and _LOOKS_LIKE_YAML.match(first)):
        return yaml_document(text) or {}
    return None


def _listed(name: str, document: Any, inventory: Inventory) -> list[Mistake]:
    reader = listing.Reader(name, inventory)
    reader.read(document)
    return reader.mistakes


def _beneath(path: Path, inventory: Inventory) -> list[Mistake]:
    try:
        inventory.depth("all")
    except ValueError as error:
        return [Mistake((), str(error), os.fspath(path))]
    return []
