"""Parses times, token digits and counts in options."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hivekeys.errors import UserError

if TYPE_CHECKING:
    from hivekeys.protocol.audited import Time

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def moment(option: str, text: str) -> "Time | None":
    """A time of day (ISO 8601; UTC unless it says otherwise) or an age (45s, 30m, 2h, 3d); "" is none.

    An age is counted back from each host's own now. Raises UserError.
    """
    from hivekeys.protocol.audited import Time

    if not text:
        return None
    age = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if age:
        return Time(int(age[1]) * UNITS[age[2]], before_now=True)
    try:
        at = datetime.fromisoformat(text)
        return Time((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        expected = "an age (45s, 30m, 2h, 3d) or a time in ISO 8601 (2026-11-24, 2026-11-24T18:00:00Z)"
        raise UserError(f"{option}: found {text!r}, expected {expected}") from None


def fp6(text: str) -> str:
    """Six hex digits, with or without `token:`. What else was typed may be a token: it is not repeated."""
    found = re.fullmatch("(?:token:)?([0-9a-f]{6})", text.lower())
    if not found:
        raise UserError(
            "--token: expected current, previous, or the six hex digits that services log",
            hint="never a token itself: it would stand in your shell's history",
        )
    return found[1]


def count(option: str, text: str, most: int) -> int:
    """A number from an option."""
    if not (text.isascii() and text.isdigit() and int(text) <= most):
        raise UserError(f"{option}: found {text!r}, expected a number, at most {most}")
    return int(text)
