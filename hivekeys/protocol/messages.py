"""A host's reply to a list of steps. Frozen values. Pure.

What a host shows of itself is in `seen`. All times are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from hivekeys.protocol.causes import Cause
from hivekeys.protocol.seen import HostRecord, Proof, Seen
from hivekeys.protocol.verbs import UPKEEP, Answered, Changes, Hello, Observe, Prove, Sweep, Verb

A = TypeVar("A")


@dataclass(frozen=True)
class Result:
    """How one step went, and how many seconds it took on the host."""

    verb: Verb
    changed: bool
    seconds: float


@dataclass(frozen=True)
class Reply:
    """A host's answer to a list of steps: what was done, why it stopped, what it answered to each verb."""

    results: tuple[Result, ...]
    cause: Cause | None = None
    broke: Result | None = None  # the step that failed: it is none of `results`
    answers: Mapping[Verb, Any] = field(default_factory=dict)

    def to(self, kind: type[Answered[A]]) -> A | None:
        """The answer to that verb; None when there is none."""
        return cast("A | None", self.answers.get(kind.verb))

    @property
    def seen(self) -> Seen | None:
        """What the host showed last."""
        return self.to(Observe)

    @property
    def host_record(self) -> HostRecord | None:
        """What its own records said to the greeting."""
        return self.to(Hello)

    @property
    def proof(self) -> Proof | None:
        """What the service answered, and every other place that was asked beside it."""
        proof, swept = self.to(Prove), self.to(Sweep)
        if swept is None:
            return proof
        return replace(proof or Proof({}, proven=False), places=swept.places, survivors=swept.survivors)

    @property
    def changes(self) -> Changes:
        """Of upkeep: what was done, or would be."""
        return next((found for kind in UPKEEP if (found := self.to(kind))), ())


def joined(first: Reply | Cause, then: Reply | Cause) -> Reply | Cause:
    """The replies to two requests as one; the first failure counts, and the later look."""
    if isinstance(first, Cause) or isinstance(then, Cause):
        return first if isinstance(first, Cause) else then
    return Reply(
        (*first.results, *then.results),
        first.cause or then.cause,
        first.broke or then.broke,
        {**first.answers, **then.answers},
    )
