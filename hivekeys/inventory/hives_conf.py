"""Reads llama-orch's `hives.conf`. It lists no queen, and does not name the fleet: our own file does.

Two forms have been in use: the one of ~/.ssh/config with `HivePort` (and `BinaryPath`) added, and TOML tables
`[[hive]]`. llama-orch leaves a hive out in silence when HostName, User or HivePort is missing; here it is a
mistake, since a host that is left out keeps the old token.
"""

import re
from pathlib import Path
from typing import Any

from hivekeys.fleet import Role
from hivekeys.inventory.ansible.ssh_args import CHANGES_NOTHING
from hivekeys.inventory.files import read_text, tables
from hivekeys.inventory.gathered import Gathered
from hivekeys.inventory.mistakes import Mistake, Place, at, value_text

# Keywords of the first form, and keys of the second, by what they are in an entry of ours.
KEYWORDS = {
    "hostname": ("address",),
    "port": ("port",),
    "user": ("user",),
    "hiveport": ("service", "port"),
    "identityfile": ("key",),
    "proxyjump": ("jump",),
}
TOML_KEYS = {"hostname": "hostname", "ssh_port": "port", "ssh_user": "user", "hive_port": "hiveport"}
_NOT_OURS = frozenset(("binarypath", "identitiesonly", *CHANGES_NOTHING))
_TOML_NOT_OURS = frozenset(("alias", "binary_path", "auto_start", "workers"))
_NEEDED = {"hostname": "HostName", "user": "User", "hiveport": "HivePort"}
_LINE = re.compile(r"""(?P<keyword>[A-Za-z]+)(?:\s*=\s*|\s+)(?P<value>.+)""")


def gathered(path: Path) -> Gathered:
    """The hives of the file. UserError when it can't be read at all."""
    text = read_text(path)
    found = Gathered()
    file = str(path)
    if re.search(r"^\s*\[\[hive\]\]", text, re.MULTILINE):
        _tables(text, file, found)
    else:
        _blocks(text, file, found)
    if not found.hosts and not found.mistakes:
        found.mistakes.append(Mistake((), "found no Host, expected the fleet's hives", file))
    return found


def _blocks(text: str, file: str, found: Gathered) -> None:
    said: dict[str, tuple[Any, Place]] = {}
    host, place = "", Place(file)
    for number, line in enumerate([*text.splitlines(), "Host"], 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = _LINE.fullmatch(content)
        keyword = match["keyword"].lower() if match else content.lower()
        here = Place(file, (host,) if host else (), number)
        if keyword == "host":
            if host:
                _add(host, said, place, found)
            said, host = {}, (match["value"].split()[0] if match else "")
            place = Place(file, (host,), number)
            _refuse_host(host, place, found)
        elif match is None:
            found.mistakes.append(at(here, "found a line that is no setting, expected KEYWORD VALUE"))
        elif not host:
            found.mistakes.append(at(here, "found a setting above the first Host, expected it below one"))
        else:
            value = match["value"].strip().strip('"')
            _setting(match["keyword"], value, Place(file, (host, match["keyword"]), number), said, found)


def _refuse_host(host: str, place: Place, found: Gathered) -> None:
    if any(char in host for char in "*?!"):
        says = f"found {value_text(host)}, expected the name of one host; what all have in common stands in [ssh]"
        found.mistakes.append(at(place, says))


def _setting(keyword: str, value: str, place: Place, said: dict[str, tuple[Any, Place]], found: Gathered) -> None:
    name = keyword.lower()
    if name in KEYWORDS:
        number = name in ("port", "hiveport") and re.fullmatch("[0-9]{1,5}", value)
        said.setdefault(name, (int(value) if number else value, place))
    elif name not in _NOT_OURS:
        found.mistakes.append(at(place, "is not understood here, expected " + ", ".join(_NEEDED.values())))


def _tables(text: str, file: str, found: Gathered) -> None:
    try:
        hives = tables(text)["hive"]
    except ValueError as error:
        found.mistakes.append(Mistake((), str(error), file))
        return
    for number, table in enumerate(hives, 1):
        alias = table.get("alias")
        place = Place(file, ("hive", str(number)))
        if not isinstance(alias, str):
            found.mistakes.append(at(place, "alias is missing, expected the name of the hive"))
            continue
        said = {}
        for key, value in table.items():
            here = Place(file, (*place.key, key))
            if key in TOML_KEYS:
                said[TOML_KEYS[key]] = (value, here)
            elif key not in _TOML_NOT_OURS:
                found.mistakes.append(at(here, "unknown key, expected " + ", ".join(TOML_KEYS)))
        _add(alias, said, place, found)


def _add(host: str, said: dict[str, tuple[Any, Place]], place: Place, found: Gathered) -> None:
    """One hive, as a table of ours."""
    missing = [name for key, name in _NEEDED.items() if key not in said]
    if missing:
        found.mistakes.append(at(place, f"{', '.join(missing)} missing: llama-orch leaves such a host out"))
    if host in found.hosts:
        found.mistakes.append(at(place, "found this host a second time, expected every host once"))
    table: dict[str, Any] = {"role": Role.HIVE.value}
    found.places[("hosts", host)] = place
    for name, (value, here) in said.items():
        *above, key = KEYWORDS[name]
        inner = table.setdefault(above[0], {}) if above else table
        inner[key] = value
        found.places[("hosts", host, *above, key)] = here
    found.hosts[host] = table
