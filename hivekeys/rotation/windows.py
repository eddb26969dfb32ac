"""Whether a fleet may be turned at a moment, by the `[windows]` of its inventory, and when that changes. Pure.

Spans are hours of the wall clock in the inventory's zone. So an hour that comes twice as clocks go back is in a span
both times, and one that is left out as they go forward never is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hivekeys.fleet import Span, Weekly, Windows

HORIZON = 400  # days in which the next change is looked for
DAY = 86_400.0  # seconds
MINUTES = 24 * 60  # of a day


@dataclass(frozen=True)
class Opening:
    """Whether the fleet may be turned; `why` not; and when that changes (epoch), None for not within a year."""

    is_open: bool
    why: str = ""
    changes: float | None = None


def opening(windows: Windows | None, now: float) -> Opening:
    """How it is at `now` (epoch). A fleet without windows may be turned at any time."""
    if windows is None:
        return Opening(True)
    why = _why_not(windows, now)
    for days in (9, HORIZON):  # most change within a week
        for moment in sorted(_moments(windows, now, days)):
            if bool(_why_not(windows, moment)) is not bool(why):
                return Opening(not why, why, moment)
    return Opening(not why, why)


def words(windows: Windows | None, now: float) -> str:
    """The same for people, "" for a fleet without windows."""
    if windows is None:
        return ""
    found = opening(windows, now)
    until = f" until {clock(windows, found.changes)}" if found.changes else ""
    return f"open{until}" if found.is_open else f"closed{until}: {found.why}"


def clock(windows: Windows, moment: float) -> str:
    """A moment by the windows' clock."""
    return datetime.fromtimestamp(moment, ZoneInfo(windows.zone)).strftime("%a %Y-%m-%d %H:%M %Z")


def _why_not(windows: Windows, moment: float) -> str:
    local = datetime.fromtimestamp(moment, ZoneInfo(windows.zone)).replace(tzinfo=None)
    frozen = next((span for span in windows.frozen if _is_in(span, local)), None)
    if frozen:
        return f"frozen ({frozen.text})"
    if windows.allowed and not any(_is_in(span, local) for span in windows.allowed):
        return f"not allowed now (allowed: {'; '.join(span.text for span in windows.allowed)})"
    return ""


def _is_in(span: Span, local: datetime) -> bool:
    if not isinstance(span, Weekly):
        return span.begin <= local < span.end
    minute, today = local.hour * 60 + local.minute, local.weekday()
    late = (today - 1) % 7 in span.days and minute + MINUTES < span.end  # since yesterday
    return late or (today in span.days and span.begin <= minute < span.end)


def _moments(windows: Windows, now: float, days: int) -> set[float]:
    """The moments in so many days from `now` on at which something may change: ends of spans, and of summer time."""
    zone = ZoneInfo(windows.zone)
    first = datetime.fromtimestamp(now, zone).date() - timedelta(days=1)
    ends = {end for span in (*windows.allowed, *windows.frozen) for end in _ends(span, first, days + 2)}
    moments = {end.replace(tzinfo=zone, fold=fold).timestamp() for end in ends for fold in (0, 1)}
    return {moment for moment in (*moments, *_shifts(zone, now, days)) if moment > now}


def _ends(span: Span, first: date, days: int) -> Iterator[datetime]:
    """Where a span begins and ends in so many days, by the wall clock."""
    begin = datetime.combine(first, datetime.min.time())
    if isinstance(span, Weekly):
        for midnight in (begin + timedelta(days=number) for number in range(days)):
            if midnight.weekday() in span.days:
                yield from (midnight + timedelta(minutes=minutes) for minutes in (span.begin, span.end))
    else:
        yield from (end for end in (span.begin, span.end) if begin <= end < begin + timedelta(days=days))


def _shifts(zone: ZoneInfo, now: float, days: int) -> Iterator[float]:
    """The moments at which the zone's clocks are put forward or back."""

    def offset(moment: float) -> timedelta | None:
        return datetime.fromtimestamp(moment, zone).utcoffset()

    for number in range(days):
        early, late = int(now + number * DAY), int(now + (number + 1) * DAY)
        if offset(early) == offset(late):
            continue
        before = offset(early)
        while late - early > 1:
            middle = (early + late) // 2
            early, late = (middle, late) if offset(middle) == before else (early, middle)
        yield float(late)
