"""Checks services that share a machine (`beside`): unit, port and token directory must differ.

Pure. As in `rules.py` the file is looked at as it was read; what can't be understood is `schema.py`'s to refuse.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hivekeys.fleet import SERVICES, Become, Role
from hivekeys.inventory.mistakes import Mistake, value_text, wrong
from hivekeys.inventory.rules import Table, expanded, table_of
from hivekeys.inventory.schema import LOGIN


@dataclass(frozen=True)
class _Member:
    """One host of an entry: its number in it, and whose machine it shares ("" for a machine of its own)."""

    name: str
    pattern: str
    place: int
    table: Table
    home: str

    def wrong(self, key: str, found: str, expected: str) -> Mistake:
        return wrong(("hosts", self.pattern, *key.split(".")), found, expected)


def mistakes_beside(document: Table) -> Iterator[Mistake]:
    """Every rule that entries with `beside` break; of each entry the first host that does."""
    members = {member.name: member for member in _members(table_of(document, "hosts"))}
    there: dict[str, list[_Member]] = defaultdict(list)
    for member in members.values():
        there[member.home or member.name].append(member)
    told: set[str] = set()
    for member in members.values():
        if "beside" in member.table and member.pattern not in told:
            mistakes = list(_of_one(member, members, there[member.home], document))
            told |= {member.pattern} if mistakes else set()
            yield from mistakes


def _members(hosts: Table) -> Iterator[_Member]:
    for pattern, table in hosts.items():
        if isinstance(table, dict):
            names, homes = expanded(pattern), expanded(table.get("beside"))
            for place, name in enumerate(names):
                yield _Member(name, pattern, place, table, homes[place] if len(homes) == len(names) else "")


def _of_one(
    member: _Member, members: Mapping[str, _Member], there: Iterable[_Member], document: Table
) -> Iterator[Mistake]:
    home = members.get(member.home)
    if not member.home:
        count, due = len(expanded(member.table["beside"])), len(expanded(member.pattern))
        if count:
            yield member.wrong("beside", f"{count} names", f"{due}: one for each host")
    elif home is None:
        yield member.wrong("beside", value_text(member.home), "another host of this fleet")
    elif "beside" in home.table:
        whose = (
            "the host itself" if home is member else f"{value_text(home.name)}, which stands beside another one itself"
        )
        yield member.wrong("beside", whose, "the host whose machine it is")
    else:
        yield from _reached(member, home, table_of(document, "ssh"))
        yield from _apart(member, there, table_of(document, "services"))


def _reached(member: _Member, home: _Member, ssh: Table) -> Iterator[Mistake]:
    """It is reached as its home is; what the entry says of that again must be the same."""
    due = {key: home.table.get(key, ssh.get(key)) for key in LOGIN}
    same = {key: member.table[key] == due[key] for key in LOGIN if key in member.table}
    own, its = (expanded(each.table.get("address", each.pattern)) for each in (member, home))
    if "address" in member.table and own:
        same["address"] = own[member.place : member.place + 1] == its[home.place : home.place + 1]
    for key, is_same in same.items():
        if not is_same:
            yield member.wrong(key, f"another {key} than {home.name} has", "the same, or none")
    if due["become"] == Become.RESTRICTED.value:
        found = f"{value_text(home.name)}, whose agent serves one service alone"
        yield member.wrong("beside", found, "a host that is not in restricted mode")


def _apart(member: _Member, there: Iterable[_Member], services: Table) -> Iterator[Mistake]:
    """Unit, port and token directory are each service's own: a run takes one service at a time to the new token."""
    own = _service(member.table, services)
    for other in there:
        if other is member:
            return
        its = _service(other.table, services)
        for part, name in (("unit", "unit"), ("port", "port"), ("token", "token directory")):
            if part in own and own[part] == its.get(part):
                yield member.wrong(f"service.{part}", f"the {name} of {other.name} on its machine", "one of its own")


def _service(table: Table, services: Table) -> dict[str, Any]:
    """What tells its service from others, as far as it can be understood.

    Of the token its directory: what is staged, kept and left beside it would be taken for the other service's.
    """
    role = table.get("role")
    if role not in [each.value for each in Role]:
        return {}
    usual = SERVICES[Role(role)]
    found: dict[str, Any] = {"unit": usual.unit, "port": usual.port, "token": usual.token, "address": usual.address}
    for said in (table_of(services, role), table_of(table, "service")):
        found.update((part, said[part]) for part in found if part in said)
    address = str(found.pop("address"))
    found["port"] = address if address.startswith("unix:") else (address, found["port"])
    if role == Role.CLIENT.value:  # it listens nowhere
        del found["port"]
    if isinstance(found["token"], str):
        found["token"] = posixpath.dirname(found["token"])
    return found
