"""Proves a client: a program that presents the token, listens nowhere, and is asked nothing.

Runs ON a host, in one text with agent.py, whose verb `prove` it is. Its file holds the token; and where it has a unit,
that runs, in a process that began after the file was written, or that takes a changed file without a restart.
"""

from hivekeys.host.proof import Proof
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any


class ClientProof(Proof):
    """One proof of one client."""

    def of_service(self, health_seconds: float, stable_seconds: float) -> "dict[str, Any]":
        """As of a service; without a unit the file is all that there is to see."""
        if self.service["unit"]:
            return super().of_service(health_seconds, stable_seconds)
        unit = self.agent.unit.look()
        self.judge(unit)
        return unit

    def health(self) -> "tuple[int, str]":
        """(200, "") of a unit that is active."""
        state = self.agent.unit.recent()["state"]
        return (200, "") if state == "active" else (0, "%s is %s" % (self.service["unit"], state))

    def not_healthy(self, unit: "dict[str, Any]", status: int, why: str, seconds: float) -> Refusal:
        return Refusal("unhealthy", "%s after %.0f s" % (why, seconds))

    def judge(self, unit: "dict[str, Any]") -> None:
        """Raises where its file holds another token."""
        active = self.agent.slots()["active"] or {}
        if (active.get("fingerprint") or {}).get("keyed") != self.want:
            raise Refusal("slot-changed", "%s holds another token" % self.service["token"])

    def has_read(self, loaded: "dict[str, Any]") -> bool:
        return loaded["evidence"] in ("touched", "answers")
