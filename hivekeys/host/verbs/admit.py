"""The agent's verb `admit`: which tokens the front of a service lets in.

Runs ON the host, as root, in one text with agent.py, where the service has a front. The map is written whole, tried by
`nginx -t`, and taken back if nginx refuses it: then the workers go on with the one before.
"""

import os

from hivekeys.host.agent import FRONTS, Agent, verb
from hivekeys.host.behind import of_drains
from hivekeys.host.nginx import ACCEPTED, CLOSING, KEEPALIVE_SECONDS, LOADED, Nginx, digest_of
from hivekeys.host.state import POLL_SECONDS
from hivekeys.host.system import Refusal
from hivekeys.host.verbs.accept import accepted_in

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence


@verb("touches", "locked")
def admit(agent: "Agent", tokens: "Sequence[str]" = (), at_once: bool = False) -> "tuple[bool, dict[str, Any]]":
    """The front lets in these tokens (keyed fingerprints) and no others; none: those of its list, or the active one.

    Where one of them was let in before, clients may hold it and no request breaks: for the time of a kept-alive
    connection every answer closes its own, and only then the map is exchanged. Else it is exchanged now. What was let
    in before goes on to its end; but where one that leaked goes, or `at_once`, it is cut: facts `cut` says how many
    connections.
    """
    if agent.state.lock is None:
        raise RuntimeError("a verb that writes needs a session that holds the lock")
    nginx = Nginx(agent)
    texts = texts_of(agent, tokens)
    text = nginx.accepted(texts)
    path, loaded = "%s/%s" % (nginx.folder, ACCEPTED), "%s/%s" % (nginx.run_folder, LOADED)
    runs = bool(nginx.master())
    before = nginx.read(path)
    if before == text and (not runs or nginx.read(loaded) == digest_of(text)):
        return False, {"cut": 0}
    known = agent.secrets.known.values()
    let_in = [token for token in known if before and nginx.lets_in(before, token)]
    at_once = at_once or any(agent.secrets.revoked_by(token) for token in let_in if token not in texts)
    try:
        if runs and not at_once and any(token in texts for token in let_in):
            nginx.mark(CLOSING)
            rest(agent, KEEPALIVE_SECONDS + 0.5)
        cut = exchange(nginx, path, before, text, runs, at_once)
        if runs:
            nginx.write(loaded, digest_of(text))
    except OSError as error:
        raise Refusal("write-failed", "%s: %s" % (nginx.folder, error.strerror)) from None
    finally:
        if runs:
            nginx.unmark(CLOSING)
    return True, {"cut": cut}


def exchange(nginx: Nginx, path: str, before: "Optional[str]", text: str, runs: bool, at_once: bool) -> int:
    """The new map is in force; else the one before is there again. How many connections that cut."""
    kept = path + ".before"
    nginx.agent.deadline.go_on()
    if before is not None:
        nginx.unlink(kept)
        os.link(nginx.root + path, nginx.root + kept)  # to put it back needs no space
    try:
        nginx.write(path, text)
        nginx.refuse_broken(shown=False)
        return nginx.reload(at_once) if runs else 0
    except Refusal:
        if before is not None:
            os.rename(nginx.root + kept, nginx.root + path)
        raise
    finally:
        nginx.unlink(kept)


def texts_of(agent: "Agent", tokens: "Sequence[str]") -> "list[str]":
    """The tokens themselves, the newest first; Refusal for one that is in no slot, or that leaked."""
    slots, known = agent.slots(), agent.secrets.known
    active = slots["active"] or {"fault": "is not there", "fingerprint": None}
    if not all(keyed in known for keyed in tokens):
        raise Refusal("slot-changed", "a token that was to be let in is in no slot any more")
    texts = [known[keyed] for keyed in tokens] or listed(agent)
    if not texts and not active["fingerprint"]:
        raise Refusal("token-missing", "%s %s" % (agent.service["token"], active["fault"]))
    texts = texts or [known[active["fingerprint"]["keyed"]]]
    for token in texts:
        agent.secrets.refuse_revoked(token)
    newest = ((slots["staged"] or active)["fingerprint"] or {}).get("keyed", "")
    return sorted(texts, key=lambda token: token != known.get(newest))


def listed(agent: "Agent") -> "list[str]":
    """The tokens of the front's list; [] where there is none."""
    try:
        folder = agent.secrets.open()
    except Refusal:
        return []
    try:
        shown = accepted_in(agent, folder)
    finally:
        os.close(folder)
    if shown and shown["fault"]:
        raise Refusal("token-unsafe", "%s %s" % (agent.service["tokens"], shown["fault"]))
    return list(shown["texts"]) if shown else []


def rest(agent: "Agent", seconds: float) -> None:
    """Waits, while a bastion waits for the answer."""
    end = agent.system.monotonic() + seconds
    while agent.system.monotonic() < end:
        agent.deadline.pause(POLL_SECONDS)


FRONTS.update(of_drains())
