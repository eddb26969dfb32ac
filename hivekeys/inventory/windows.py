"""Reads the spans of `[windows]`: hours of weekdays, days, or from one local time to another. Pure.

Whatever is refused is a ValueError whose text completes "expected …".
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hivekeys.fleet import Dated, Span, Weekly

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY = 24 * 60  # minutes
MOST_SPANS = 100
EXPECTED = (
    'spans such as "Mon-Thu 09:00-16:00", "Sat,Sun", "22:00-04:00", "2026-12-20 to 2027-01-06" '
    'or "2026-12-24 12:00 to 2026-12-27 08:00"'
)
_TIME = r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00"
_WORD = "|".join(DAYS)
_WEEKLY = re.compile(
    rf"(?P<days>(?:{_WORD})(?:-(?:{_WORD}))?(?:,(?:{_WORD})(?:-(?:{_WORD}))?)*)?"
    rf"(?P<gap> )?(?:(?P<begin>{_TIME})-(?P<end>{_TIME}))?"
)
_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?: [0-9]{2}:[0-9]{2})?"
_DATED = re.compile(rf"({_MOMENT})(?: to ({_MOMENT}))?")


def zone(value: object) -> str:
    """The name of a time zone that this bastion knows."""
    try:
        if isinstance(value, str) and value:
            return ZoneInfo(value).key
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        pass
    raise ValueError('the name of a time zone that this bastion knows (the package tzdata), such as "Europe/Berlin"')


def spans(value: object) -> tuple[Span, ...]:
    """One span, or a list of them."""
    texts = value if isinstance(value, list) else [value]
    if not 1 <= len(texts) <= MOST_SPANS:
        raise ValueError(EXPECTED)
    return tuple(map(_span, texts))


def _span(value: object) -> Span:
    text = value if isinstance(value, str) else ""
    for pattern, read in _FORMS:
        if found := pattern.fullmatch(text):
            return read(text, found)
    raise ValueError(EXPECTED)


def _weekly(text: str, found: re.Match[str]) -> Weekly:
    days, begin, end = found["days"], found["begin"], found["end"]
    if not (days or begin) or bool(found["gap"]) is not bool(days and begin):
        raise ValueError(EXPECTED)
    first, last = (_minutes(begin), _minutes(end)) if begin else (0, DAY)
    if first in (last, DAY):
        raise ValueError(f"a span that is not empty; the whole day is one without hours ({text!r})")
    return Weekly(_days(days) if days else tuple(range(7)), first, last if first < last else last + DAY, text)


def _days(text: str) -> tuple[int, ...]:
    """Mon-Wed,Sat; Fri-Mon goes over the week's end."""
    found: set[int] = set()
    for piece in text.split(","):
        ends = [DAYS.index(word) for word in piece.split("-")]
        count = (ends[-1] - ends[0]) % 7
        found.update((ends[0] + number) % 7 for number in range(count + 1))
    return tuple(sorted(found))


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _dated(text: str, found: re.Match[str]) -> Dated:
    """A day without hours is the whole day, as the last one too."""
    first, last = found[1], found[2] or found[1]
    if (" " in first) != (" " in last) or (found[2] is None and " " in first):
        raise ValueError(f"two days, or two days with hours ({text!r})")
    try:
        begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
        end += timedelta(days=0 if " " in last else 1)
    except (ValueError, OverflowError):
        raise ValueError(f"days and hours that there are ({text!r})") from None
    if end <= begin:
        raise ValueError(f"an end after the beginning ({text!r})")
    return Dated(begin, end, text)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[str, re.Match[str]], Span]], ...] = (
    (_WEEKLY, _weekly),
    (_DATED, _dated),
)
