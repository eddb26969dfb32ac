"""An inventory as every verb loads it: with the names of all checks at hand."""

from pathlib import Path

from hivekeys import inventory
from hivekeys.fleet import Fleet
from hivekeys.verify.checks import CHECKS


def load(path: Path) -> Fleet:
    return inventory.load(path, lambda: CHECKS)
