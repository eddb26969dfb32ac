"""What a program answers to `--list`, and what `ansible-inventory --list` prints: groups with lists of hosts. Pure."""

from collections.abc import Mapping
from typing import Any

from hivekeys.inventory.ansible.groups import Inventory, Variable
from hivekeys.inventory.mistakes import Mistake, Place, kind, shown

META = "_meta"
_SECTIONS = ("hosts", "children", "vars")


class Reader:
    """Walks the groups once; `mistakes` has all that was wrong with them."""

    def __init__(self, file: str, inventory: Inventory) -> None:
        self.mistakes: list[Mistake] = []
        self._file = file
        self._inventory = inventory

    def read(self, document: Any) -> None:
        """Every group of an answer into the inventory, then the hosts' own variables.

        Without `_meta.hostvars` it would have to be asked for each host; Ansible is giving that up, too.
        """
        if not isinstance(document, Mapping):
            self._wrong((), f"found {kind(document)}, expected a table of groups")
            return
        meta = document.get(META)
        hostvars = meta.get("hostvars") if isinstance(meta, Mapping) else None
        if not isinstance(hostvars, Mapping):
            self._wrong((META, "hostvars"), "missing, expected a table of every host's variables, {} if there are none")
            return
        for name, group in document.items():
            if name != META:
                self._group(name, group)
        for host, variables in hostvars.items():
            self._hostvars(host, variables)

    def _group(self, name: str, group: Any) -> None:
        table = {"hosts": group} if isinstance(group, list) else group
        if not isinstance(table, Mapping):
            self._wrong((name,), f"found {kind(group)}, expected a table with hosts, children and vars")
            return
        self._inventory.group(name)
        for section in table:
            if section not in _SECTIONS:
                self._wrong((name, section), "unknown key, expected hosts, children or vars")
        for host in self._names(name, "hosts", table):
            self._inventory.host(host, name, Place(self._file, (name, "hosts", host)))
        for child in self._names(name, "children", table):
            self._inventory.child(name, child)
        variables = table.get("vars", {})
        if not isinstance(variables, Mapping):
            self._wrong((name, "vars"), f"found {kind(variables)}, expected a table")
            return
        for key, value in variables.items():
            place = Place(self._file, (name, "vars", key))
            try:
                self._inventory.set(name, key, Variable(value, place))
            except (TypeError, ValueError):
                self._wrong(place.key, f"found {shown(value)}, expected a number")

    def _names(self, group: str, section: str, table: Mapping[str, Any]) -> list[str]:
        names = table.get(section, [])
        if isinstance(names, list) and all(isinstance(each, str) and each for each in names):
            return names
        self._wrong((group, section), f"found {kind(names)}, expected a list of names")
        return []

    def _hostvars(self, host: str, variables: Any) -> None:
        if host not in self._inventory.hosts:
            return  # Ansible, too, knows only hosts of groups
        if not isinstance(variables, Mapping):
            self._wrong((META, "hostvars", host), f"found {kind(variables)}, expected a table")
            return
        for key, value in variables.items():
            place = Place(self._file, (META, "hostvars", host, key))
            self._inventory.set_own(self._inventory.hosts[host], key, Variable(value, place))

    def _wrong(self, key: tuple[str, ...], says: str) -> None:
        self.mistakes.append(Mistake(key, says, self._file))
