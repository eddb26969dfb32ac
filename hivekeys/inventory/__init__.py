"""Reads a fleet from its file and names every mistake in it at once.

    places      the folders where inventories are looked for
    find        which file --fleet NAME means
    called      the NAME of a file
    load        the file, checked whole before any host is contacted
    load_named  the file that find means
    look        the same, with what the fleet was made from
    select      which of its hosts --limit and --exclude mean

Import this package late: pydantic alone takes longer than `fab --list` may.
"""

from hivekeys.inventory.load import LoadedInventory, load, load_named, look
from hivekeys.inventory.places import called, find, places
from hivekeys.inventory.ranges import select

__all__ = ["LoadedInventory", "called", "find", "load", "load_named", "look", "places", "select"]
