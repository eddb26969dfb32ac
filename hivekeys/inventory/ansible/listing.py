"""What `ansible-inventory --list` answers: groups with lists of hosts and of groups, and every host's variables.

Pure. The answer is text of another program: it is cleaned here, once, and its types are checked.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hivekeys.fleet import MOST_HOSTS
from hivekeys.inventory.mistakes import Mistake, kind
from hivekeys.text.clean import lines_of, printable

META, ALL = "_meta", "all"
OWN_GROUPS = (ALL, "ungrouped")
TOO_DEEP = "found values nested too deeply, expected an inventory"
DEEPEST = 100  # lists and tables in each other; Python's own limit is another in each version
_UNSAFE = "__ansible_unsafe"  # around a text that must not be templated
_SECTIONS = ("hosts", "children", "vars")


class Listing:
    """Who is in which group, and every host's variables. `mistakes` has all that was wrong with the answer."""

    def __init__(self, text: bytes | str, file: str) -> None:
        self.mistakes: list[Mistake] = []
        self.hosts: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, tuple[list[str], list[str]]] = {}  # the hosts named in it, the groups beneath it
        self._file = file
        try:
            self._read(_cleaned(json.loads(text, object_pairs_hook=_once)))
        except RecursionError:
            self._wrong((), TOO_DEEP)
        except json.JSONDecodeError as error:
            self._wrong((), f"line {error.lineno}: this is not JSON: {error.msg}")
        except ValueError as error:
            self._wrong((), str(error))

    def members(self, group: str) -> list[str]:
        """The hosts in a group or in a group beneath it, in the order in which they are named there."""
        if group == ALL:
            return list(self.hosts)
        found: dict[str, None] = {}
        seen: set[str] = set()
        waiting = [group]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                hosts, children = self.groups.get(name, ([], []))
                found.update(dict.fromkeys(hosts))
                waiting += reversed(children)
        return list(found)

    def groups_of(self, hosts: Iterable[str]) -> dict[str, list[str]]:
        """The groups that each of these hosts is in, by their names, but for the two that Ansible makes itself."""
        found: dict[str, list[str]] = {host: [] for host in hosts}
        for group in sorted(self.groups):
            for host in self.members(group) if group not in OWN_GROUPS else ():
                if host in found:
                    found[host].append(group)
        return found

    def _read(self, document: Any) -> None:
        if not isinstance(document, dict):
            self._wrong((), f"found {kind(document)}, expected a table of groups")
            return
        meta = document.pop(META, None)
        hostvars = meta.get("hostvars") if isinstance(meta, dict) else None
        if not isinstance(hostvars, dict):
            self._wrong((META, "hostvars"), "missing, expected a table of every host's variables, {} if there are none")
            return
        for name, group in document.items():
            self._group(name, group)
        for _, children in list(self.groups.values()):
            for child in children:
                self.groups.setdefault(child, ([], []))  # Ansible leaves out groups without hosts
        names = dict.fromkeys(host for hosts, _ in self.groups.values() for host in hosts)
        if len(names) > MOST_HOSTS:
            self._wrong((), f"found more than {MOST_HOSTS} hosts, expected less")
            return
        self.hosts = {host: self._variables(host, hostvars.get(host, {})) for host in names}

    def _group(self, name: str, group: Any) -> None:
        if not isinstance(group, dict):
            self._wrong((name,), f"found {kind(group)}, expected a table with hosts and children")
            return
        for section in group:
            if section not in _SECTIONS:
                self._wrong((name, section), "unknown key, expected hosts or children")
        if group.get("vars"):
            self._wrong(
                (name, "vars"), "found a group's variables, expected them in _meta.hostvars: leave --export out"
            )
        self.groups[name] = (self._names(name, "hosts", group), self._names(name, "children", group))

    def _names(self, group: str, section: str, table: Mapping[str, Any]) -> list[str]:
        names = table.get(section, [])
        if isinstance(names, list) and all(isinstance(each, str) and each for each in names):
            return names
        self._wrong((group, section), f"found {kind(names)}, expected a list of names")
        return []

    def _variables(self, host: str, variables: Any) -> dict[str, Any]:
        if isinstance(variables, dict):
            return variables
        self._wrong((META, "hostvars", host), f"found {kind(variables)}, expected a table")
        return {}

    def _wrong(self, key: tuple[str, ...], says: str) -> None:
        self.mistakes.append(Mistake(key, says, self._file))


def is_listing(text: str) -> bool:
    """True for an answer of `ansible-inventory --list` that was saved in a file: no Ansible is needed to read it."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        return META in json.loads(text)
    except (RecursionError, ValueError):
        return False


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"found the key {json.dumps(name)} twice in one table, expected every key once")
        table[name] = value
    return table


def _cleaned(value: Any, deep: int = 0) -> Any:
    """The same with each line of a text printable, and what Ansible puts around some texts taken away."""
    if deep > DEEPEST:
        raise ValueError(TOO_DEEP)
    if isinstance(value, str):
        return lines_of(value.replace("\t", " "))
    if isinstance(value, list):
        return [_cleaned(each, deep + 1) for each in value]
    if isinstance(value, dict):
        if value.keys() == {_UNSAFE}:
            return _cleaned(value[_UNSAFE], deep + 1)
        return {printable(name): _cleaned(each, deep + 1) for name, each in value.items()}
    return value
