"""Whether a fleet may be turned now, by `[windows]` of its inventory."""

import time

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Windows
from hivekeys.rotation.windows import Opening, clock, opening
from hivekeys.text.durations import ago


def refuse_closed(fleet: Fleet) -> None:
    """Raises UserError where the fleet may not be turned now, with the next allowed time."""
    at = time.time()
    found = opening(fleet.windows, at)
    if fleet.windows and not found.is_open:
        raise UserError(refusal(fleet, fleet.windows, found, at))


def refusal(fleet: Fleet, windows: Windows, found: Opening, at: float, far: str = "") -> str:
    """Why the fleet may not be turned `at` this moment, and from when on it may; `far`: what is said of that."""
    said = f"fleet {fleet.name} may not be turned at {clock(windows, at)}: {found.why}"
    if found.changes is None:
        return f"{said}; there is no allowed time in the next year"
    return f"{said}; next allowed: {when(windows, found.changes, at)}{far}"


def when(windows: Windows, moment: float, at: float) -> str:
    """A moment by the windows' clock, and how far it is from `at`."""
    return f"{clock(windows, moment)}, in {ago(moment - at)}"
