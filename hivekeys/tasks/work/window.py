"""Whether a run may begin now, by `[windows]` of the inventory: refused outside of them, or awaited."""

import itertools
import time
from collections.abc import Callable

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Windows
from hivekeys.rotation.windows import Opening, clock, opening
from hivekeys.tasks.options.output import OutputOptions
from hivekeys.tasks.options.turning import WindowOption
from hivekeys.tasks.options.verb import BeginAgain
from hivekeys.tasks.terminal.output import cry
from hivekeys.text.durations import ago

LONGEST = 7 * 86_400.0  # seconds that a window is waited for
ROUND = 20.0  # seconds between two looks at the clock, which may be set meanwhile
BETWEEN_LINES = 3_600.0  # seconds between two lines that say so
HINT = "--wait-for-window waits for it; `fab plan` looks at any time, and `fab revoke` and `fab rollback` are not bound"


def is_closed(fleet: Fleet) -> bool:
    """True where the fleet may not be turned now."""
    return not opening(fleet.windows, time.time()).is_open


def await_window(
    fleet: Fleet,
    option: WindowOption,
    output: OutputOptions,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns where the fleet may be turned. Else it refuses, or waits and has the verb begin again.

    A wait holds no token, no lock and no connection; and much may have changed when it is over.
    """
    began, told = now(), -BETWEEN_LINES
    for has_waited in itertools.chain([False], itertools.repeat(True)):
        at = now()
        found = opening(fleet.windows, at)
        if fleet.windows is None or found.is_open:
            if has_waited:
                raise BeginAgain
            return
        if not option.wait_for_window or found.changes is None or found.changes - began > LONGEST:
            raise UserError(_refusal(fleet, fleet.windows, found, at, option), hint=HINT)
        if at - began - told >= BETWEEN_LINES and not output.quiet:
            told = at - began
            cry(f"hivekeys: waiting until {_when(fleet.windows, found.changes, at)}: {found.why} (Ctrl-C ends it)\n")
        sleep(min(ROUND, found.changes - at))


def _refusal(fleet: Fleet, windows: Windows, found: Opening, at: float, option: WindowOption) -> str:
    said = f"fleet {fleet.name} may not be turned at {clock(windows, at)}: {found.why}"
    if found.changes is None:
        return f"{said}; there is no allowed time in the next year"
    far = f", more than {LONGEST / 86_400:g} days away: too long to wait for" if option.wait_for_window else ""
    return f"{said}; next allowed: {_when(windows, found.changes, at)}{far}"


def _when(windows: Windows, moment: float, at: float) -> str:
    return f"{clock(windows, moment)}, in {ago(moment - at)}"
