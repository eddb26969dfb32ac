"""`fab status --watch`: the state of the fleet, redrawn every few seconds until Ctrl-C."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from hivekeys.errors import ExitCode, UserError
from hivekeys.status import status as now
from hivekeys.status.status import FleetStatus
from hivekeys.text.durations import ago

EVERY = 5.0  # seconds between a look and the next
LONG = 2.0  # a look that takes more of them is said to be going on


class Picture:
    """The last look, and since when the next one has been going on; it is drawn in another thread."""

    def __init__(self) -> None:
        self.seen: FleetStatus | None = None
        self.asking_since = time.monotonic()
        self.error: Exception | None = None

    def keep_looking(self, look: Callable[[], FleetStatus]) -> None:
        """Looks again and again; ends only with an error, which it keeps."""
        try:
            while True:
                self.asking_since = time.monotonic()
                self.seen = look()
                self.asking_since = float("inf")
                time.sleep(EVERY)
        except Exception as error:
            self.error = error

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield self._drawn(options.max_width)

    def _drawn(self, width: int) -> Group:
        """What a small screen cuts off is at the end: hosts with which nothing is wrong."""
        asking = time.monotonic() - self.asking_since
        going_on = f"; asking the hosts for {ago(asking)}" if asking > LONG else ""
        if self.seen is None:
            return Group(Text(f"asking the hosts{going_on}", "dim"))
        at = time.strftime("%H:%M:%S", time.localtime(self.seen.now))
        head = Text(f"as of {at}, every {EVERY:.0f} s until Ctrl-C{going_on}", "dim")
        return Group(head, *map(Text, now.lines(self.seen)), now.table(self.seen, worst_first=True, width=width))


def watch(look: Callable[[], FleetStatus]) -> NoReturn:
    """Draws what `look` shows until the operator ends it, then leaves with the code of what was seen last.

    The process leaves at once, in the middle of a look too: no host is being changed, so none need be waited for.
    """
    picture = Picture()
    looker = threading.Thread(target=picture.keep_looking, args=(look,), daemon=True)
    try:
        with Live(picture, console=Console(highlight=False), refresh_per_second=4):
            looker.start()
            looker.join()
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(picture.seen.code if picture.seen else ExitCode.INTERRUPTED)
    raise picture.error or AssertionError("a look ends with an error only")


def refuse_without_terminal() -> None:
    """Refuses without a terminal: the picture is drawn over, and a job without a terminal would never end."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        raise UserError(
            "--watch draws on a terminal, and there is none",
            hint="`fab status` shows the fleet once; for monitoring, a timer and --metrics FILE",
        )
