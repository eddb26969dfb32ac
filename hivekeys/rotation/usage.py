"""Asks the services' records who still used the old tokens, just before these are retired.

One bounded request a host. What is found may hold the old tokens back; it never says which token a host holds (fp6 is
24 bits), and where nobody writes records nothing is held back.
"""

from collections import defaultdict
from collections.abc import Iterable

from hivekeys.audit.census import last_turned, turned_at, unread_of, uses_of
from hivekeys.journal.events import CensusTaken
from hivekeys.protocol.audited import Query, Time
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.messages import Reply
from hivekeys.rotation.runner import Runner
from hivekeys.rotation.story import Story
from hivekeys.token import Fingerprint

FRESH = 3600.0  # seconds: a use that is longer ago holds nothing back any more
SIZE = 64 << 20  # bytes of records that a host reads, the newest first
SECONDS = 5.0


def taken(runner: Runner, old: Iterable[Fingerprint], anyway: bool = False) -> CensusTaken:
    """The census of the hosts that stand; `anyway`: what it finds holds nothing back."""
    tokens = tuple(sorted({fingerprint.fp6 for fingerprint in old}))
    stories = runner.standing()
    since: dict[str, float] = defaultdict(float)  # services of one machine share its trail: the last of them counts
    for story in stories:
        since[story.host.home] = max(since[story.host.home], turned_at(story.part.seen) or 0.0)
    answers = runner.ask(stories, lambda story: _ask(story, tokens, since[story.host.home] or None))
    replies = {story.host.name: reply for story, reply in answers}
    turned = last_turned(reply.audited for reply in replies.values() if isinstance(reply, Reply))
    uses = [use for name, reply in replies.items() for use in uses_of(name, reply, tokens, turned)]
    unread = [(name, why) for name, reply in replies.items() if (why := unread_of(reply))]
    return CensusTaken(tuple(uses), tuple(unread), anyway, runner.ledger.now())


def _ask(story: Story, tokens: tuple[str, ...], turned: float | None) -> Reply | Cause:
    since = Time(FRESH, before_now=True)
    query = Query(since, None, tokens, replaced=turned, fresh=FRESH, size=SIZE, seconds=SECONDS, chain=False)
    return story.audit(query)
