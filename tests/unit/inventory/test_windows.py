"""`[windows]` as it is written: understood, kept when it is written anew, or refused with what is expected."""

from datetime import datetime
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import Dated, Span, Weekly
from hivekeys.inventory.windows import spans, zone
from hivekeys.inventory.written import toml
from tests.builders.loading import load

HOSTS = 'fleet = "f"\n[hosts.queen]\nrole = "queen"\n[windows]\n'
ALL = tuple(range(7))
UNDERSTOOD: list[tuple[str, Span]] = [
    ("Mon-Thu 09:00-16:00", Weekly((0, 1, 2, 3), 540, 960, "Mon-Thu 09:00-16:00")),
    ("Sat,Sun", Weekly((5, 6), 0, 1440, "Sat,Sun")),
    ("22:00-04:00", Weekly(ALL, 1320, 1680, "22:00-04:00")),
    ("Fri-Mon,Wed 00:00-24:00", Weekly((0, 2, 4, 5, 6), 0, 1440, "Fri-Mon,Wed 00:00-24:00")),
    ("Sun 22:00-24:00", Weekly((6,), 1320, 1440, "Sun 22:00-24:00")),
    ("2026-12-24", Dated(datetime(2026, 12, 24), datetime(2026, 12, 25), "2026-12-24")),
    ("2026-12-20 to 2027-01-06", Dated(datetime(2026, 12, 20), datetime(2027, 1, 7), "2026-12-20 to 2027-01-06")),
    (
        "2026-12-24 12:00 to 2026-12-27 08:00",
        Dated(datetime(2026, 12, 24, 12), datetime(2026, 12, 27, 8), "2026-12-24 12:00 to 2026-12-27 08:00"),
    ),
]
WRONG = [
    *("", " ", "Mon ", " 09:00-10:00", "Mon09:00-10:00", "mon", "Monday", "Mon-", "9:00-10:00", "09:00", "25:00-26:00"),
    *("09:00-09:00", "24:00-02:00", "Mon 09:00-10:00,11:00-12:00", "2026-13-01", "2026-02-30", "2026-12-24 12:00"),
    *("2027-01-06 to 2026-12-20", "2026-12-24 to 2026-12-25 08:00", "2026-12-24 12:00 to 2026-12-24 12:00"),
    *("9999-12-31", "2026-12-24 25:00 to 2026-12-26 00:00"),
]


@pytest.mark.parametrize(("text", "span"), UNDERSTOOD, ids=[text for text, _ in UNDERSTOOD])
def test_a_span_is_understood(text: str, span: Span) -> None:
    assert spans(text) == spans([text]) == (span,)


@pytest.mark.parametrize("text", [*WRONG, 5, None, [], [["Mon"]], ["Mon"] * 101], ids=repr)
def test_whatever_else_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"^(spans such as|a span that|two days|days and hours|an end after)"):
        spans(text)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "CET\0", 1, None])
def test_a_zone_that_there_is_not_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="the name of a time zone"):
        zone(name)


def test_windows_are_written_as_they_were_read(tmp_path: Path) -> None:
    text = 'zone = "Europe/Berlin"\nallowed = ["Mon-Thu 09:00-16:00", "Sat,Sun"]\nfrozen = ["2026-12-24"]\n'
    (tmp_path / "f.toml").write_text(HOSTS + text)
    fleet = load(tmp_path / "f.toml")
    assert text in toml(fleet)
    (tmp_path / "g.toml").write_text(toml(fleet))
    assert load(tmp_path / "g.toml").windows == fleet.windows is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'allowed = "Mon"',
            "windows.zone: missing, expected the time zone of the spans, such as zone =",
        ),
        ('zone = "UTC"\nallowed = "Mo"', 'windows.allowed: found "Mo", expected spans such as "Mon-Thu 09:00-16:00"'),
        ('zone = "UTC"\nfreeze = "Mon"', "windows.freeze: unknown key, did you mean frozen?"),
    ],
)
def test_a_mistake_names_its_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "f.toml").write_text(HOSTS + text)
    with pytest.raises(UserError) as caught:
        load(tmp_path / "f.toml")
    assert f"f.toml: {said}" in caught.value.message
