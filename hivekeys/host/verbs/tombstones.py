"""The agent's verb `tombstones`: lists the leaked tokens that this host remembers, for a host that joins.

Runs ON the host, as root, in one text with agent.py, when it is asked for. A tombstone is a salted digest: whoever
reads it learns no token, and can do no more with it than forbid one.
"""

from hivekeys.host.agent import Agent, verb
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any

MOST_STONES = 1000  # that are told (hivekeys.upkeep.inheritance.MOST_OF_ONE): the newest


@verb("unlocked")
def tombstones(agent: "Agent") -> "tuple[bool, dict[str, Any]]":
    """The newest tombstones, and how many older ones there are."""
    if agent.secrets.unsound:
        raise Refusal("record-unsound", agent.secrets.unsound)
    stones = agent.secrets.tombstones
    return False, {"stones": stones[-MOST_STONES:], "older": max(0, len(stones) - MOST_STONES)}
