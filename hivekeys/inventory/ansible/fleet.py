"""From an Ansible inventory to entries as `[hosts.NAME]` has them: the groups of queen, hives and clients, by name."""

import re
from pathlib import Path

from hivekeys.fleet import Role
from hivekeys.inventory.ansible.beneath import beneath, is_program
from hivekeys.inventory.ansible.listing import Listing, is_listing
from hivekeys.inventory.ansible.question import ask
from hivekeys.inventory.ansible.variables import FLEET, Entry, left_alone, not_plain
from hivekeys.inventory.files import read_text, refusal
from hivekeys.inventory.gathered import Gathered
from hivekeys.inventory.mistakes import Mistake, Place, at, printable, some, value_text
from hivekeys.inventory.values import NAME as GROUP

QUEEN, HIVES = "queen", "hives"


def gathered(
    path: Path, queen: str = QUEEN, hives: str = HIVES, ignore: tuple[str, ...] = (), clients: str = ""
) -> Gathered:
    """The hosts of these groups (or hosts) of an Ansible inventory, or what is wrong with it. Contacts no host.

    `clients`: "" for none; a group of that name may have been made for something else.
    """
    ignored = frozenset(ignore)
    listing, has_secrets = _listing(path, ignored)
    found = Gathered(mistakes=listing.mistakes, hides_values=has_secrets)
    if found.mistakes:
        return found
    file = str(path)
    named = {Role.QUEEN: queen, Role.HIVE: hives, **({Role.CLIENT: clients} if clients else {})}
    roles = _roles(listing, named, file, found)
    groups = listing.groups_of(roles)
    for host, role in roles.items():
        entry = Entry(host, listing.hosts[host], file, ignored)
        found.hosts[host] = {"role": role.value, **entry.table, **_grouped(groups[host])}
        found.places.update({("hosts", host, *key): place for key, place in entry.places.items()})
        found.mistakes += entry.mistakes
    found.untouched = sorted({name for host in found.hosts for name in left_alone(listing.hosts[host])} - ignored)
    _name(listing, file, found)
    return found


def _grouped(groups: list[str]) -> dict[str, list[str]]:
    """Those that can be named after --limit."""
    named = [group for group in groups if re.fullmatch(GROUP, group)]
    return {"groups": named} if named else {}


def _listing(path: Path, ignored: frozenset[str]) -> tuple[Listing, bool]:
    """Ansible's answer, and whether something in it was encrypted. One that was saved in a file is read as it is."""
    try:
        if path.is_file() and not is_program(path) and is_listing(text := read_text(path)):
            return Listing(text, str(path)), False
        found = beneath(path, ignored)
    except ValueError as error:
        raise refusal(path, str(error)) from None
    except OSError as error:
        raise refusal(path, f"can't be read: {error.strerror}") from None
    return Listing(ask(found), str(path)), bool(found.encrypted)


def _name(listing: Listing, file: str, found: Gathered) -> None:
    """The fleet's name, which must be the same for all hosts."""
    for host in found.hosts:
        if FLEET not in listing.hosts[host]:
            continue
        place, name = Place(file, (host, FLEET)), listing.hosts[host][FLEET]
        if problem := not_plain(name):
            found.mistakes.append(at(place, problem))
        if not found.fleet:
            found.fleet = str(name)
            found.places[("fleet",)] = place
        elif str(name) != found.fleet:
            found.mistakes.append(
                at(place, f"found another name than {value_text(found.fleet)}, expected one for all hosts")
            )


def _roles(listing: Listing, named: dict[Role, str], file: str, found: Gathered) -> dict[str, Role]:
    """Each host's role by its group; hosts in none of them are left out."""
    roles: dict[str, Role] = {}
    for role, name in named.items():
        if name in listing.groups or name == "all":
            members = listing.members(name)
        elif name in listing.hosts:
            members = [name]
        else:
            groups = some([printable(group) for group in listing.groups if group != "ungrouped"], most=12)
            says = f"found no group {value_text(name)}, expected the {role.value}'s; there are {groups}"
            found.mistakes.append(Mistake((), says, file))
            continue
        if role is Role.QUEEN and len(members) != 1:
            says = f"found {len(members)} hosts in group {value_text(name)}, expected exactly one: the queen"
            found.mistakes.append(Mistake((), says, file))
        for host in members:
            if roles.setdefault(host, role) is not role:
                both = f"{value_text(named[roles[host]])} and {value_text(name)}"
                says = f"found {value_text(host)} in {both}, expected it in one"
                found.mistakes.append(Mistake((host,), says, file))
    return roles
