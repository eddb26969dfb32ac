"""Writes the first inventory of a fleet, from addresses or for an Ansible inventory. Pure.

The text is for people to go on with: what is the default is left out. Whether it means a fleet is for the reader of
inventories to say, as of every other file.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from hivekeys.errors import UserError
from hivekeys.inventory.ranges import expand

HEAD = "# Only what differs from the defaults stands here; example.toml explains every key.\n"


@dataclass(frozen=True)
class Outline:
    """What is known of a fleet: its hosts' addresses, or the groups of an Ansible inventory that has them."""

    name: str
    queen: str = ""
    hives: tuple[str, ...] = ()  # each an address, or a range of them
    user: str = ""
    jump: str = ""
    ansible: str = ""  # the inventory's path


def text_of(outline: Outline) -> str:
    """The file's text. Raises UserError for a range that is none."""
    login = {"user": outline.user, "jump": outline.jump}
    sections = [f"{HEAD}fleet = {_quoted(outline.name)}\n", *_table("ssh", login)]
    if outline.ansible:
        groups = {"queen": outline.queen, "hives": ",".join(outline.hives)}
        sections += _table("ansible", {"inventory": outline.ansible, **groups})
    else:
        sections += [*_table("hosts.queen", {"role": "queen", "address": outline.queen}), *_hives(outline.hives)]
    return "\n".join(sections)


def _hives(addresses: tuple[str, ...]) -> Iterator[str]:
    """The hives, numbered from 1 on: an entry for each range."""
    try:
        counts = [len(expand(address)) for address in addresses]
    except ValueError as error:
        raise UserError(f"--hives: expected {error}", hint='"10.0.1.[11:50]" are forty hives') from None
    width, first = len(str(sum(counts))), 1
    for address, count in zip(addresses, counts, strict=True):
        numbers = f"{first:0{width}d}" if count == 1 else f"[{first:0{width}d}:{first + count - 1:0{width}d}]"
        yield from _table(f"hosts.{_quoted(f'hive{numbers}')}", {"role": "hive", "address": address})
        first += count


def _table(name: str, keys: dict[str, str]) -> Iterator[str]:
    lines = [f"{key} = {_quoted(value)}\n" for key, value in keys.items() if value]
    if lines:
        yield f"[{name}]\n{''.join(lines)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
