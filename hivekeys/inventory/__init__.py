"""Fleets as files: `inventory/NAME.toml` in, a `Fleet` out, or every mistake in the file at once.

    find    which file --fleet NAME means
    load    the file, checked whole before any host is contacted
    select  which of its hosts --limit and --exclude mean

Import this package late: pydantic alone takes longer than `fab --list` may.
"""

from hivekeys.inventory.files import find
from hivekeys.inventory.load import load
from hivekeys.inventory.ranges import select

__all__ = ["find", "load", "select"]
