"""Brings the settings of `[groups.NAME]` to the hosts of the group, before anything is checked. Pure.

What an entry of `[hosts]` says itself goes before what its groups say, and that before `[ssh]` and `[services]`. Two
groups of a host must not say different things. As in `rules.py` the file is looked at as it was read.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from hivekeys.inventory.mistakes import Mistake, value_text, wrong
from hivekeys.inventory.rules import Table, groups_of, table_of
from hivekeys.inventory.schema import LOGIN

Key = tuple[str, ...]


@dataclass
class Inherited:
    """The tables of a file with the settings of groups in each entry of `[hosts]`; and which group said what."""

    tables: dict[str, Any]
    said_by: dict[Key, str] = field(default_factory=dict)  # the group, by a setting's whole key
    mistakes: list[Mistake] = field(default_factory=list)

    def placed(self, mistake: Mistake) -> Mistake:
        """The mistake of an entry, told where the file has it: in the group that said it."""
        for length in range(len(mistake.key), 2, -1):
            if group := self.said_by.get(mistake.key[:length]):
                return replace(mistake, key=("groups", group, *mistake.key[2:]))
        return mistake


def inherit(tables: dict[str, Any]) -> Inherited:
    """The same tables, each entry with what its groups say; what can't be understood stays as it is."""
    groups = table_of(tables, "groups")
    if not groups:
        return Inherited(tables)
    found = Inherited({**tables, "hosts": dict(table_of(tables, "hosts"))})
    for pattern, table in table_of(tables, "hosts").items():
        if isinstance(table, dict):
            found.tables["hosts"][pattern] = _entry(pattern, table, groups, found)
    return found


def _entry(pattern: str, own: Table, groups: Table, found: Inherited) -> dict[str, Any]:
    entry, service = dict(own), dict(table_of(own, "service"))
    has_service = isinstance(own.get("service", {}), dict)
    for group in groups_of(own):
        its = table_of(groups, group)
        login = {key: its[key] for key in LOGIN if key in its and "beside" not in own}  # it is reached as its home is
        _take(("hosts", pattern), entry, login, group, found)
        if has_service:
            _take(("hosts", pattern, "service"), service, table_of(its, "service"), group, found)
    return {**entry, **({"service": service} if has_service and service else {})}


def _take(key: Key, entry: dict[str, Any], settings: Table, group: str, found: Inherited) -> None:
    for name, value in settings.items():
        whole = (*key, name)
        if name not in entry:
            entry[name] = value
            found.said_by[whole] = group
        elif (other := found.said_by.get(whole)) and entry[name] != value:
            says = f"{value_text(other)} and {value_text(group)}, which say different things of {'.'.join(whole[2:])}"
            found.mistakes.append(wrong((*key[:2], "groups"), says, "one of them, or the entry's own word"))


def mistakes_grouped(document: Table) -> Iterator[Mistake]:
    """Mistakes of settings for a group that no host is in: most likely typing errors."""
    there = {group for table in table_of(document, "hosts").values() for group in groups_of(table)}
    for group in table_of(document, "groups"):
        if group not in there:
            near = difflib.get_close_matches(group, there, n=1)
            expected = "a group of a host" + (f"; did you mean {near[0]}?" if near else "")
            yield wrong(("groups", group), "a group that no host is in", expected)
