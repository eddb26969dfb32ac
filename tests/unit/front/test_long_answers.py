"""A metered run reads long answers as clients do: one that ends before its end is counted."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.host.own_calls import Explained
from hivekeys.host.verbs.audit import event_of
from hivekeys.host.verbs.meter import LongAnswer, Meter, read_on
from hivekeys.token import generate
from tests.builders.fronted import FrontedHost, until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nword 1\r\n7\r\n0\r\n\r\n 2\r\n0\r\n\r\n"


def metered(fronted: FrontedHost, words: int) -> Meter:
    """The meter of a host whose long answers have so many words, ten a second."""
    fronted.service = replace(fronted.service, stream=f"/v1/stream?{words}")
    fronted.greet()
    assert fronted.do("meter")["facts"]["why"] == ""
    meter = fronted.agent.meter
    assert isinstance(meter, Meter)
    return meter


def test_long_answers_come_whole_one_after_the_other(fronted: FrontedHost) -> None:
    metered(fronted, words=3)
    until(lambda: sum(line["event"]["path"] == "/v1/stream" for line in fronted.log()) >= 3)

    facts = fronted.do("meter")["facts"]
    assert (facts["refused"], facts["broken"]) == (0, 0)
    assert facts["requests"] > 3
    fronted.agent.deadline.gone.set()


def test_a_long_answer_of_ours_is_no_clients(fronted: FrontedHost) -> None:
    """nginx writes a request down when it ends: what counts is when it was let in."""
    meter = metered(fronted, words=30)
    until(lambda: any(line["event"]["path"] == "/v1/stream" for line in fronted.log()))
    meter.hold()
    ours = Explained(fronted.agent.own_calls.of_machine(), ())
    records = [event_of(line) for line in fronted.log() if line["event"]["path"] == "/v1/stream"]
    assert [found for found in records if found is None or not ours.may_be(found[0], *found[1][1:])] == []
    fronted.agent.deadline.gone.set()


def test_one_that_is_cut_is_not_whole(fronted: FrontedHost) -> None:
    """A revocation cuts what the leaked token was let in to."""
    meter = metered(fronted, words=600)
    answer, line = meter.begin_long()
    assert answer.status == 200
    assert fronted.admit(generate(), at_once=True)["facts"]["cut"] >= 1
    read_on(answer, line)

    assert not answer.is_whole
    fronted.agent.deadline.gone.set()


def test_one_that_is_refused_is_no_long_answer(fronted: FrontedHost) -> None:
    meter = metered(fronted, words=3)
    meter.token = "f" * 64
    answer, line = meter.begin_long()
    read_on(answer, line)
    assert (answer.status, answer.is_whole) == (401, False)
    fronted.agent.deadline.gone.set()


@given(cuts=st.lists(st.integers(0, len(CHUNKED)), max_size=8))
def test_its_end_is_known_however_it_arrives(cuts: list[int]) -> None:
    answer, places = LongAnswer(), sorted({0, *cuts, len(CHUNKED)})
    for begin, end in pairwise(places):
        assert answer.take(CHUNKED[begin:end])
    assert answer.is_whole


@pytest.mark.parametrize(
    ("text", "closed", "whole"),
    [
        (CHUNKED[:-1], True, False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", False, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", True, False),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", False, False),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", True, True),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", True, False),
        (b"HTTP/1.1 200 OK\r\n", True, False),
    ],
)
def test_whole_is_what_came_to_its_end(text: bytes, closed: bool, whole: bool) -> None:
    answer = LongAnswer()
    answer.take(text)
    if closed:
        assert not answer.take(b"")
    assert answer.is_whole is whole


def test_what_is_not_http_is_no_answer() -> None:
    with pytest.raises(ValueError, match="not HTTP"):
        LongAnswer().take(b"SSH-2.0-x\r\n\r\n")
    with pytest.raises(ValueError, match="no end of the head"):
        LongAnswer().take(b"HTTP/1.1 200 OK\r\n" + b"x" * (1 << 17))
