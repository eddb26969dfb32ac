"""Ansible's YAML form, in YAML or JSON: groups as tables with `hosts`, `children` and `vars` in them. Pure."""

from collections.abc import Mapping
from typing import Any

from hivekeys.inventory.ansible.groups import Inventory, Variable
from hivekeys.inventory.ansible.patterns import expand
from hivekeys.inventory.mistakes import Mistake, Place, kind, shown

_SECTIONS = ("hosts", "children", "vars")


class Reader:
    """Walks the tables once; `mistakes` has all that was wrong with them."""

    def __init__(self, file: str, inventory: Inventory) -> None:
        self.mistakes: list[Mistake] = []
        self._file = file
        self._inventory = inventory

    def read(self, document: Any) -> None:
        """Every group of a document into the inventory."""
        if not isinstance(document, Mapping) or not document:
            self._wrong((), "found no table, expected groups, such as all:")
        elif "plugin" in document:
            self._wrong(
                ("plugin",),
                "found the settings of an inventory plugin, expected hosts; save what it answers: "
                "ansible-inventory -i FILE --list >hosts.json",
            )
        else:
            for name, table in document.items():
                self._group((), name, table)

    def _group(self, above: tuple[str, ...], name: Any, table: Any) -> bool:
        key = (*above, str(name))
        if not isinstance(name, str) or not name:
            self._wrong(key, "found a name that is no text, expected it in quotes")
            return False
        if not isinstance(table, Mapping | None):
            self._wrong(key, f"found {kind(table)}, expected a table with hosts, children and vars")
            return False
        self._inventory.group(name)
        for section, given in (table or {}).items():
            content = {given: None} if isinstance(given, str) else given  # hosts: queen
            if section not in _SECTIONS:
                self._wrong((*key, str(section)), "unknown key, expected hosts, children or vars")
            elif not isinstance(content, Mapping | None):
                self._wrong((*key, section), f"found {kind(content)}, expected a table")
            else:
                self._section(name, key, section, content or {})
        return True

    def _section(self, group: str, key: tuple[str, ...], section: str, content: Mapping[Any, Any]) -> None:
        for name, value in content.items():
            place = Place(self._file, (*key, section, str(name)))
            if section == "children":
                if self._group((*key, "children"), name, value):
                    self._inventory.child(group, name)
            elif section == "hosts":
                self._hosts(group, name, value, place)
            else:
                self._variable(group, name, Variable(value, place))

    def _hosts(self, group: str, pattern: Any, table: Any, place: Place) -> None:
        if not isinstance(pattern, str):
            self._wrong(place.key, "found a name that is no text, expected it in quotes")
            return
        if not isinstance(table, Mapping | None):
            self._wrong(place.key, f"found {kind(table)}, expected a table of the host's variables")
            return
        try:
            names, port = expand(pattern)
        except ValueError as error:
            self._wrong(place.key, f"found {shown(pattern)}, expected {error}")
            return
        for host in names:
            named = self._inventory.host(host, group, place, port)
            for key, value in (table or {}).items():
                self._inventory.set_own(named, str(key), Variable(value, Place(self._file, (*place.key, str(key)))))

    def _variable(self, group: str, name: Any, variable: Variable) -> None:
        try:
            self._inventory.set(group, str(name), variable)
        except (TypeError, ValueError):
            self._wrong(variable.place.key, f"found {shown(variable.value)}, expected a number")

    def _wrong(self, key: tuple[str, ...], says: str) -> None:
        self.mistakes.append(Mistake(key, says, self._file))
