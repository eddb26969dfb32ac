"""An Ansible inventory in memory: hosts, groups, who is in which, and which value of a variable wins.

Pure. The order of precedence is Ansible's (docs, "Understanding variable precedence", 3 to 10 without the playbook's
folder): group `all`, then the other groups from the top down, then group_vars in the same order, then the
host's own, then host_vars. Groups equally far from the top: by `ansible_group_priority`, then by name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hivekeys.inventory.mistakes import Place

ALL, UNGROUPED = "all", "ungrouped"
PRIORITY = "ansible_group_priority"


@dataclass(frozen=True)
class Variable:
    """A value as the file has it, and where that is."""

    value: Any
    place: Place


Variables = dict[str, Variable]


@dataclass
class Group:
    """One group: the hosts that are named in it, the groups beneath it, its own variables."""

    hosts: dict[str, None] = field(default_factory=dict)  # in order
    children: dict[str, None] = field(default_factory=dict)
    own: Variables = field(default_factory=dict)
    beside: Variables = field(default_factory=dict)  # of group_vars
    priority: int = 1


@dataclass
class Named:
    """One host: where it was first named, its own variables, those of host_vars."""

    place: Place
    own: Variables = field(default_factory=dict)
    beside: Variables = field(default_factory=dict)


class Inventory:
    """Filled by the readers of each form, then asked. A group that is its own ancestor is a ValueError when asked."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {ALL: Group(), UNGROUPED: Group()}
        self.hosts: dict[str, Named] = {}
        self._merged: dict[tuple[str, ...], Variables] = {}
        self._depths: dict[str, int] = {}

    # -- filling

    def group(self, name: str) -> Group:
        """The group of that name, made if it is new."""
        return self.groups.setdefault(name, Group())

    def host(self, name: str, group: str, place: Place, port: int | None = None) -> Named:
        """The host of that name, made if it is new, in the group; a port counts where the host is first named."""
        if name not in self.hosts:
            self.hosts[name] = Named(place)
            if port is not None:
                self.hosts[name].own["ansible_port"] = Variable(port, place)
        self.group(group).hosts[name] = None
        return self.hosts[name]

    def child(self, parent: str, name: str) -> None:
        """The second group is beneath the first; every group is beneath `all` anyway."""
        if name != ALL:
            self.group(name)
            self.group(parent).children[name] = None

    def set(self, group: str, name: str, variable: Variable) -> None:
        """A group's own variable. Raises ValueError for a priority that is no number."""
        if name == PRIORITY:
            self.group(group).priority = int(variable.value)
        else:
            put(self.group(group).own, name, variable)

    # -- asking

    def members(self, name: str) -> list[str]:
        """The hosts in a group or in a group beneath it, in the order in which the inventory first names them."""
        if name == UNGROUPED:  # whoever is in no other group, named there or not
            return [host for host in self.hosts if UNGROUPED in self.groups_of(host)]
        inside = {host for group in self._beneath(name) for host in self.groups[group].hosts}
        return [host for host in self.hosts if host in inside]

    def variables(self, host: str) -> Variables:
        """What Ansible would hand to a play for this host, untemplated."""
        groups = self.groups_of(host)
        if groups not in self._merged:
            self._merged[groups] = _merged([self.groups[name].own for name in groups])
            for name in groups:
                self._merged[groups].update(self.groups[name].beside)
        named = self.hosts[host]
        return {**self._merged[groups], **named.own, **named.beside}

    def groups_of(self, host: str) -> tuple[str, ...]:
        """Every group that the host is in, `all` first, the one whose variables win last."""
        direct = {name for name, group in self.groups.items() if host in group.hosts} - {ALL}
        direct = direct - {UNGROUPED} or {UNGROUPED}
        found, waiting = set(direct), list(direct)
        while waiting:
            above = {name for name, group in self.groups.items() if waiting[-1] in group.children} - found
            waiting.pop()
            found |= above
            waiting += above
        return (ALL, *sorted(found - {ALL}, key=lambda name: (self.depth(name), self.groups[name].priority, name)))

    def depth(self, name: str) -> int:
        """How far a group is from `all`, by the longest way."""
        if not self._depths:
            self._depths = self._measured()
        return self._depths[name]

    def _measured(self) -> dict[str, int]:
        parents: dict[str, set[str]] = {name: set() for name in self.groups}
        for name, group in self.groups.items():
            for child in group.children:
                parents[child].add(name)
        depths = {ALL: 0}
        waiting = [name for name in self.groups if name != ALL]
        while waiting:
            ready = [name for name in waiting if parents[name] <= depths.keys()]
            if not ready:
                raise ValueError(f"groups that are not beneath themselves, as one of {', '.join(sorted(waiting))} is")
            depths.update({name: 1 + max((depths[above] for above in parents[name]), default=0) for name in ready})
            waiting = [name for name in waiting if name not in depths]
        return depths

    def _beneath(self, name: str) -> Iterable[str]:
        if name == ALL:
            return self.groups
        found, waiting = {name}, [name]
        while waiting:
            new = self.groups[waiting.pop()].children.keys() - found
            found |= new
            waiting += new
        return found


def put(variables: Variables, name: str, variable: Variable) -> None:
    """Set a variable anew; a table that is given in parts is put together, as Ansible does within a group or host."""
    before = variables.get(name)
    if before and isinstance(before.value, Mapping) and isinstance(variable.value, Mapping):
        variable = Variable({**before.value, **variable.value}, variable.place)
    variables[name] = variable


def _merged(several: Iterable[Variables]) -> Variables:
    return {name: variable for one in several for name, variable in one.items()}
