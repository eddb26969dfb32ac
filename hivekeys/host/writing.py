"""The verbs that write the token's slots on a host: stage, swap, revert, retire, discard, revoke; and recall.

Runs ON a host, in one text with agent.py.
"""

import hashlib
import hmac
import json
import os

from hivekeys.host.agent import Agent, verb
from hivekeys.host.forms import is_token
from hivekeys.host.preflight import barred, rehearse
from hivekeys.host.slots import is_under
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable


MIN_TOKEN_CHARS = 64  # guide.md, Verify token length


def change(agent: "Agent", work: "Callable[[int], bool]") -> "tuple[bool, dict[str, Any]]":
    """Runs `work(folder)`; every failed write is one refusal, and nothing half-made stays behind."""
    if agent.state.lock is None:
        raise RuntimeError("a verb that writes needs a session that holds the lock")
    agent.deadline.go_on()
    folder = agent.secrets.open_to_write()
    try:
        agent.secrets.clear(folder)
        return work(folder), {}
    except OSError as error:
        failed = Refusal("write-failed", "%s: %s" % (agent.secrets.folder, error.strerror))
        raise barred(agent.secrets, folder) or failed from None
    finally:
        try:
            agent.secrets.clear(folder)
        except OSError:
            pass  # a read-only file system: there is nothing of ours on it
        os.close(folder)


@verb("locked")
def probe_write(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """A real write where the token will be written, taken away again: see `rehearse`."""

    def work(folder: int) -> bool:
        for name in (agent.secrets.active, agent.secrets.staged):
            replaceable(agent, folder, name)
        rehearse(agent.secrets, folder)
        return False

    return change(agent, work)


@verb("touches", "locked")
def stage(agent: "Agent", token: str) -> "tuple[bool, dict[str, Any]]":
    """The new token in the staged slot; nothing reads it yet."""
    known_good(token)
    want = agent.secrets.remember(token)["keyed"]

    def work(folder: int) -> bool:
        if agent.secrets.ready(folder, agent.secrets.staged, want):
            return False
        replaceable(agent, folder, agent.secrets.staged)
        agent.secrets.put(folder, agent.secrets.staged, token)
        return True

    return change(agent, work)


def known_good(token: str) -> None:
    """The last check before a write (k3s-io/k3s#12982): what a header and the services can carry."""
    if len(token) < MIN_TOKEN_CHARS or not is_token(token):
        raise Refusal("slot-changed", "what arrived is no token; nothing was written")


def replaceable(agent: "Agent", folder: int, name: str) -> None:
    """Refuses to write over what was made on purpose: a link, a directory, a pipe."""
    shown = agent.secrets.look(folder, name)
    if shown and not shown["regular"]:
        raise Refusal("token-unsafe", "%s/%s %s" % (agent.secrets.folder, name, shown["fault"]))


@verb("touches", "locked")
def swap(agent: "Agent", want: str) -> "tuple[bool, dict[str, Any]]":
    """Active becomes previous, staged becomes active."""
    secrets = agent.secrets

    def work(folder: int) -> bool:
        if secrets.holds(folder, secrets.active, want):
            return False
        if secrets.holds(folder, secrets.staged, want) and secrets.is_outrun(folder, secrets.staged):
            secrets.put(folder, secrets.staged, secrets.known[want])
        if not secrets.ready(folder, secrets.staged, want):
            raise Refusal("slot-changed", "%s is not the token that was staged" % secrets.staged)
        secrets.refuse_revoked(secrets.known[want])
        replaceable(agent, folder, secrets.active)
        if secrets.look(folder, secrets.active):
            secrets.keep_previous(folder)
        secrets.rename(folder, secrets.staged, secrets.active)
        return written(agent, folder, want)

    return change(agent, work)


@verb("touches", "locked")
def revert(agent: "Agent", want: str) -> "tuple[bool, dict[str, Any]]":
    """The previous token is active again: from its slot, or from this agent's memory."""
    secrets = agent.secrets

    def work(folder: int) -> bool:
        if secrets.holds(folder, secrets.active, want):
            return False
        replaceable(agent, folder, secrets.active)
        if secrets.ready(folder, secrets.previous, want):
            secrets.refuse_revoked(secrets.known[want])
            secrets.rename(folder, secrets.previous, secrets.active)
        elif want in secrets.known:
            secrets.put(folder, secrets.active, secrets.known[want])
        else:
            raise Refusal("slot-changed", "%s is not the token from before the run" % secrets.previous)
        return written(agent, folder, want)

    return change(agent, work)


def written(agent: "Agent", folder: int, want: str) -> bool:
    """True: the active slot is what it was meant to become, looked at once more behind the rename."""
    if not agent.secrets.ready(folder, agent.secrets.active, want):
        raise Refusal("slot-changed", "%s was exchanged while it was written" % agent.secrets.active)
    return True


@verb("locked")
def recall(agent: "Agent", want: str) -> "tuple[bool, dict[str, Any]]":
    """The token itself, for the run that made it and was cut off, or for a host that owes it."""
    agent.slots()
    if agent.state.lock is None or want not in agent.secrets.known:
        raise Refusal("slot-changed", "no slot holds the token that was asked for")
    return False, {"token": agent.secrets.known[want]}


@verb("touches", "locked")
def discard(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """The staged slot is empty again."""

    def work(folder: int) -> bool:
        gone = agent.secrets.remove(folder, agent.secrets.staged)
        os.fsync(folder)
        return gone

    return change(agent, work)


@verb("touches", "locked")
def retire(agent: "Agent", want: str) -> "tuple[bool, dict[str, Any]]":
    """The previous slot is gone; only with `want` active. The point of no return."""

    def work(folder: int) -> bool:
        if not agent.secrets.holds(folder, agent.secrets.active, want):
            raise Refusal("slot-changed", "%s is not the token that was proven" % agent.secrets.active)
        gone = agent.secrets.remove(folder, agent.secrets.previous)
        os.fsync(folder)
        return gone

    return change(agent, work)


@verb("touches", "locked")
def revoke(agent: "Agent", tokens: "list[str]") -> "tuple[bool, dict[str, Any]]":
    """A tombstone for each of these tokens (keyed fingerprints): nothing writes it on this host again.

    A tombstone is a salted digest of the token itself, so that it holds for whoever comes, from any bastion. It is
    in a slot, or was told, or the service runs on it. Of any other only the fingerprint is known, which every
    greeting brings.
    """
    if agent.state.lock is None:
        raise RuntimeError("a tombstone needs a session that holds the lock")
    agent.slots()  # what lies in them is known from now on
    agent.secrets.revoked.update((keyed, agent.run) for keyed in tokens)
    stones = agent.secrets.tombstones
    copy = agent.secrets.copy(agent.unit.last.get("credential", ""))
    held = dict(agent.known, **({agent.secrets.fingerprint(copy)["keyed"]: copy} if copy else {}))
    texts = [held[keyed] for keyed in tokens if keyed in held]
    fresh = [text for text in texts if not any(is_under(stone, text) for stone in stones)]
    if not fresh:
        return False, {}
    for text in fresh:
        salt = os.urandom(16)
        digest = hmac.new(salt, text.encode("ascii"), hashlib.sha256).hexdigest()
        stones.append({"salt": salt.hex(), "digest": digest, "run": agent.run})
    agent.state.keep("tombstones", json.dumps(stones))
    return True, {}
