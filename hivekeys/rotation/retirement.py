"""Asks the services' records who still used the old tokens, just before these are retired.

One bounded request a host. The result may keep the old tokens from being retired; it never says which token a host
holds (fp6 is 24 bits), and where a service writes no records it keeps nothing back.
"""

from collections import defaultdict
from collections.abc import Iterable

from hivekeys.audit.census import had_since, last_turned, turned_at, unread_of, uses_of
from hivekeys.journal.events import CensusTaken
from hivekeys.protocol.audited import Query, Time
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.messages import Reply
from hivekeys.protocol.verbs import Audit
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.host import HostController
from hivekeys.service import Apply
from hivekeys.token import Fingerprint

FRESH = 3600.0  # seconds: an older use does not keep a token from being retired
SIZE = 64 << 20  # bytes of records that a host reads, the newest first
SECONDS = 5.0


def census(crew: Crew, old: Iterable[Fingerprint], anyway: bool = False) -> CensusTaken:
    """The census of the standing hosts; `anyway`: the old tokens are retired whatever it finds."""
    tokens = tuple(sorted({fingerprint.fp6 for fingerprint in old}))
    controllers = [controller for controller in crew.standing() if not controller.host.service.is_client]
    since: dict[str, float] = defaultdict(float)  # services of one machine share its trail: the last of them counts
    for controller in controllers:
        since[controller.host.home] = max(since[controller.host.home], _turned(controller) or 0.0)
    answers = crew.ask(controllers, lambda controller: _ask(controller, tokens, since[controller.host.home] or None))
    replies = {controller.host.name: reply for controller, reply in answers}
    turned = last_turned(reply.to(Audit) for reply in replies.values() if isinstance(reply, Reply))
    uses = [use for name, reply in replies.items() for use in uses_of(name, reply, tokens, turned)]
    unread = [(name, why) for name, reply in replies.items() if (why := unread_of(reply))]
    return CensusTaken(tuple(uses), tuple(unread), anyway, crew.recorder.now())


def _turned(controller: HostController) -> float | None:
    """When the host had the new token, by its own clock."""
    record = controller.record
    told = controller.host.service.apply is not Apply.RESTART
    return had_since(record, record.seen) if told else turned_at(record.seen)


def _ask(controller: HostController, tokens: tuple[str, ...], turned: float | None) -> Reply | Cause:
    since = Time(FRESH, before_now=True)
    query = Query(since, None, tokens, replaced=turned, fresh=FRESH, size=SIZE, seconds=SECONDS, chain=False)
    return controller.audit(query)
