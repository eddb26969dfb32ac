"""The verb hello: whose fleet, which service, which run; the lock, and what the host remembers of earlier runs.

Runs ON a host, in one text with agent.py.
"""

import hashlib
import hmac
import os
import sys

from hivekeys.host.agent import Agent, verb
from hivekeys.host.forms import is_token
from hivekeys.host.state import STATE, run_in
from hivekeys.host.sudo_log import recorded_by_sudo
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Iterable, Optional, Sequence


@verb("unlocked")
def hello(
    agent: "Agent",
    *,
    fleet: str,
    key: str,
    service: "dict[str, Any]",
    run: str,
    write: bool,
    who: str,
    epoch: int = 0,
    claim: bool = True,
    beside: bool = False,
    sitting: "Sequence[Any]" = (0, ""),
    seen: "Optional[dict[str, Any]]" = None,
    take_over: bool = False,
    tokens: "Iterable[str]" = (),
    revoked: "Optional[dict[str, str]]" = None,
) -> "tuple[bool, dict[str, Any]]":
    """Begins a session: whose fleet, which service. `write` takes the host's lock, else it is let go.

    A run that comes too late for this host is refused (`State.begin`): `epoch` is its place in the order of runs,
    `sitting` says how often it was taken up, and an id, `seen` which run had changed the host when it first looked.
    Work that is no rotation does not `claim` the host: it takes the lock and leaves the order of runs as it is.
    A service `beside` another on this machine has a lock and a place in the order of runs of its own.
    `take_over` ends the process that holds the lock. `tokens` are made known for proofs and for the way back; none of
    them is written. `revoked` maps the keyed fingerprints of tokens that leaked to the runs that revoked them: none
    is written again.
    """
    agent.fleet = fleet
    agent.service = service
    agent.run = run
    agent.state.unit = service.get("front", {}).get("behind", service)["unit"] if beside else ""
    agent.secrets = agent.secrets_type(agent.root, service, bytes.fromhex(key))
    agent.secrets.known = agent.known
    agent.secrets.unit = agent.unit.name()
    agent.secrets.revoked = dict(revoked or {})
    for token in filter(is_token, tokens):
        agent.secrets.remember(token)
    agent.claims = claim  # other work may be here to mend what this host remembers of runs
    agent.mine = run_in({"epoch": epoch, "run": run, "who": who, "sitting": sitting}) if write and claim else {}
    owner, last, changed = "", run_in({}), run_in({})
    try:
        folder = agent.state.open(create=write)
        if folder is not None:
            try:
                try:
                    last, changed = agent.state.last_runs(folder)
                except Refusal:
                    if claim:
                        raise
                owner = join(agent, folder, write, who, sitting, seen, take_over)
            finally:
                os.close(folder)
    except (Refusal, OSError) as error:
        agent.state.release()  # a host that refused the run must not stay locked
        if isinstance(error, Refusal):
            raise
        raise Refusal("write-failed", "/%s: %s" % (STATE, error.strerror)) from None
    if agent.sudo_log is None:
        agent.sudo_log = recorded_by_sudo(agent)
    facts = {"python": "%d.%d" % sys.version_info[:2], "fleet": owner, "epoch": last["epoch"], "run": last["run"]}
    changed = {part: changed[part] for part in ("epoch", "run", "who")}
    facts.update(machine=machine_of(agent, key), sudo_log=agent.sudo_log, changed=changed)
    return bool(agent.mine) and not owner, facts


def join(
    agent: "Agent",
    folder: int,
    write: bool,
    who: str,
    sitting: "Sequence[Any]",
    seen: "Optional[dict[str, Any]]",
    take_over: bool,
) -> str:
    """The lock, and this run's claim; the fleet that the host belongs to, "" when only from now on."""
    if write:
        mine = {"run": agent.run, "who": who, "sitting": list(sitting)}
        agent.state.take_lock(folder, mine, take_over, agent)
    else:
        agent.state.release()
    owner = agent.state.read(folder, "fleet")
    refuse_others(agent, owner)
    try:
        machines, stones = agent.state.of_machine()
        refuse_others(agent, machines)
        agent.secrets.tombstones, agent.secrets.unsound = agent.state.tombstones(folder) + stones, ""
    except Refusal as refusal:
        if agent.claims or refusal.trouble == "wrong-fleet":
            raise
        agent.secrets.unsound = refusal.detail  # upkeep may be here to mend it; no token is written meanwhile
    if agent.mine:
        agent.state.begin(folder, agent.mine, seen)
        if not owner:
            agent.state.write(folder, "fleet", agent.fleet)
    return owner


def refuse_others(agent: "Agent", owner: str) -> None:
    """Raises where the host, or the machine that it shares, is another fleet's."""
    if owner and owner != agent.fleet:
        raise Refusal("wrong-fleet", "it belongs to %s, the inventory says %s" % (owner, agent.fleet))


def machine_of(agent: "Agent", key: str) -> str:
    """What stands for this machine, so that two names of one are not taken for two; its own ids stay here."""
    said = agent.system.machine()
    return hmac.new(bytes.fromhex(key), said, hashlib.sha256).hexdigest() if said else ""
