"""Asks `ansible-inventory --list` what an inventory means, with an environment and settings of our own.

Nothing of the caller's Ansible counts: no ansible.cfg, no variable, no plugin of a home folder. Only a vault's
password file is taken over, if ANSIBLE_VAULT_PASSWORD_FILE names one.
"""

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.files import refuse_strangers, stranger
from hivekeys.inventory.ansible import complaint
from hivekeys.inventory.ansible.beneath import Beneath, is_program, without_ignored
from hivekeys.inventory.ansible.program import TIME_LIMIT, Answer, answer
from hivekeys.inventory.files import refusal
from hivekeys.inventory.mistakes import Mistake, printable

PROGRAM = "ansible-inventory"
VAULT_PASSWORD = "ANSIBLE_VAULT_PASSWORD_FILE"  # noqa: S105  the variable's name
INSTALL = (
    "pip install 'hivekeys[ansible]', where hivekeys is installed; or save its answer where Ansible is: "
    f"{PROGRAM} -i FILE --list >hosts.json"
)
_YAML = (".yml", ".yaml", ".json")
_SETTINGS = {
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
    "ANSIBLE_DUPLICATE_YAML_DICT_KEY": "error",  # the first of two hosts of one name would vanish
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
    "ANSIBLE_NOCOLOR": "true",
    "LANG": "C.UTF-8",
}


def ask(found: Beneath, limit: float = TIME_LIMIT) -> bytes:
    """The JSON that Ansible says an inventory means; UserError if it can't be asked, or can't read the inventory."""
    program = find(Path(sys.executable).with_name(PROGRAM), _path())
    if program is None:
        raise UserError(f"{printable(str(found.path))}: {PROGRAM}, which reads it, is not installed", hint=INSTALL)
    vault = _vault_password()
    with tempfile.TemporaryDirectory(prefix="hivekeys-") as name:
        folder = Path(name)
        source = found.path
        if found.ignored:
            (folder / "inventory").mkdir()
            source = without_ignored(found, folder / "inventory")
        environ = {**_environ(folder), **vault, "ANSIBLE_INVENTORY_ENABLED": plugins(found)}
        try:
            said = answer([str(program), "-i", str(source), "--list"], environ, folder, limit)
        except ValueError as error:
            raise _refusal(found, Mistake((), str(error), str(found.path))) from None
        complained = said.complained.decode(errors="replace").replace(str(folder / "inventory"), str(found.folder))
    _refuse(found, said, complained)
    return said.output


def find(beside_us: Path, folders: str) -> Path | None:
    """The program beside our own Python, else the one on a path of folders, if nobody else can change it.

    Whoever can change what is beside our Python can change us.
    """
    if beside_us.is_file():
        return beside_us
    there = shutil.which(PROGRAM, path=folders)
    if there is None:
        return None
    refuse_strangers(Path(there))
    return Path(there)


def plugins(found: Beneath) -> str:
    """The only plugins of Ansible's that may read it: a program that was named, and no other, is run."""
    if found.is_folder:
        return "auto,yaml,ini"
    if is_program(found.path):
        return "script"
    if found.path.suffix in _YAML:
        return "auto,yaml"
    return "ini" if found.path.suffix else "yaml,ini"


def _environ(folder: Path) -> dict[str, str]:
    config = folder / "ansible.cfg"
    config.touch()
    home = os.environ.get("HOME", "")
    return {
        **_SETTINGS,
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "HOME": home if _is_ours(home) else str(folder),
        "PATH": _path(),
    }


def _path() -> str:
    """The folders of PATH in which nobody else can put a program."""
    return os.pathsep.join(filter(_is_ours, os.environ.get("PATH", os.defpath).split(os.pathsep)))


def _is_ours(folder: str) -> bool:
    return folder.startswith("/") and stranger(Path(folder)) is None


def _vault_password() -> dict[str, str]:
    named = os.environ.get(VAULT_PASSWORD)
    if not named:
        return {}
    path = Path(named).expanduser().absolute()
    refuse_strangers(path)
    if not path.is_file():
        raise UserError(f"{VAULT_PASSWORD}={printable(named)}: there is no such file")
    return {VAULT_PASSWORD: str(path)}


def _refuse(found: Beneath, said: Answer, complained: str) -> None:
    """UserError unless all of the inventory was read."""
    if said.code == 0:
        if words := complaint.left_out(complained):
            raise _refusal(found, Mistake((), f"{PROGRAM} leaves something out: {words}", str(found.path)))
        return
    if complaint.is_of_a_vault(complained) and found.encrypted:
        raise _refusal(found, *(_encrypted(file) for file in found.encrypted), hint=_VAULT_HINT)
    file, line = complaint.source_of(complained)
    words = complaint.words_of(complained)
    if words and not file and found.beside:  # Ansible does not say which
        only = found.beside[0] if len(found.beside) == 1 else found.folder
        where = "it" if len(found.beside) == 1 else "group_vars or host_vars in it"
        raise _refusal(found, Mistake((), f"{PROGRAM} can't read {where}: {words}", str(only)))
    if not Path(file).is_relative_to(found.folder):
        file = str(found.path)
    words = words or f"it ended with {_ending(said.code)}"
    raise _refusal(found, Mistake((), f"{PROGRAM} can't read it: {words}", file, line))


_VAULT_HINT = (
    f"{VAULT_PASSWORD} names a file with its password; if nothing in it is about SSH, sudo or hivekeys, "
    "name it in ignore of [ansible]"
)


def _encrypted(file: Path) -> Mistake:
    return Mistake((), "found a file that ansible-vault encrypted, expected one that can be read", str(file))


def _ending(code: int) -> str:
    return f"status {code}" if code > 0 else f"signal {-code}"


def _refusal(found: Beneath, *mistakes: Mistake, hint: str = "") -> UserError:
    path = shlex.quote(str(found.path))
    return refusal(found.path, *mistakes, hint=hint or f"see all that it says: {PROGRAM} -i {path} --list")
