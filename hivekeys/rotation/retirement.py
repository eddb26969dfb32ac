"""Asks the services' records who still used the old tokens, just before these are retired.

One bounded request a host. The result may keep the old tokens from being retired; it never says which token a host
holds (fp6 is 24 bits), and where a service writes no records it keeps nothing back.
"""

from collections import defaultdict
from collections.abc import Iterable

from hivekeys.audit.census import census_taken, had_since, query_of_uses, turned_at
from hivekeys.journal.events import CensusTaken
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.messages import Reply
from hivekeys.rotation.controller import Controller
from hivekeys.rotation.crew import Crew
from hivekeys.service import Apply
from hivekeys.token import Fingerprint


def census(crew: Crew, old: Iterable[Fingerprint], anyway: bool = False) -> CensusTaken:
    """The census of the standing hosts; `anyway`: the old tokens are retired whatever it finds."""
    tokens = tuple(sorted({fingerprint.fp6 for fingerprint in old}))
    controllers = [controller for controller in crew.standing() if not controller.host.service.is_client]
    since: dict[str, float] = defaultdict(float)  # services of one machine share its trail: the last of them counts
    for controller in controllers:
        since[controller.host.home] = max(since[controller.host.home], _turned(controller) or 0.0)

    def ask(controller: Controller) -> Reply | Cause:
        return controller.audit(query_of_uses(tokens, since[controller.host.home] or None))

    answers = {controller.host.name: reply for controller, reply in crew.ask(controllers, ask)}
    return census_taken(answers, tokens, crew.recorder.now(), anyway)


def _turned(controller: Controller) -> float | None:
    """When the host had the new token, by its own clock."""
    record = controller.record
    told = controller.host.service.apply is not Apply.RESTART
    return had_since(record, record.seen) if told else turned_at(record.seen)
