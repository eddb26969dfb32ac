"""An Ansible inventory in memory: hosts, groups, who is in which, and which value of a variable wins.

Pure. The order of precedence is Ansible's (docs, "Understanding variable precedence", 3 to 10 without the playbook's
folder): group `all`, then the other groups from the top down, then group_vars in the same order, then the
host's own, then host_vars. Groups equally far from the top: by `ansible_group_priority`, then by name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from hivekeys.errors import UserError
from hivekeys.inventory.mistakes import Place, shown, some

ALL, UNGROUPED = "all", "ungrouped"
PRIORITY = "ansible_group_priority"
MOST_SAYINGS = 500_000


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
    groups: dict[str, None] = field(default_factory=dict)  # those that name it
    own: Variables = field(default_factory=dict)
    beside: Variables = field(default_factory=dict)


class Inventory:
    """Filled by the readers of each form, then asked. A group that is its own ancestor is a ValueError when asked.

    A short pattern can stand for many hosts, each with many variables: UserError when there are more than
    MOST_SAYINGS of them in all.
    """

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {ALL: Group(), UNGROUPED: Group()}
        self.hosts: dict[str, Named] = {}
        self._above: dict[str, dict[str, None]] = {}
        self._said = 0
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
        self.hosts[name].groups[group] = None
        self._count()
        return self.hosts[name]

    def set_own(self, host: Named, name: str, variable: Variable) -> None:
        """A host's own variable."""
        put(host.own, name, variable)
        self._count()

    def _count(self) -> None:
        self._said += 1
        if self._said > MOST_SAYINGS:
            raise UserError(f"found more than {MOST_SAYINGS} hosts and variables of hosts, expected less")

    def child(self, parent: str, name: str) -> None:
        """The second group is beneath the first; every group is beneath `all` anyway."""
        if name != ALL:
            self.group(name)
            self.group(parent).children[name] = None
            self._above.setdefault(name, {})[parent] = None

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
        merged = self._merged.get(groups)
        if merged is None:
            merged = _merged([self.groups[name].own for name in groups] + [self.groups[name].beside for name in groups])
            self._merged[groups] = merged
        named = self.hosts[host]
        return {**merged, **named.own, **named.beside}

    def groups_of(self, host: str) -> tuple[str, ...]:
        """Every group that the host is in, `all` first, the one whose variables win last."""
        direct = self.hosts[host].groups.keys() - {ALL}
        direct = direct - {UNGROUPED} or {UNGROUPED}
        found, waiting = set(direct), list(direct)
        while waiting:
            new = self._above.get(waiting.pop(), {}).keys() - found
            found |= new
            waiting += new
        return (ALL, *sorted(found - {ALL}, key=lambda name: (self.depth(name), self.groups[name].priority, name)))

    def depth(self, name: str) -> int:
        """How far a group is from `all`, by the longest way."""
        if not self._depths:
            self._depths = self._measured()
        return self._depths[name]

    def _measured(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        order = TopologicalSorter({name: self._above.get(name, {}).keys() for name in self.groups})
        try:
            for name in order.static_order():
                above = self._above.get(name, {})
                depths[name] = 0 if name == ALL else 1 + max((depths[each] for each in above), default=0)
        except CycleError as error:
            circle = some([shown(name) for name in error.args[1]])
            raise ValueError(f"found groups in a circle, {circle}, expected none beneath itself") from None
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
