"""The settings of a lab, and the file that remembers them."""

import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.lab import network
from hivekeys.lab.model import LABS, RELEASES, Accepts, Lab, Shape, Units


def check_name(name: str) -> str:
    """A lab's name, which is also its fleet's: it can never be that of a production inventory."""
    if len(name) > 32 or not re.fullmatch(r"lab(-[a-z0-9]+)*", name):
        raise UserError(
            f"{name!r} is no name for a lab",
            hint="`lab`, or `lab-` and more: small letters, digits and single hyphens, 32 characters at most",
        )
    return name


def check_shape(shape: Shape) -> Shape:
    """Refuse what no lab can be."""
    if not 1 <= shape.hives < network.MOST_HOSTS:
        raise UserError(f"a lab has 1 to {network.MOST_HOSTS - 1} hives, not {shape.hives}")
    if shape.accepts.by_service and (shape.real or shape.units is not Units.FILE):
        raise UserError("two tokens at a time are for the stand-in in the shape file alone", hint="v0.1.0 takes one")
    if shape.accepts is Accepts.FRONT and (shape.real or shape.units is Units.ENVIRONMENT_FILE):
        raise UserError(
            "a front in the lab is for the stand-in in the shapes file and shim", hint="write its inventory"
        )
    unknown = [release for release in shape.releases if release not in RELEASES]
    if unknown or not shape.releases:
        raise UserError(f"no release {', '.join(unknown) or 'at all'}", hint=f"there are: {', '.join(RELEASES)}")
    for command in filter(None, (shape.queen_command, shape.hive_command)):
        check_command(command)
    return shape


def check_units(text: str) -> Units:
    """The units' shape of that name."""
    try:
        return Units(text)
    except ValueError:
        raise UserError(f"no shape is called {text!r}", hint=f"there are: {', '.join(Units)}") from None


def check_accepts(text: str) -> Accepts:
    """How many tokens services take, by its name."""
    try:
        return Accepts(text)
    except ValueError:
        raise UserError(f"no service accepts {text!r}", hint=f"there are: {', '.join(Accepts)}") from None


def check_command(command: str) -> None:
    """Refuse a command whose program is not on this machine, or with another placeholder than port and database."""
    try:
        program, *_ = shlex.split(command.format(port=0, database=""))
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"{command!r} is no command: {error}",
            hint="for example: '/opt/queen-rbee --port {port} --database {database}'",
        ) from None
    if not Path(program).is_file():
        raise UserError(f"no such program: {program}", hint="a command begins with the path of an executable file")


def save(lab: Lab) -> None:
    """Remember the lab. Written before anything is built, and again when it is complete."""
    memory = {"shape": asdict(lab.shape), "subnet": lab.subnet, "inventory": str(lab.inventory)}
    lab.folder.mkdir(parents=True, exist_ok=True)
    draft = lab.folder / "lab.json.new"
    draft.write_text(json.dumps({**memory, "complete": lab.complete}))
    draft.replace(lab.folder / "lab.json")


def load(name: str = "lab") -> Lab | None:
    """The lab of that name as it was left, or None where there is nothing that could be read."""
    try:
        memory = json.loads((LABS / check_name(name) / "lab.json").read_text())
        told = memory["shape"]
        words = {"releases": tuple(told["releases"]), "units": Units(told["units"])}
        shape = Shape(**{**told, **words, "accepts": Accepts(told["accepts"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Lab(name, shape, memory["subnet"], Path(memory["inventory"]), memory["complete"])


def names() -> list[str]:
    """Every lab that has a folder on this machine, built or not."""
    return sorted(p.name for p in LABS.iterdir() if p.is_dir()) if LABS.is_dir() else []
