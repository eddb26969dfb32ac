"""Why a host failed: a closed list, a next step for each, and remote words that cannot harm a screen."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.text.clean import DETAIL_LIMIT, one_line


def test_a_troubles_value_is_its_name_in_the_runbook() -> None:
    assert all(trouble.value == trouble.name.lower().replace("_", "-") for trouble in Trouble)


def test_a_cause_is_its_trouble_and_its_detail() -> None:
    assert str(Cause(Trouble.UNHEALTHY)) == "unhealthy"
    assert str(Cause(Trouble.UNHEALTHY, "/health: answers 503")) == "unhealthy: /health: answers 503"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain words", "plain words"),
        ("two\nlines\r\nand\ttabs", "two lines and tabs"),
        ("  much   space  ", "much space"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("bell\x07 and nul\0", "bell and nul"),
        ("right\u202eto left", "right to left"),
        ("zero\u200bwidth", "zero width"),
        ("C1\x9b2Jcontrol", "C1 2Jcontrol"),
        ("über, 漢字, 🐝", "über, 漢字, 🐝"),
        ("", ""),
        ("\n\n", ""),
    ],
)
def test_what_a_host_says_is_shown_and_never_interpreted(said: str, shown: str) -> None:
    assert Cause(Trouble.RUBBISH, said).detail == shown


@given(st.text(max_size=3 * DETAIL_LIMIT))
def test_a_detail_is_one_harmless_line_of_limited_length(said: str) -> None:
    line = one_line(said)
    assert len(line) <= DETAIL_LIMIT
    assert not any(unicodedata.category(char).startswith("C") for char in line)
    assert one_line(line) == line


def test_a_long_detail_is_cut_where_it_can_be_seen() -> None:
    line = one_line("x" * 10_000)
    assert len(line) == DETAIL_LIMIT
    assert line.endswith("…")


def test_what_fits_exactly_is_not_cut() -> None:
    assert one_line("x" * DETAIL_LIMIT) == "x" * DETAIL_LIMIT
