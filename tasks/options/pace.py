"""Options that override the inventory's pace: batch, canary, pause, failures."""

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from hivekeys.errors import UserError

if TYPE_CHECKING:
    from hivekeys.fleet import Amount, Fleet

RETIRE_ANYWAY = "remove the old tokens though somebody is still let in with one; the journal says so"
END_SURVIVORS = "end processes of the unit or its account that outlived the restart and do not refuse the old token"
FENCE = "stop the service of a host that cannot be turned: it lets nobody in any more"
PACE_HELP = {
    "canary": "how many hives turn alone before the others (0: none)",
    "batch": "how many hives turn together: a number or a percentage (5, 25%)",
    "max-failures": "how many hosts may fail in the whole run before it goes back: a number or a percentage",
    "pause": "seconds to wait between two waves",
    "pause-for-confirmation": "ask before each wave",
}


def with_pace(fleet: "Fleet", canary: str, batch: str, max_failures: str) -> "Fleet":
    """The fleet with its rollout policy changed where an option says so. Raises UserError for what is no number."""
    policy = fleet.policy
    if canary:
        policy = replace(policy, canary=amount("--canary", canary, 0, percent=False).value)
    if batch:
        policy = replace(policy, batch=amount("--batch", batch, 1))
    if max_failures:
        policy = replace(policy, max_failures=amount("--max-failures", max_failures, 0))
    return replace(fleet, policy=policy)


def amount(option: str, text: str, least: int, percent: bool = True, of: str = "hosts") -> "Amount":
    """A number from an option, or a percentage where that may be one."""
    from hivekeys.fleet import Amount

    digits = text.removesuffix("%") if percent else text
    is_number = digits.isascii() and digits.isdigit() and len(digits) < 7
    if not is_number or int(digits) < least or (digits != text and int(digits) > 100):
        wanted = f"a number of {of}, {least} or more" + (', or a percentage such as "25%"' if percent else "")
        raise UserError(f"{option}: found {text!r}, expected {wanted}")
    return Amount(int(digits), percent=digits != text, least=least)


def seconds(option: str, text: str) -> float:
    """A time from an option: a number of seconds, at most a day; "" is none."""
    try:
        value = float(text or 0)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 86400:
        raise UserError(f"{option}: found {text!r}, expected a number of seconds, at most a day")
    return value


def age(option: str, text: str) -> float:
    """An age from an option, in seconds: so many days or hours; "" is none."""
    found = re.fullmatch(r"([0-9]{1,5})([dh])", text)
    if text and not found:
        raise UserError(f"{option}: found {text!r}, expected days or hours, such as 90d or 12h")
    return int(found[1]) * {"d": 86400.0, "h": 3600.0}[found[2]] if found else 0.0
