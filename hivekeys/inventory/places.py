"""Finds the file of a fleet, in the folders where inventories are looked for.

The first folder that has a file of the name wins. Who could put one into an earlier folder is asked when the file is
read: what another account can change is refused there, and not passed by.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.inventory.mistakes import printable

EXAMPLE = "example"
FLEET = "HIVEKEYS_FLEET"
FOLDER = "HIVEKEYS_INVENTORY"
EVERYBODY = Path("/etc/hivekeys")
# In a wheel it stands beside this file, in a checkout at the project's top.
_EXAMPLES = (Path(__file__).with_name("example.toml"), Path(__file__).parents[2] / "inventory" / "example.toml")
EVERY_KEY = f"{next((file for file in _EXAMPLES if file.exists()), _EXAMPLES[-1])} explains every key"


def places(project: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The folders, in order: of the project, of the environment, of the user, of the machine.

    `project` is the folder that the operator works in. Raises UserError for a variable that names no folder.
    """
    import platformdirs  # noqa: PLC0415  takes time that `fab --list` has not

    named = environ.get(FOLDER, "")
    folder = Path(named).expanduser().absolute()
    if named and not folder.is_dir():
        raise UserError(f"{FOLDER}={printable(named)}: there is no such folder", hint="make it, or unset the variable")
    own = platformdirs.user_config_path("hivekeys")
    return (project / "inventory", *((folder,) if named else ()), own, EVERYBODY)


def find(name: str | None, folders: Sequence[Path], environ: Mapping[str, str]) -> Path:
    """The file of the fleet that --fleet names, else HIVEKEYS_FLEET, else of the only fleet that there is.

    The example is never meant by default. A name with a slash in it is the path of a file (or of a folder of
    Ansible's); any other is a file's name without `.toml`.
    """
    there = {folder: sorted(file.stem for file in folder.glob("*.toml") if file.name[0] != ".") for folder in folders}
    fleets = {fleet: folder / f"{fleet}.toml" for folder in reversed(folders) for fleet in there[folder]}
    looked = "fleets: " + "; ".join(
        f"in {printable(str(folder))}: {', '.join(map(printable, there[folder])) or 'none'}" for folder in there
    )
    wanted = name or environ.get(FLEET)
    if wanted:
        asked = printable(f"--fleet {wanted}" if name else f"{FLEET}={wanted}")
        if "/" in wanted:
            return _path(wanted, asked)
        if wanted not in fleets:
            raise UserError(f"{asked}: there is no such fleet", hint=f"{looked}; a path has a slash in it: ./FILE")
        return fleets[wanted]
    own = [fleet for fleet in fleets if fleet != EXAMPLE]
    if len(own) == 1:
        return fleets[own[0]]
    if own:
        raise UserError("which fleet?", hint=f"name it with --fleet or {FLEET}; {looked}")
    raise UserError("there is no fleet yet", hint=f"`fab init NAME` writes one; {EVERY_KEY}; {looked}")


def called(path: Path, folders: Sequence[Path]) -> str:
    """The name by which `find` finds this file; "" for one that it finds by its path alone."""
    named = (folder / f"{path.stem}.toml" for folder in folders)
    return path.stem if path == next((file for file in named if file.exists()), None) else ""


def _path(wanted: str, asked: str) -> Path:
    path = Path(wanted).expanduser()
    try:
        is_there = path.exists()
    except ValueError:  # a zero byte in the name
        is_there = False
    if not is_there:
        raise UserError(f"{asked}: there is no such file", hint="name the file of a fleet, or an Ansible inventory")
    return path
