"""Says in which line of its file each host stands. Pure.

TOML's own reader knows no lines. The headers `[hosts.NAME]` are looked for, as the example has them; a host that is
written in any other way stands in the file's first line.
"""

import re
import tomllib
from collections.abc import Iterable

from hivekeys.inventory.ranges import expand

FIRST = 1
_HEADER = re.compile(r"[ \t]*(\[[ \t]*hosts[ \t]*\.[^\n]*\])[ \t]*(?:#[^\n]*)?")


def lines_of(text: str, hosts: Iterable[str]) -> dict[str, int]:
    """The line of each of these hosts, from 1 on."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), FIRST):
        if header := _HEADER.fullmatch(line.rstrip("\r")):
            found |= dict.fromkeys(_names(header[1]), number)
    return {host: found.get(host, FIRST) for host in hosts}


def _names(header: str) -> list[str]:
    """The hosts that a header names, a range written out; none for a table below a host's, such as its service."""
    try:
        table = tomllib.loads(header).get("hosts", {})
        return [name for entry, below in table.items() if not below for name in expand(entry)]
    except (ValueError, AttributeError):
        return []
