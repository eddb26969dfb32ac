"""The verbs that concern the service on a host: observe, restart, prove, fence.

Runs ON a host, in one text with agent.py.
"""

from hivekeys.host.agent import SLOT_LOOKS, VERBS, Agent, verb
from hivekeys.host.client import ClientProof
from hivekeys.host.preflight import bar
from hivekeys.host.proof import Proof
from hivekeys.host.restarting import restarted
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional, Sequence

CORDONED = "cordoned"  # in /var/lib/hivekeys: the run that has drained the service, and not given it work again


@verb("unlocked")
def observe(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """Everything that decisions are made from; changes nothing."""
    unit = agent.unit.described()
    seen = agent.slots()
    seen["directory"]["bar"] = bar(agent)
    try:
        seen["cordoned"] = agent.state.content(CORDONED)
    except (Refusal, OSError):
        pass  # what is wrong with our own folder is the bar
    seen.update(unit=unit, loaded=agent.unit.loaded(unit, seen["active"]), clock=agent.system.now())
    for look in SLOT_LOOKS:
        look(agent, seen)
    return False, seen


@verb("touches", "moves", "unlocked")
def fence(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """Stops the unit: a service that cannot be turned must accept no leaked token.

    Without the host's lock too, which a full disk may refuse, unless another run has it.
    """
    other = agent.state.at_work() if agent.state.lock is None else {}
    if other:
        raise Refusal("host-busy", agent.state.described(other))
    unit = agent.unit.look()
    cgroup, left = unit["cgroup"], agent.system.members(unit["cgroup"])
    if unit["state"] in ("inactive", "failed") and not left:
        return False, {}
    code, output = agent.command(
        ["systemctl", "--no-ask-password", "stop", "--", agent.service["unit"]], agent.deadline.left()
    )
    if code != 0:
        raise Refusal("systemctl-failed", output)
    for pid in agent.system.members(cgroup) or ():  # KillMode=process: what it leaves would serve on
        agent.system.kill(pid)
    return True, {}


@verb("touches", "moves", "locked")
def restart(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """A fresh process (restarting.py); of a front, which has then read which token is active."""
    if agent.state.lock is None:
        raise RuntimeError("a restart needs a session that holds the lock")
    if "front" in agent.service:
        VERBS["admit"][0](agent)
    restarted(agent, agent.unit.recent())
    return True, {}


@verb("calls", "unlocked")
def prove(
    agent: "Agent",
    want: "Optional[str]" = None,
    refuse: "Sequence[str]" = (),
    health_seconds: float = 60.0,
    stable_seconds: float = 0.0,
    log: bool = False,
    also: "Optional[str]" = None,
) -> "tuple[bool, dict[str, Any]]":
    """Health, the four calls, the process's age, and that all of it holds for `stable_seconds`.

    `want` is the keyed fingerprint of the token that must work (the active one unless told), `refuse`
    those of the ones that must not, `also` of one that must work as well. The facts are the same whether it
    holds or not; a refusal has them too.
    """
    active = agent.slots()["active"] or {"fault": "is not there", "fingerprint": None}
    want = want or (active["fingerprint"] or {}).get("keyed")
    if not want:
        raise Refusal("token-missing", "%s %s" % (agent.service["token"], active["fault"]))
    proof = (Proof if agent.service["port"] else ClientProof)(agent, want, refuse, also)
    try:
        unit = proof.of_service(health_seconds, stable_seconds)
    except Refusal as refusal:
        refusal.facts = dict(proof.facts, proven=False)
        other = agent.state.at_work() if agent.state.lock is None else {}
        if other and other.get("run") != agent.run:  # what was seen is that run's work: a restart, a swap
            refusal.trouble, refusal.detail = "host-busy", agent.state.described(other)
        raise
    if log:
        proof.facts.update(logged=agent.unit.logged(unit), survivors=agent.unit.elders(unit))
    return False, proof.facts
