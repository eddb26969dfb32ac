"""When a service went down, came back and refused the old token: a host's seconds, counted back from its answer.

The answer came at 100; before it a look of 1 s, a proof of 4 s, a restart of 2 s and a swap of 0.5 s.
"""

from dataclasses import replace

import pytest

from hivekeys.journal.clock import Moment
from hivekeys.journal.downtime import moments
from hivekeys.journal.events import Outcome, Phase, State, Status
from hivekeys.protocol.messages import Result
from hivekeys.protocol.seen import Proof
from hivekeys.protocol.verbs import Verb

SWAP, RESTART = Result(Verb.SWAP, True, 0.5), Result(Verb.RESTART, True, 2.0)
PROVE, LOOK = Result(Verb.PROVE, False, 4.0), Result(Verb.OBSERVE, False, 1.0)
WELL = Proof({}, True, healthy_after=0.25, refused_after=1.5)
TURNED = Outcome(
    "hive1",
    Phase.WAVE,
    Status.OK,
    State.PROVEN,
    Moment(1000, 100),
    proof=WELL,
    results=(SWAP, RESTART, PROVE, LOOK),
)


def test_a_service_is_down_from_the_restart_until_its_proof_says_that_it_is_healthy() -> None:
    assert moments(TURNED) == (93, 95.25, 96.5)


def test_what_was_not_done_is_no_moment() -> None:
    assert moments(replace(TURNED, results=())) == (None, None, None)
    assert moments(replace(TURNED, results=(PROVE, LOOK))) == (None, 95.25, 96.5)
    assert moments(replace(TURNED, results=(SWAP, RESTART))) == (98, None, None)
    assert moments(replace(TURNED, proof=None)) == (93, None, None)


def test_a_service_that_never_was_healthy_did_not_come_back() -> None:
    assert moments(replace(TURNED, proof=replace(WELL, healthy_after=None))) == (93, None, 96.5)


@pytest.mark.parametrize("looks", [(), (LOOK,)])
def test_a_proof_that_failed_shows_no_refusal(looks: tuple[Result, ...]) -> None:
    """The old token was refused for a moment, and let in again."""
    rest = sum(look.seconds for look in looks)
    failed = replace(TURNED, results=(SWAP, RESTART, *looks), broke=PROVE)
    assert moments(failed) == (94 - rest, 96.25 - rest, None)


def test_only_the_proof_that_failed_shows_none() -> None:
    """An earlier one of the same answer stays."""
    swapped = replace(TURNED, results=(RESTART, PROVE), broke=Result(Verb.SWAP, True, 1.0))
    assert moments(swapped) == (93, 95.25, 96.5)
