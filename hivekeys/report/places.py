"""Shows where old tokens were tried besides the services' own ports. Pure."""

from collections.abc import Iterator

from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.listeners import Listener, Survivor
from hivekeys.text.documents import run as documents
from hivekeys.text.names import fold_names

MOST = 8  # of a kind that are worth a line of text
ANSWER_WORDS = {
    "takes": "accepts the old token",
    "unasked": "could not be asked",
    "open": "needs no token",
}


def place_lines(run: Run) -> list[str]:
    """Lines: unchecked certificates, how many places were tried, which do not refuse, older processes."""
    asked = [place for host in run.hosts.values() for place in _places(host) if place.answer in ("refuses", "takes")]
    lines = unchecked_lines(run)
    lines += [f"tried with the old token: {len(asked)} places, including the services' own"] if asked else []
    for answer, said in ANSWER_WORDS.items():
        rows = list(_rows(run, answer))
        more = f"; and {len(rows) - MOST} more" if len(rows) > MOST else ""
        lines += [f"{said}: {'; '.join(rows[:MOST])}{more}"] if rows else []
    survivors = [f"{host.name} {one}" for host in run.hosts.values() for one in _survivors(host)]
    if survivors:
        more = f"; and {len(survivors) - MOST} more" if len(survivors) > MOST else ""
        lines.append(f"still runs after the restart, and may have the old token: {'; '.join(survivors[:MOST])}{more}")
    return lines


def unchecked_lines(run: Run) -> list[str]:
    """A line with the hosts whose service certificates were not checked: clients may not trust these."""
    names = [host.name for host in run.hosts.values() if host.proof and host.proof.unchecked]
    return [f"the service's certificate was not checked (verify = false) on {fold_names(names)}"] if names else []


def places_of(host: HostRun) -> list[documents.Place] | None:
    """For a program: every place of a host and its answer; None where none was asked."""
    proof = host.proof
    return None if proof is None or proof.places is None else [_place(place) for place in proof.places]


def survivors_of(host: HostRun) -> list[documents.Survivor] | None:
    """For a program: the processes that outlived the service's restart; None where it was not looked for them."""
    proof = host.proof
    return None if proof is None or proof.survivors is None else [_survivor(one) for one in proof.survivors]


def _place(place: Listener) -> documents.Place:
    return {
        "address": place.address,
        "port": place.port,
        "pid": place.pid,
        "comm": place.comm,
        "answer": place.answer,
        "path": place.path,
        "why": place.why,
    }


def _survivor(survivor: Survivor) -> documents.Survivor:
    return {
        "pid": survivor.pid,
        "comm": survivor.comm,
        "age": survivor.age,
        "ports": list(survivor.ports),
        "takes": survivor.takes,
    }


def _places(host: HostRun) -> tuple[Listener, ...]:
    return (host.proof.places if host.proof else None) or ()


def _survivors(host: HostRun) -> tuple[Survivor, ...]:
    return (host.proof.survivors if host.proof else None) or ()


def _rows(run: Run, answer: str) -> Iterator[str]:
    for host in run.hosts.values():
        for place in _places(host):
            if place.answer == answer:
                yield f"{host.name} {place}" + (f", {place.why}" if place.why else "")
