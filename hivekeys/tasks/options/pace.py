"""Options that override the inventory's pace: batch, canary, pause, failures."""

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import option

if TYPE_CHECKING:
    from hivekeys.fleet import Amount, Batch, Fleet


@dataclass(frozen=True, kw_only=True)
class PaceOptions:
    """The pace of a rollout."""

    canary: str = option("how many hives turn alone before the others (0: none)")
    batch: str = option(
        "how many hives turn together: a number, a share (5, 25%), by groups ('1 of each rack', 'rack by rack'), or "
        "one of these after the other (1,5,25%)"
    )
    max_failures: str = option("how many hosts may fail in the whole run before it goes back: a number or a percentage")
    pause: str = option("seconds to wait between two waves")
    pause_for_confirmation: bool = option("ask before each wave", default=False)
    processes: str = option("how many processes hold the lines to the hosts; for a thousand hosts and more")
    overlap: str = option("how long clients may go on with the old token, where services accept two (24h, 7d)")

    def apply_to(self, fleet: "Fleet") -> "Fleet":
        """The fleet with its rollout policy changed where an option says so. Raises UserError for what is no number."""
        policy = fleet.policy
        if self.canary:
            policy = replace(policy, canary=amount("--canary", self.canary, 0, percent=False).value)
        if self.batch:
            policy = replace(policy, batch=batch_of(fleet, self.batch))
        if self.max_failures:
            policy = replace(policy, max_failures=amount("--max-failures", self.max_failures, 0))
        if self.processes:
            from hivekeys.fleet import MOST_PROCESSES

            count = amount("--processes", self.processes, 1, percent=False, of="processes").value
            if count > MOST_PROCESSES:
                raise UserError(f"--processes: found {count}, expected at most {MOST_PROCESSES}")
            policy = replace(policy, processes=count)
        if self.overlap:
            policy = replace(policy, overlap=age("--overlap", self.overlap))
        return replace(fleet, policy=policy)

    @property
    def seconds_between(self) -> float:
        """The pause between two waves. Raises UserError for what is no number."""
        return seconds("--pause", self.pause)


def batch_of(fleet: "Fleet", text: str) -> "Batch":
    """How many hives turn together, from --batch."""
    from hivekeys.inventory import batches

    try:
        batch = batches.typed(text)
    except ValueError as error:
        raise UserError(f"--batch: found {text!r}, expected {error}") from None
    if why := batches.problem(batch, fleet.hives):
        raise UserError(f"--batch: {why}", hint="`fab inventory.check` shows the groups of each host")
    return batch


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
