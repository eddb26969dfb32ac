"""The files that Ansible would read of an inventory: each checked before it is asked.

In a folder Ansible reads every file by the order of names, and beside an inventory what is in group_vars and
host_vars. A program in a folder is not run: only one that was named itself is.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hivekeys.files import refuse_strangers
from hivekeys.inventory.files import read_text

# What Ansible passes over in a folder: REJECT_EXTS and INVENTORY_IGNORE_EXTS of its config/base.yml.
_PASSED_OVER = (".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
_BESIDE = ("group_vars", "host_vars")
_NO_INVENTORY = (*_BESIDE, "vars_plugins")
_VARIABLES = ("", ".yml", ".yaml", ".json")  # how files of variables end
_VAULT = "$ANSIBLE_VAULT"
_PROGRAM = (b"#!", b"\x7fE")
DEEPEST = 16  # folders in folders
MOST_FILES = 20_000


@dataclass(frozen=True)
class Beneath:
    """An inventory's files. `beside` are those of group_vars and host_vars, and `ignored` some of them."""

    path: Path
    folder: Path  # in which group_vars and host_vars are
    beside: tuple[Path, ...]
    ignored: tuple[Path, ...]
    encrypted: tuple[Path, ...]

    @property
    def is_folder(self) -> bool:
        """True for a folder of inventories."""
        return self.path == self.folder


def beneath(path: Path, ignored: frozenset[str]) -> Beneath:
    """What is beneath a path; `ignored` has files of variables to leave out, from the inventory's folder on.

    UserError for a file that can't be read or is too large, NotYoursError for one that others can change,
    ValueError for what must not be there.
    """
    path = path.absolute()
    folder = path if path.is_dir() else path.parent
    refuse_strangers(path)
    inventories = _files(path, _may_be_inventory) if path.is_dir() else [path]
    program = next(filter(is_program, inventories), None)
    if program and path.is_dir():
        raise ValueError(f"found a program in a folder, {program.name}, expected it to be named itself")
    beside = tuple(file for kind in _BESIDE if (folder / kind).is_dir() for file in _files(folder / kind, _may_say))
    left_out = tuple(file for file in beside if str(file.relative_to(folder)) in ignored)
    read = [file for file in (*inventories, *beside) if file not in left_out and file != program]
    encrypted = tuple(file for file in read if read_text(file).startswith(_VAULT))
    return Beneath(path, folder, beside, left_out, encrypted)


def is_program(path: Path) -> bool:
    """True for a file that may be run and is no data with an execute bit, as on file systems without such bits."""
    if not path.is_file() or not os.access(path, os.X_OK):
        return False
    with path.open("rb") as file:
        return file.read(2) in _PROGRAM


def without_ignored(found: Beneath, scratch: Path) -> Path:
    """The same inventory in a folder of our own, as links, without the files that are ignored."""
    for file in found.beside:
        if file not in found.ignored:
            link = scratch / file.relative_to(found.folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    if not found.is_folder:
        (scratch / found.path.name).symlink_to(found.path)
        return scratch / found.path.name
    for entry in found.path.iterdir():
        if entry.name not in _BESIDE:
            (scratch / entry.name).symlink_to(entry)
    return scratch


def _files(folder: Path, may_be_read: Callable[[Path], bool]) -> list[Path]:
    files: list[Path] = []
    for file in _walk(folder, may_be_read, DEEPEST):
        files.append(file)
        if len(files) > MOST_FILES:
            raise ValueError(f"found more than {MOST_FILES} files in {folder.name}, expected less")
    return files


def _walk(folder: Path, may_be_read: Callable[[Path], bool], deepest: int) -> Iterator[Path]:
    refuse_strangers(folder)
    if not deepest:
        raise ValueError(f"found folders nested too deeply, at {folder.name}")
    for each in sorted(folder.iterdir()):
        if may_be_read(each):
            if each.is_dir():
                yield from _walk(each, may_be_read, deepest - 1)
            else:
                yield each


def _may_be_inventory(path: Path) -> bool:
    return not path.name.startswith(".") and path.name not in _NO_INVENTORY and not path.name.endswith(_PASSED_OVER)


def _may_say(path: Path) -> bool:
    if path.name.startswith(".") or path.name.endswith("~"):
        return False
    return path.is_dir() or path.suffix in _VARIABLES or path.parent.name in _BESIDE
