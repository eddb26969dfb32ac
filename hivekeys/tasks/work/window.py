"""Whether a run may begin now, by `[windows]` of the inventory: refused outside of them, or awaited."""

import itertools
import time
from collections.abc import Callable

from hivekeys.bastion.window import refusal, when
from hivekeys.errors import UserError
from hivekeys.fleet import Fleet
from hivekeys.rotation.windows import opening
from hivekeys.tasks.options.output import OutputOptions
from hivekeys.tasks.options.turning import WindowOption
from hivekeys.tasks.options.verb import BeginAgain
from hivekeys.tasks.terminal.output import cry

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
            far = f", more than {LONGEST / 86_400:g} days away: too long to wait for" if option.wait_for_window else ""
            raise UserError(refusal(fleet, fleet.windows, found, at, far), hint=HINT)
        if at - began - told >= BETWEEN_LINES and not output.quiet:
            told = at - began
            cry(f"hivekeys: waiting until {when(fleet.windows, found.changes, at)}: {found.why} (Ctrl-C ends it)\n")
        sleep(min(ROUND, found.changes - at))
