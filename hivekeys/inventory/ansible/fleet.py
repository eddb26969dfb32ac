"""From an Ansible inventory to entries as `[hosts.NAME]` has them: the queen's group and the hives', mapped by name."""

from pathlib import Path

from hivekeys.fleet import Role
from hivekeys.inventory.ansible.documents import TOO_DEEP
from hivekeys.inventory.ansible.groups import Inventory
from hivekeys.inventory.ansible.sources import read_all
from hivekeys.inventory.ansible.variables import FLEET, Entry, left_alone, not_plain
from hivekeys.inventory.gathered import Gathered
from hivekeys.inventory.mistakes import Mistake, Place, at, printable, shown, some

QUEEN, HIVES = "queen", "hives"


def gathered(path: Path, queen: str = QUEEN, hives: str = HIVES, ignore: tuple[str, ...] = ()) -> Gathered:
    """The hosts of two groups (or hosts) of an Ansible inventory, or what is wrong with it. Contacts nobody."""
    try:
        return _gathered(path, queen, hives, frozenset(ignore))
    except RecursionError:
        return Gathered(mistakes=[Mistake((), TOO_DEEP, str(path))])


def _gathered(path: Path, queen: str, hives: str, ignored: frozenset[str]) -> Gathered:
    inventory, mistakes = read_all(path, ignored)
    found = Gathered(mistakes=mistakes)
    if mistakes:
        return found
    roles = _roles(inventory, {Role.QUEEN: queen, Role.HIVE: hives}, str(path), found)
    names: dict[str, Place] = {}
    for host, role in roles.items():
        variables = inventory.variables(host)
        entry = Entry(host, variables, inventory.hosts[host].place, ignored)
        found.hosts[host] = {"role": role.value, **entry.table}
        found.places.update({("hosts", host, *key): place for key, place in entry.places.items()})
        found.mistakes += entry.mistakes
        found.untouched += [name for name in left_alone(variables) if name not in ignored]
        if FLEET in variables:
            problem = not_plain(variables[FLEET].value)
            found.mistakes += [at(variables[FLEET].place, problem)] if problem else []
            names.setdefault(str(variables[FLEET].value), variables[FLEET].place)
    found.untouched = sorted(set(found.untouched))
    found.fleet = next(iter(names), "")
    for number, place in enumerate(names.values()):
        if number == 0:
            found.places[("fleet",)] = place
            continue
        found.mistakes.append(at(place, f"found another name than {shown(found.fleet)}, expected one for all hosts"))
    return found


def _roles(inventory: Inventory, named: dict[Role, str], file: str, found: Gathered) -> dict[str, Role]:
    """Who is what; whoever is in neither group is none of our business."""
    roles: dict[str, Role] = {}
    for role, name in named.items():
        if name in inventory.groups:
            members = inventory.members(name)
        elif name in inventory.hosts:
            members = [name]
        else:
            groups = some([printable(group) for group in inventory.groups if group != "ungrouped"], most=12)
            says = f"found no group {shown(name)}, expected the {role.value}'s; there are {groups}"
            found.mistakes.append(Mistake((), says, file))
            continue
        if role is Role.QUEEN and len(members) != 1:
            says = f"found {len(members)} hosts in group {shown(name)}, expected exactly one: the queen"
            found.mistakes.append(Mistake((), says, file))
        for host in members:
            if roles.setdefault(host, role) is not role:
                says = f"found {shown(host)} in {shown(named[Role.QUEEN])} and {shown(name)}, expected it in one"
                found.mistakes.append(at(inventory.hosts[host].place, says))
    return roles
