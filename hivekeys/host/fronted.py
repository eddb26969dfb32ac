"""The service behind a front: the agent's view of it, and what is put there and taken away again.

Runs ON a host, in one text with agent.py.
"""

import os

from hivekeys.host.agent import Agent
from hivekeys.host.deadline import Deadline
from hivekeys.host.dropin import remove_file
from hivekeys.host.nginx import Nginx, is_loopback
from hivekeys.host.proof import Proof
from hivekeys.host.restarting import restarted
from hivekeys.host.root_files import read_file, write_file
from hivekeys.host.setup import exists, installed, remember
from hivekeys.host.system import UNIX, Refusal, place_of
from hivekeys.host.tls import tls_of
from hivekeys.host.writing import change

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable, Optional

UNDO_SECONDS = 120.0  # for the way back, whatever time the request had
FRONT_KIND = "front"  # in the list of what was installed


class Undo:
    """How to undo what was done on a host, in its order."""

    def __init__(self, agent: "Agent", inner: "Agent") -> None:
        self.agents = (agent, inner)
        self.acts = []  # type: list[Callable[[], object]]
        self.ends = []  # type: list[Callable[[], object]]  # what is done after all that: a service starts again

    def note(self, act: "Callable[[], object]", at_end: bool = False) -> None:
        """How to undo what is done next."""
        (self.ends if at_end else self.acts).append(act)

    def all(self) -> "list[str]":
        """Undoes everything, the last first; what did not work.

        The host is not left half-way: whatever time the request had, and whether or not its bastion still waits.
        """
        agent, left = self.agents[0], []  # type: Agent, list[str]
        before, own = agent.deadline, Deadline(agent.system)
        own.end = agent.system.monotonic() + UNDO_SECONDS
        for each in self.agents:
            each.deadline = own
        try:
            for act in [*reversed(self.acts), *self.ends]:
                try:
                    act()
                except (Refusal, OSError) as error:
                    left.append(getattr(error, "detail", "") or str(error))
        finally:
            for each in self.agents:
                each.deadline = before
        return left


def again_behind(inner: "Agent") -> None:
    """The service behind is started again, as its unit and its token file are now."""
    inner.command(["systemctl", "daemon-reload"], 60.0)
    inner.unit.forget(settings=True)
    restarted(inner, inner.unit.look())
    inner.unit.forget(settings=True)


def is_behind(inner: "Agent", nginx: Nginx) -> bool:
    """True for a service that runs as its unit and its token file are now: no earlier set-up was cut off."""
    unit = inner.unit.look()
    port = 0 if inner.service["address"].startswith(UNIX) else inner.service["port"]
    listens = port in [place[1] for place in inner.system.places([unit["pid"]] if unit["pid"] else [])]
    return listens and not (nginx.has_own and is_stale(inner, unit))


def is_stale(inner: "Agent", unit: "dict[str, Any]") -> bool:
    """True for a process behind a front that has not read what is in its token file."""
    active = inner.slots()["active"] or {"fingerprint": None}
    loaded = inner.unit.loaded(unit, active)
    held = loaded["fingerprint"] or active["fingerprint"]
    return loaded["evidence"] == "older" or bool(held != active["fingerprint"])


def healthy(agent: "Agent", want: str, refuse: "list[str]", seconds: float) -> "tuple[Proof, dict[str, Any]]":
    """A proof that is begun, and the unit as it is with a service that answers."""
    proof = Proof(agent, want, refuse)
    proof.tls = tls_of(agent.root, agent.service)
    return proof, proof.until_healthy(seconds)


def refuse_reachable(inner: "Agent", nginx: Nginx) -> None:
    """Raises where others than the host itself could call the service behind."""
    service = inner.service
    rows = [] if service["address"].startswith(UNIX) else inner.system.listening(service["port"])
    if any(not is_loopback(packed) for _, packed, _, _, _ in rows) and not (
        nginx.front["firewall"] and nginx.is_shut()
    ):
        name = (service["unit"], place_of(service["address"], service["port"]))
        raise Refusal("front-bypassed", "%s can be reached from elsewhere: it must listen on %s alone" % name)


# -- the service's own token


def turn_own(inner: "Agent", own: str) -> None:
    """The service's next token is this one; that of before stays beside it until the front is proven."""

    def work(folder: int) -> bool:
        secrets = inner.secrets
        secrets.put(folder, secrets.staged, own)
        secrets.keep_previous(folder)
        secrets.rename(folder, secrets.staged, secrets.active)
        return True

    change(inner, work)


def turn_own_back(inner: "Agent") -> None:
    """The service's next token is that of before."""

    def work(folder: int) -> bool:
        secrets = inner.secrets
        secrets.remove(folder, secrets.staged)
        if exists(folder, secrets.previous):
            secrets.rename(folder, secrets.previous, secrets.active)
        return True

    change(inner, work)


def give_back(inner: "Agent", token: str) -> None:
    """The service's next token is the fleet's, which the front had, and no other is beside it."""

    def work(folder: int) -> bool:
        secrets = inner.secrets
        if not secrets.holds(folder, secrets.active, secrets.fingerprint(token)["keyed"]):
            secrets.put(folder, secrets.active, token)
        secrets.remove(folder, secrets.previous)
        os.fsync(folder)
        return True

    change(inner, work)


def forget_previous(inner: "Agent") -> None:
    """The token of before is no longer beside the service's own: the front has it."""

    def work(folder: int) -> bool:
        gone = inner.secrets.remove(folder, inner.secrets.previous)
        os.fsync(folder)
        return gone

    change(inner, work)


def put_active(agent: "Agent", token: str) -> None:
    """The front's folder holds this token."""

    def work(folder: int) -> bool:
        agent.secrets.put(folder, agent.secrets.active, token)
        return True

    change(agent, work)


def forget_slots(agent: "Agent") -> None:
    """The front's folder holds no token any more."""
    try:
        folder = agent.secrets.open()
    except Refusal:
        return
    try:
        for name in (*agent.secrets.names, *agent.secrets.scratches):
            agent.secrets.remove(folder, name)
        os.fsync(folder)
    finally:
        os.close(folder)


# -- files, and the list of what was installed


def put_file_back(agent: "Agent", path: str, text: "Optional[str]", mode: int) -> None:
    """The file as it was; None: it was not there."""
    if text is not None:
        write_file(agent, path, text, mode)
    elif read_file(agent.root, path) is not None:
        remove_file(agent, path)


def note_front(agent: "Agent", folder: str) -> None:
    """The host's list of what was installed names the front, before anything of it is there."""
    known = installed(agent)
    if [FRONT_KIND, folder] not in known:
        remember(agent, [*known, [FRONT_KIND, folder]])


def forget_front(agent: "Agent", folder: str) -> None:
    known = installed(agent)
    if [FRONT_KIND, folder] in known:
        remember(agent, [thing for thing in known if thing != [FRONT_KIND, folder]])
