"""When a fleet may be turned, and when that changes: weeks, nights, holidays, and summer time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hivekeys.fleet import Windows
from hivekeys.inventory.windows import DAYS, spans
from hivekeys.rotation.windows import Opening, clock, opening, words

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def windows(allowed: list[str], frozen: list[str] | None = None, zone: str = BERLIN) -> Windows:
    return Windows(zone, spans(allowed) if allowed else (), spans(frozen) if frozen else ())


OFFICE = windows(["Mon-Thu 09:00-16:00"], ["2026-12-20 to 2027-01-06"])
NIGHT = windows(["Sat 22:00-04:00"])


@pytest.mark.parametrize(
    ("when", "now", "is_open", "changes"),
    [
        (OFFICE, "2026-11-30T09:00", True, "2026-11-30T16:00"),
        (OFFICE, "2026-11-30T08:59:59", False, "2026-11-30T09:00"),
        (OFFICE, "2026-11-30T16:00", False, "2026-12-01T09:00"),
        (OFFICE, "2026-12-03T17:00", False, "2026-12-07T09:00"),  # Thursday to Monday
        (OFFICE, "2026-12-17T16:00", False, "2027-01-07T09:00"),  # over the holidays
        (NIGHT, "2026-11-28T22:00", True, "2026-11-29T04:00"),
        (NIGHT, "2026-11-29T03:59", True, "2026-11-29T04:00"),
        (NIGHT, "2026-11-29T22:00", False, "2026-12-05T22:00"),
        (windows([], ["Fri"]), "2026-11-30T12:00", True, "2026-12-04T00:00"),
        (windows(["2027-06-01 08:00 to 2027-06-01 09:00"]), "2026-11-30T12:00", False, "2027-06-01T08:00"),
    ],
)
def test_whether_it_is_an_allowed_time_and_until_when(when: Windows, now: str, is_open: bool, changes: str) -> None:
    found = opening(when, at(now))
    assert (found.is_open, found.changes) == (is_open, at(changes))


def test_a_frozen_time_goes_before_an_allowed_one_and_is_named() -> None:
    found = opening(OFFICE, at("2026-12-21T10:00"))
    assert (found.is_open, found.why) == (False, "frozen (2026-12-20 to 2027-01-06)")


def test_a_fleet_without_windows_may_be_turned_at_any_time() -> None:
    assert opening(None, 0.0) == Opening(True)
    assert words(None, 0.0) == ""


def test_windows_that_never_open_again_say_so() -> None:
    found = opening(windows(["2020-01-01"]), at("2026-11-30T12:00"))
    assert found == Opening(False, "not allowed now (allowed: 2020-01-01)")


def test_the_words_have_the_clock_of_the_zone() -> None:
    assert words(OFFICE, at("2026-11-30T10:00")) == "open until Mon 2026-11-30 16:00 CET"
    said = words(OFFICE, at("2026-11-30T17:00"))
    assert said == "closed until Tue 2026-12-01 09:00 CET: not allowed now (allowed: Mon-Thu 09:00-16:00)"
    assert clock(OFFICE, at("2026-07-01T09:00")).endswith("09:00 CEST")


# -- clocks are put forward on 2026-03-29 at 2:00 to 3:00, and back on 2026-10-25 at 3:00 to 2:00


def test_a_window_that_begins_in_the_hour_left_out_opens_when_that_is_over() -> None:
    found = opening(windows(["02:30-05:00"]), at("2026-03-29T01:00"))
    assert (found.is_open, found.changes) == (False, at("2026-03-29T03:00"))
    assert at("2026-03-29T03:00") - at("2026-03-29T01:59") == 60.0


def test_a_window_that_lies_in_the_hour_left_out_is_not_open_that_day() -> None:
    found = opening(windows(["02:15-02:45"]), at("2026-03-29T01:00"))
    assert (found.is_open, found.changes) == (False, at("2026-03-30T02:15"))


def test_a_window_in_the_hour_that_comes_twice_is_open_both_times() -> None:
    twice = windows(["02:15-02:45"])
    first, second = at("2026-10-25T02:30"), at("2026-10-25T02:30", fold=1)
    assert second - first == 3600.0
    assert opening(twice, first).is_open and opening(twice, second).is_open
    assert opening(twice, at("2026-10-25T02:45")).changes == at("2026-10-25T02:15", fold=1)


def test_a_night_is_an_hour_longer_when_clocks_are_put_back() -> None:
    night = windows(["Sat 22:00-04:00"])
    begin = at("2026-10-24T22:00")
    assert opening(night, begin).changes == begin + 7 * 3600.0


ZONES = ["Europe/Berlin", "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns"]
SHIFTS = [  # near these some of the zones change their offset
    datetime(2026, 3, 8, tzinfo=UTC),
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 4, 4, tzinfo=UTC),
    datetime(2026, 10, 3, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
]
hours = st.tuples(st.integers(0, 23), st.sampled_from([0, 15, 30, 59])).map(lambda time: f"{time[0]:02d}:{time[1]:02d}")
pairs = st.tuples(hours, hours).filter(lambda pair: pair[0] != pair[1])
days = st.sampled_from(["", *(f"{day} " for day in DAYS)])
weekly = st.builds(lambda day, pair: f"{day}{pair[0]}-{pair[1]}", days, pairs)
dated = st.dates(datetime(2026, 3, 1).date(), datetime(2026, 11, 10).date()).map(str)
several = st.lists(weekly | dated, max_size=3)


def is_open(when: Windows, allowed: list[str], frozen: list[str], moment: float) -> bool:
    """The same, read off the wall clock text by text."""
    local = datetime.fromtimestamp(moment, ZoneInfo(when.zone))

    def covers(text: str) -> bool:
        if text[:1] == "2" and "-" in text[:5]:
            return f"{local:%Y-%m-%d}" == text
        *day, span = text.split(" ")
        begin, end = span.split("-")
        today, yesterday = (DAYS[(local.weekday() - back) % 7] in (day or DAYS) for back in (0, 1))
        clock = f"{local:%H:%M}"
        if begin < end:
            return today and begin <= clock < end
        return (today and clock >= begin) or (yesterday and clock < end)

    return (not allowed or any(map(covers, allowed))) and not any(map(covers, frozen))


@settings(deadline=None)
@given(several, several, st.sampled_from(ZONES), st.sampled_from(SHIFTS), st.integers(-2 * 86400, 2 * 86400))
def test_the_next_change_is_the_first_minute_at_which_the_wall_clock_says_otherwise(
    allowed: list[str], frozen: list[str], zone: str, near: datetime, seconds: int
) -> None:
    when, now = windows(allowed, frozen, zone), (near + timedelta(seconds=seconds)).timestamp()
    found = opening(when, now)
    begun = is_open(when, allowed, frozen, now)
    assert found.is_open is begun
    assert bool(found.why) is not begun
    end = now + 36 * 3600
    minutes = range((int(now) // 60 + 1) * 60, int(end), 60)
    change = next((minute for minute in minutes if is_open(when, allowed, frozen, minute) is not begun), None)
    if change is None:
        assert found.changes is None or found.changes >= minutes[-1]
    else:
        assert found.changes == change
