"""Replies as a host's answers would make them."""

from hivekeys.protocol.causes import Cause
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.verbs import STEPS, Answered


def reply_of(*answers: object, cause: Cause | None = None) -> Reply:
    """A reply that holds these answers, each to the verb whose answer has its type."""
    verbs = {kind.answer(): verb for verb, kind in STEPS.items() if issubclass(kind, Answered)}
    return Reply((), cause, answers={verbs[type(answer)]: answer for answer in answers})
