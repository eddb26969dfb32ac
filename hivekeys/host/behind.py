"""The service behind a front: the agent's view of it, and what its front does for a drain.

Runs ON a host, in one text with agent.py, where the service has a front.
"""

from hivekeys.host.agent import Agent
from hivekeys.host.nginx import DRAINING, Nginx
from hivekeys.host.state import POLL_SECONDS

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Callable


class Tokenless(Agent):
    """The view of a service that asks for no token: whatever lies at the path of one is not looked at."""

    def slots(self) -> "dict[str, Any]":
        return {"directory": {"fault": "it asks for no token"}, "active": None, "staged": None, "previous": None}


def agent_behind(agent: "Agent") -> "Agent":
    """The same session, for the service behind the front."""
    kind = Agent if Nginx(agent).has_own else Tokenless
    inner = kind(agent.root, agent.system, agent.secrets_type)
    inner.fleet, inner.run, inner.service = agent.fleet, agent.run, agent.service["front"]["behind"]
    inner.state, inner.deadline, inner.own_calls = agent.state, agent.deadline, agent.own_calls
    inner.secrets = agent.secrets_type(agent.root, inner.service, agent.secrets.key)
    inner.known = inner.secrets.known = agent.known
    inner.secrets.revoked, inner.secrets.tombstones = agent.secrets.revoked, agent.secrets.tombstones
    inner.secrets.unsound = agent.secrets.unsound
    return inner


def keep_off(agent: "Agent", is_off: bool) -> None:
    """New requests are answered 503 by the front, which tells clients to come again; or they are let in again.

    A front that does not run lets nothing in, and forgets with its run folder that it was told so.
    """
    nginx = Nginx(agent)
    if not is_off:
        nginx.unmark(DRAINING)
    elif nginx.master():
        nginx.mark(DRAINING)
        agent.deadline.pause(POLL_SECONDS)  # what was let in just before is with the service by then


def under_way(agent: "Agent") -> str:
    """The requests that the front has let in and that have not ended, in words; "" for none."""
    count = Nginx(agent).under_way()
    return "%d request%s" % (count, "" if count == 1 else "s") if count else ""


def of_drains() -> "dict[str, Callable[..., Any]]":
    """What drain.py finds in FRONTS of agent.py."""
    return {"behind": agent_behind, "keep_off": keep_off, "under_way": under_way}
