"""What a run would do to each host, from what the host shows now (`--dry-run`). Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rich.table import Table
from rich.text import Text

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.journal.hostrun import HostRun
from hivekeys.protocol.verbs import Verb
from hivekeys.rotation.steps import Goal, Stance, steps_to
from hivekeys.service import Apply, Service
from hivekeys.text.documents import run as documents
from hivekeys.text.table import plain_table
from hivekeys.token import Fingerprint


@dataclass(frozen=True)
class Foreseen:
    """One host: its token, the token that it would get (None: a new one), and the steps to it, or why none."""

    host: str
    now: Fingerprint | None
    then: Fingerprint | None
    steps: tuple[Verb, ...] = ()
    why: str = ""


def foreseen(
    hosts: Iterable[HostRun],
    want: Fingerprint | None,
    goes_back: bool = False,
    services: Mapping[str, Service] = MappingProxyType({}),
) -> list[Foreseen]:
    """The steps for each of these hosts: forward to `want` (None: a token yet to be made), or back to its own token.

    `services`: what runs on a host, where that is not as on most.
    """
    return [_of(host, services.get(host.name, HIVE_SERVICE), want, goes_back) for host in hosts]


def brought(service: Service) -> tuple[Verb, ...]:
    """How a token gets there that is yet to be made."""
    told = {Apply.RESTART: (Verb.RESTART,), Apply.WATCH: ()}.get(service.apply, (Verb.NOTIFY,))
    return (Verb.STAGE, Verb.SWAP, *told, Verb.PROVE, Verb.RETIRE)


def _of(host: HostRun, service: Service, want: Fingerprint | None, goes_back: bool) -> Foreseen:
    if host.seen is None or host.cause:
        return Foreseen(host.name, host.now, host.now, why=str(host.cause or "its state was not reported"))
    if goes_back and (not host.touched or host.was is None):
        return Foreseen(host.name, host.now, host.now, why="the run has not touched it")
    then = host.was if goes_back else want
    if then is None:
        return Foreseen(host.name, host.now, None, brought(service))
    steps = tuple(step.verb for step in steps_to(Goal(Stance.ALONE, then), host.seen, service))
    return Foreseen(host.name, host.now, then, steps if Verb.PROVE in steps else (Verb.PROVE, *steps))


def table(hosts: Sequence[Foreseen], title: str) -> Table:
    """One row a host."""
    made = plain_table(title)
    for column in ("host", "token", "would get", "by"):
        made.add_column(column, overflow="fold")
    for host in hosts:
        then = "–" if host.why else str(host.then or "a new one")
        by = Text(host.why, "yellow") if host.why else Text(" ".join(verb.value for verb in host.steps))
        made.add_row(host.host, str(host.now or "–"), then, by)
    return made


def document(hosts: Sequence[Foreseen]) -> list[documents.Foreseen]:
    """The same for programs: tokens by their six digits, `then` null for one that is yet to be made."""
    return [
        {
            "host": host.host,
            "now": host.now.fp6 if host.now else None,
            "then": host.then.fp6 if host.then else None,
            "steps": [verb.value for verb in host.steps],
            "why": host.why or None,
        }
        for host in hosts
    ]
