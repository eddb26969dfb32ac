"""Documents become values of our own types, or nothing: no host gets a number in where a text belongs."""

import json
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hivekeys.audited import Access, Accesses, Audited, Call, Group, Reader
from hivekeys.inspected import Inspected
from hivekeys.model import Event, Met, Proof, Seen
from hivekeys.token import Fingerprint
from hivekeys.typed import MisfitError, plain, read
from tests.unit.test_rotation_secrecy import answers

TOKENS = st.sampled_from(["", "0ddba1"])
OWN = {  # types that do not take any text
    Fingerprint: st.builds(Fingerprint, st.text("0123456789abcdef", min_size=64, max_size=64), st.just("0ddba1")),
    Group: st.builds(Group, token=TOKENS),
    Call: st.builds(Call, token=TOKENS),
    Reader: st.builds(Reader, kind=st.just("other")),
    Access: st.builds(Access, kind=st.just("service")),
    float: st.floats(allow_nan=False, allow_infinity=False),
}
for own, strategy in OWN.items():
    st.register_type_strategy(own, strategy)
untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a slow machine is no mistake
KINDS = [*get_args(Event), Met, Seen, Proof, Audited, Accesses, Inspected]


class Colour(Enum):
    RED = "red"


class Code(IntEnum):
    DONE = 0


@dataclass(frozen=True)
class Part:
    size: int
    name: str = "none"


@dataclass(frozen=True)
class Whole:
    part: Part
    parts: tuple[Part, ...] = ()
    pair: tuple[Colour, bool] | None = None
    ratio: float = 0.0
    calls: dict[str, int] | None = None
    code: Code = Code.DONE
    anything: Any = None


@untimed
@given(st.sampled_from(KINDS).flatmap(st.from_type))
def test_whatever_is_written_is_read_back_as_it_was(value: Any) -> None:
    assert read(type(value), json.loads(json.dumps(plain(value)))) == value


@untimed
@given(st.sampled_from(KINDS), answers)
def test_whatever_is_sent_is_a_value_or_a_misfit(kind: Any, found: object) -> None:
    try:
        assert isinstance(read(kind, found), kind)
    except MisfitError as error:
        assert all(isinstance(part, str) for part in error.place)


def test_what_is_left_out_is_as_the_type_says_and_what_it_does_not_know_is_passed_over() -> None:
    assert read(Whole, {"part": {"size": 1, "colour": "red"}, "more": [1]}) == Whole(Part(1))


def test_every_kind_has_its_own_form() -> None:
    found = {
        "part": {"size": 1, "name": "ä"},
        "parts": [{"size": 2}],
        "pair": ["red", True],
        "ratio": 3,
        "calls": {"new": 200},
        "code": 0,
        "anything": [None, {}],
    }
    made = Whole(Part(1, "ä"), (Part(2),), (Colour.RED, True), 3.0, {"new": 200}, Code.DONE, [None, {}])
    assert read(Whole, found) == made
    assert isinstance(read(Whole, found).ratio, float)


@pytest.mark.parametrize(
    ("found", "place"),
    [
        ([], ""),
        (None, ""),
        ({}, "part"),
        ({"part": None}, "part"),
        ({"part": {}}, "part.size"),
        ({"part": {"size": "1"}}, "part.size"),
        ({"part": {"size": 1.0}}, "part.size"),
        ({"part": {"size": True}}, "part.size"),
        ({"part": {"size": 1, "name": 5}}, "part.name"),
        ({"part": {"size": 1, "name": "\ud800"}}, "part.name"),
        ({"part": {"size": 1}, "parts": {}}, "parts"),
        ({"part": {"size": 1}, "parts": [{"size": 1}, {"size": None}]}, "parts.1.size"),
        ({"part": {"size": 1}, "pair": ["red"]}, "pair"),
        ({"part": {"size": 1}, "pair": ["blue", True]}, "pair.0"),
        ({"part": {"size": 1}, "pair": [["red"], True]}, "pair.0"),
        ({"part": {"size": 1}, "pair": ["red", 1]}, "pair.1"),
        ({"part": {"size": 1}, "ratio": "1"}, "ratio"),
        ({"part": {"size": 1}, "ratio": False}, "ratio"),
        ({"part": {"size": 1}, "ratio": 10**400}, "ratio"),
        ({"part": {"size": 1}, "calls": {"new": None}}, "calls.new"),
        ({"part": {"size": 1}, "calls": {"\ud800": 1}}, "calls"),
        ({"part": {"size": 1}, "code": 1}, "code"),
        ({"part": {"size": 1}, "code": False}, "code"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place_and_not_shown(found: object, place: str) -> None:
    with pytest.raises(MisfitError) as refused:
        read(Whole, found)
    assert str(refused.value) == place


def test_a_values_own_checks_count_too() -> None:
    with pytest.raises(MisfitError, match=r"^$"):
        read(Fingerprint, {"keyed": "x" * 64, "fp6": "0ddba1"})


@pytest.mark.parametrize("kind", [set, int | str, bytes, dict[int, int]])
def test_a_type_that_no_document_has_is_a_bug_here(kind: Any) -> None:
    with pytest.raises(TypeError):
        read(kind, None)
