"""Checks what must hold between the hosts of a fleet: one queen, every host once, waivers for known hosts.

Pure. The rules look at the file as it was read, before its values are known to be right, so that these
mistakes are told together with all others; whatever they can't understand is `schema.py`'s to refuse.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hivekeys.fleet import MOST_HOSTS, Role, TokenAge
from hivekeys.inventory.mistakes import Mistake, key_path, some, value_text, wrong
from hivekeys.inventory.ranges import expand

Table = Mapping[str, Any]
_ROLES = [role.value for role in Role]


def mistakes_between(document: Table) -> list[Mistake]:
    """Every rule that the entries break together."""
    hosts = {pattern: table for pattern, table in table_of(document, "hosts").items() if isinstance(table, dict)}
    if "hosts" not in document:
        return [Mistake(("hosts",), "missing, expected a table for each host, such as [hosts.queen]")]
    mistakes = [*_lengths(hosts), *_names(hosts), *_groups(hosts), *_addresses(hosts, table_of(document, "ssh"))]
    if document.get("hosts") == hosts and all(table.get("role") in _ROLES for table in hosts.values()):
        mistakes += _queens(hosts)  # who is the queen can't be told before every role is right
    return [*mistakes, *_ages(table_of(document, "token_age")), *_waived(document.get("waivers"), hosts)]


def too_many(document: Table) -> list[Mistake]:
    """Ranges are short to write: the rules, which expand every one, are asked only of so many hosts."""
    room = MOST_HOSTS
    for pattern in table_of(document, "hosts"):
        room -= len(expanded(pattern))
        if room < 0:
            return [wrong(("hosts",), f"more than {MOST_HOSTS} hosts", "less")]
    return []


def members(pattern: str, table: Table) -> list[tuple[str, str]]:
    """Name and address of every host of an entry; a host without an address is reached by its name."""
    names = expand(pattern)
    return list(zip(names, expand(table["address"]) if "address" in table else names, strict=False))


def _lengths(hosts: Table) -> Iterator[Mistake]:
    for pattern, table in hosts.items():
        names, addresses = expanded(pattern), expanded(table.get("address", pattern))
        if names and addresses and len(names) != len(addresses):
            found = f"{value_text(table['address'])}, {_count(addresses)}"
            yield wrong(("hosts", pattern, "address"), found, f"{len(names)}: one for each host")


def _names(hosts: Table) -> Iterator[Mistake]:
    owner: dict[str, str] = {}
    for pattern in hosts:
        taken = [name for name in expanded(pattern) if owner.setdefault(name, pattern) != pattern]
        if taken:
            others = some([key_path(("hosts", other)) for other in dict.fromkeys(owner[name] for name in taken)])
            found = f"{some([value_text(name) for name in taken])}, which {others} names already"
            yield wrong(("hosts", pattern), found, "every host once")


def _groups(hosts: Table) -> Iterator[Mistake]:
    """Mistakes of a group that has a host's name: --limit could not tell them apart. One of that host alone may."""
    names = {name for pattern in hosts for name in expanded(pattern)}
    members: dict[str, dict[str, str]] = {}  # of each such group: its hosts, and the entry of each
    for pattern, table in hosts.items():
        for group in groups_of(table):
            if group in names:
                members.setdefault(group, {}).update(dict.fromkeys(expanded(pattern), pattern))
    for group, its in members.items():
        if its.keys() != {group}:
            pattern = next(entry for name, entry in its.items() if name != group)
            found = f"{value_text(group)}, which is a host's name"
            yield wrong(("hosts", pattern, "groups"), found, "a name that no host has")


def groups_of(table: object) -> list[str]:
    """The groups of an entry, as far as they can be understood."""
    groups = table.get("groups", []) if isinstance(table, dict) else []
    return [each for each in (groups if isinstance(groups, list) else [groups]) if isinstance(each, str)]


def _addresses(hosts: Table, ssh: Table) -> Iterator[Mistake]:
    """Mistakes of two names for one machine: it would be turned twice, or the queen together with a hive."""
    owner: dict[tuple[str, str, str], tuple[str, str]] = {}
    for pattern, table in hosts.items():
        if "beside" in table:  # sharing.py
            continue
        port, jump = (str(table.get(key, ssh.get(key, default))) for key, default in (("port", 22), ("jump", "")))
        for name, address in zip(expanded(pattern), expanded(table.get("address", pattern)), strict=False):
            other, its_name = owner.setdefault((address.lower(), port, jump), (pattern, name))
            if its_name != name:  # one name twice is told by _names
                found = f"{value_text(address)} port {port}, which {key_path(('hosts', other))} has already"
                yield wrong(
                    ("hosts", pattern, "address"),
                    found,
                    f"an address and port of its own, or beside = {value_text(its_name)}",
                )
                break


def _queens(hosts: Table) -> Iterator[Mistake]:
    queens = [
        name for pattern, table in hosts.items() if table["role"] == Role.QUEEN.value for name in expanded(pattern)
    ]
    if len(queens) != 1:
        found = f"{len(queens)} queens ({some(queens)})" if queens else "no queen"
        yield wrong(("hosts",), found, 'exactly one host with role = "queen"')


def _ages(table: Table) -> Iterator[Mistake]:
    """Mistakes between warn and fail, under the key that is in the file; the other may be the default."""
    warn, fail = table.get("warn", TokenAge.warn), table.get("fail", TokenAge.fail)
    if any(isinstance(days, bool) or not isinstance(days, int | float) for days in (warn, fail)) or not warn > fail:
        return
    if "warn" in table:
        yield wrong(("token_age", "warn"), value_text(warn), f"no more than fail, which is {fail:g}")
    else:
        yield wrong(("token_age", "fail"), value_text(fail), f"no less than warn, which is {warn:g}")


def _waived(waivers: object, hosts: Table) -> Iterator[Mistake]:
    """Mistakes of waivers for hosts that do not exist: most likely typing errors."""
    names = {name for pattern in hosts for name in expanded(pattern)}
    for number, waiver in enumerate(waivers if isinstance(waivers, list) else (), 1):
        patterns = waiver.get("hosts", []) if isinstance(waiver, dict) else []
        strangers = [
            name
            for pattern in (patterns if isinstance(patterns, list) else [patterns])
            for name in expanded(pattern)
            if name not in names
        ]
        if strangers:
            found = some([value_text(name) for name in strangers])
            yield wrong(("waivers", str(number), "hosts"), found, "hosts of this fleet")


def table_of(document: Table, key: str) -> Table:
    """A table of the file, empty where there is none that can be understood."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def expanded(text: object) -> tuple[str, ...]:
    """The names that a text stands for, none where it cannot be understood."""
    try:
        return expand(text) if isinstance(text, str) else ()
    except ValueError:
        return ()


def _count(addresses: tuple[str, ...]) -> str:
    return f"{len(addresses)} address{'es' if len(addresses) > 1 else ''}"
