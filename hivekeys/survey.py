"""`fab verify`'s part that meets hosts: one read-only question to each, all at once, an answer from every one."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hivekeys.causes import Cause
from hivekeys.findings import Sight
from hivekeys.fleet import Fleet, Host
from hivekeys.ledger import Clock
from hivekeys.line import Dialer
from hivekeys.model import Step, Verb
from hivekeys.session import Session
from hivekeys.wire import Greeting

# Two requests: where the proof is refused, the rest is known all the same. The proof comes first, because its calls are
# what the service must have written to its audit trail when the trail is looked at.
PROVE = (Step(Verb.PROVE, stable=False),)
LOOK = (Step(Verb.OBSERVE), Step(Verb.INSPECT))


def survey(fleet: Fleet, hosts: Sequence[Host], dialer: Dialer, greeting: Greeting, clock: Clock = time) -> list[Sight]:
    """What every host shows, in the order of `hosts`. Takes no lock and writes nothing anywhere."""

    def ask(host: Host) -> Sight:
        session = Session(host, dialer, fleet.policy, greeting, fleet.timeouts.request)
        try:
            cause = session.open()
            proof = cause or session.ask(PROVE)
            asked = clock.time()
            look = proof if isinstance(proof, Cause) else session.ask(LOOK)
            answered = clock.time()
        finally:
            session.close()
        unproven = str(proof if isinstance(proof, Cause) else proof.cause or "")
        if isinstance(look, Cause):
            return Sight(host, complaint=str(look), unproven=unproven)
        return Sight(
            host,
            look.seen,
            look.inspected,
            None if isinstance(proof, Cause) else proof.proof,
            str(look.cause or ""),
            unproven,
            _off(look.seen.clock, asked, answered) if look.seen else None,
        )

    with ThreadPoolExecutor(fleet.policy.width, thread_name_prefix="host") as pool:
        return list(pool.map(ask, hosts))


def _off(theirs: float, asked: float, answered: float) -> float:
    """How far a host's clock is from ours at least: 0 while its time lies between question and answer."""
    return min(theirs - asked, 0.0) if theirs < asked else max(theirs - answered, 0.0)
