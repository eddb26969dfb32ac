"""A fleet whose services accept two tokens, and its clients: what tests of passes and of overlaps have in common."""

from collections.abc import Iterator
from contextlib import contextmanager

from hivekeys.lab import Accepts, Lab
from hivekeys.lab.files import SECRETS

from .asking import ACTIVE, status
from .clients import PAUSE, Clients

FILES = {Accepts.LINES: {"api-token", "api-tokens"}, Accepts.PAIR: {"api-token"}}  # of a host at rest


@contextmanager
def clients_of(lab: Lab, pause: float = PAUSE) -> Iterator[Clients]:
    clients = Clients(lab, served(lab), pause=pause, streams=True)
    try:
        yield clients
    finally:
        clients.leave()


def served(lab: Lab) -> str:
    """The one token that is in every host's file."""
    (token,) = {lab.read(name, ACTIVE).strip() for name in lab.hosts}
    return token


def serves(lab: Lab, token: str, refused: str) -> None:
    """Each host has this token alone, lets it in, and refuses the other and none."""
    assert served(lab) == token
    for name, host in lab.hosts.items():
        assert (status(host, token), status(host, refused), status(host, None)) == (200, 401, 401), name
        assert set(lab.sh(name, f"ls {SECRETS}").split()) <= FILES[lab.shape.accepts], name
        assert refused not in lab.sh(name, f"cat {SECRETS}/*"), name


def started(lab: Lab) -> dict[str, str]:
    script = "systemctl show -p ExecMainStartTimestampMonotonic --value"
    return {name: lab.sh(name, f"{script} {host.unit}") for name, host in lab.hosts.items()}
