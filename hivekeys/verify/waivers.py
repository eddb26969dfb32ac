"""Applies the inventory's waivers: findings that are accepted until a day. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from hivekeys.fleet import Waiver
from hivekeys.verify.findings import Finding, Verdict


def waive(found: Iterable[Finding], waivers: Iterable[Waiver], today: date) -> tuple[Finding, ...]:
    """The findings, with the first waiver in force noted on each that did not pass; verdicts stay as they are."""
    in_force = [waiver for waiver in waivers if not is_over(waiver, today)]
    return tuple(replace(one, waiver=_of(one, in_force)) for one in found)


def is_over(waiver: Waiver, today: date) -> bool:
    """True from the day after its last one."""
    return today > waiver.until


def over(waivers: Iterable[Waiver], today: date) -> tuple[Waiver, ...]:
    """The expired waivers, which should be removed or get a new date."""
    return tuple(waiver for waiver in waivers if is_over(waiver, today))


def _of(found: Finding, in_force: list[Waiver]) -> Waiver | None:
    if found.verdict is Verdict.PASS:
        return None
    fits = (one for one in in_force if one.check == found.check.id and (not one.hosts or found.host in one.hosts))
    return next(fits, None)
