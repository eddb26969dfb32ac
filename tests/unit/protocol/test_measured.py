"""What a host says of time is held against the bastion's clock, with room for a clock that runs a little faster."""

import pytest

from hivekeys.protocol.drained import Drained
from hivekeys.protocol.measured import beyond_measure
from hivekeys.protocol.messages import Reply, Result
from hivekeys.protocol.metered import Metered
from hivekeys.protocol.verbs import Verb


def reply(verb: Verb, said: Drained | Metered) -> Reply:
    return Reply((), answers={verb: said})


@pytest.mark.parametrize("verb", [Verb.DRAIN, Verb.UNCORDON])
@pytest.mark.parametrize(("seconds", "took", "holds"), [(60.0, 60.0, True), (2.0, 0.0, True), (66.0, 60.0, False)])
def test_a_drain_takes_no_longer_than_its_request(verb: Verb, seconds: float, took: float, holds: bool) -> None:
    said = beyond_measure(reply(verb, Drained(seconds)), took, metered=0.0, line=0.0, waited=60.0)
    assert said == ("" if holds else "it drained its service for 66 s, in a request that took 60 s")


@pytest.mark.parametrize(("requests", "holds"), [(0, True), (600, True), (715, True), (716, False)])
def test_ten_requests_a_second_and_a_long_answer_are_counted_at_most(requests: int, holds: bool) -> None:
    said = beyond_measure(reply(Verb.METER, Metered(requests)), took=0.1, metered=60.0, line=600.0, waited=60.0)
    assert said == ("" if holds else "it has counted 716 requests in 60 s")


@pytest.mark.parametrize(("pause", "holds"), [(600.0, True), (633.0, False)])
def test_a_pause_begins_with_the_line_at_the_earliest(pause: float, holds: bool) -> None:
    said = beyond_measure(reply(Verb.METER, Metered(1, pause=pause)), took=0.1, metered=0.5, line=600.0, waited=60.0)
    assert said == ("" if holds else "no request was let in for 633 s, and it was dialed 600 s ago")


def test_a_host_that_says_nothing_of_time_is_not_measured() -> None:
    assert beyond_measure(Reply(()), took=0.0, metered=0.0, line=0.0, waited=60.0) == ""


@pytest.mark.parametrize(
    ("times", "holds"), [((30.0, 30.0), True), ((30.0, 36.0), False), ((1e15, 0.0), False), ((-1.0, 0.0), False)]
)
def test_steps_take_no_longer_together_than_their_answer_was_waited_for(
    times: tuple[float, float], holds: bool
) -> None:
    """The step that failed counts, too."""
    first, last = (Result(Verb.RESTART, True, seconds) for seconds in times)
    for told in (Reply((first, last)), Reply((first,), broke=last)):
        said = beyond_measure(told, took=1.0, metered=0.0, line=0.0, waited=60.0)
        assert (said == "") is holds
        assert holds or said.startswith("its steps took longer than they were waited for, 60 s: restart ")
