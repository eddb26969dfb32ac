"""When a host's service went down, came back, and refused the old token. Pure."""

from hivekeys.journal.events import Outcome
from hivekeys.protocol.verbs import Verb


def moments(outcome: Outcome) -> tuple[float | None, float | None, float | None]:
    """When the service went down, was back, and refused the old token: the seconds that the host counted, back from
    the answer, on the bastion's monotonic clock.
    """
    rest, left, back, refused = 0.0, None, None, None
    for result in reversed(outcome.steps):
        began = outcome.when.clock - rest - result.seconds
        if result.verb is Verb.PROVE and outcome.proof:
            back = _plus(began, outcome.proof.healthy_after)
            refused = None if result is outcome.broke else _plus(began, outcome.proof.refused_after)
        if result.verb is Verb.RESTART:
            left = began
        rest += result.seconds
    return left, back, refused


def _plus(began: float, seconds: float | None) -> float | None:
    return None if seconds is None else began + seconds
