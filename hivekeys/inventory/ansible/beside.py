"""group_vars and host_vars: the folders beside an inventory, with a file or a folder for a group or a host.

Ansible takes NAME, NAME.yml, NAME.yaml or NAME.json, the first that there is; of a folder NAME every file in it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.files import NotYoursError
from hivekeys.inventory.ansible.documents import yaml_document
from hivekeys.inventory.ansible.groups import Inventory, Variable, Variables
from hivekeys.inventory.files import read_text
from hivekeys.inventory.mistakes import Mistake, Place

EXTENSIONS = ("", ".yml", ".yaml", ".json")
DEEPEST = 8  # folders in folders
VAULT = "$ANSIBLE_VAULT"


def read_beside(folder: Path, inventory: Inventory, ignored: frozenset[str]) -> Iterator[Mistake]:
    """Adds what group_vars and host_vars of `folder` say; `ignored` names files (from that folder on) to leave out."""
    for kind, entities in (("group_vars", inventory.groups), ("host_vars", inventory.hosts)):
        there = _names(folder / kind)
        for name, entity in entities.items():
            found = next((name + extension for extension in EXTENSIONS if name + extension in there), None)
            if found is None:
                continue
            for file in _files(folder / kind / found, DEEPEST):
                if str(file.relative_to(folder)) not in ignored:
                    yield from _read(file, entity.beside)


def _names(folder: Path) -> frozenset[str]:
    return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()  # noqa: PTH208  names are all we need


def _files(path: Path, deepest: int) -> Iterator[Path]:
    """The file itself, or every file of a folder, in the order of their names."""
    if not path.is_dir():
        yield path
        return
    for inner in sorted(path.iterdir()):
        if inner.name.startswith(".") or inner.name.endswith("~"):
            continue
        if inner.is_dir():
            if not inner.suffix and deepest:
                yield from _files(inner, deepest - 1)
        elif inner.suffix in EXTENSIONS:
            yield inner


def _read(file: Path, variables: Variables) -> Iterator[Mistake]:
    try:
        text = read_text(file)
        if text.startswith(VAULT):
            says = (
                "found a file that ansible-vault encrypted, expected one that can be read; if nothing in it is about "
                "SSH, sudo or hivekeys, name it in ignore of [ansible]"
            )
            yield Mistake((), says, str(file))
            return
        document = yaml_document(text)
    except NotYoursError:
        raise
    except UserError as error:
        yield Mistake((), error.message.removeprefix(f"{file}: "), str(file))
    except ValueError as error:
        yield Mistake((), str(error), str(file))
    else:
        if document is not None and not isinstance(document, Mapping):
            yield Mistake((), "found no table, expected variables", str(file))
            return
        for name, value in (document or {}).items():
            variables[str(name)] = Variable(value, Place(str(file), (str(name),)))
