"""Which token a fleet's clients have while it is turned, as far as a run can tell. Pure."""

from hivekeys.journal.events import TURNED
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.token import Fingerprint


def clients_token(run: Run, host: HostRun) -> Fingerprint | None:
    """The token that clients of this host have now: the new one once the queen is proven (without her: this host).

    Where services accept two, once all of them use it: until then, and for a while, either is accepted. On the way back
    clients have the old one again.
    """
    turned = run.settling if run.passes else (run.queen or host).state in TURNED
    return run.want if turned and not run.stopped else host.was
