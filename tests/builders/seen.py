"""What a host shows of its slots, its unit and what its process has read."""

from dataclasses import replace

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.protocol.seen import Directory, LoadedToken, Seen, Slot, Unit
from hivekeys.token import Fingerprint

UNIT = Unit("loaded", "active", "running", 10, 0, 1.0, HIVE_SERVICE.token, "", False)
DOWN = replace(UNIT, state="failed", sub="failed", pid=0)


def seen(
    active: Fingerprint | None,
    staged: Fingerprint | None = None,
    previous: Fingerprint | None = None,
    *,
    up: bool = True,
) -> Seen:
    """A host whose process has read what is active."""
    made = [Slot(fingerprint=held) if held else None for held in (active, staged, previous)]
    return Seen(Directory(), made[0], made[1], made[2], UNIT if up else DOWN, LoadedToken(active, "younger"), 1.0)
