"""Reads a fleet from its file and names every mistake in it at once.

    find    which file --fleet NAME means
    load    the file, checked whole before any host is contacted
    look    the same, with what the fleet was made from
    select  which of its hosts --limit and --exclude mean

Import this package late: pydantic alone takes longer than `fab --list` may.
"""

from hivekeys.inventory.files import find
from hivekeys.inventory.load import LoadedInventory, load, look
from hivekeys.inventory.ranges import select

__all__ = ["LoadedInventory", "find", "load", "look", "select"]
