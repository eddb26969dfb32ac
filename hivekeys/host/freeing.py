"""The drain of a service behind a front, around the restart that sets the front up or takes it away.

Runs ON a host, in one text with agent.py, with the verb `front`. What is to be done on the bastion for a drain is not
done here.
"""

from hivekeys.host.agent import FRONTS, Agent
from hivekeys.host.behind import of_drains
from hivekeys.host.system import Refusal
from hivekeys.host.turning import CORDONED
from hivekeys.host.verbs.drain import Draining


class Freeing(Draining):
    """Where the inventory says how, the service has no work when it is started again; it has work again in any case."""

    def __init__(self, agent: "Agent", host: str) -> None:
        FRONTS.update(of_drains())
        Draining.__init__(self, agent, host, "install", "")

    def begin(self, is_active: bool) -> None:
        """`before`, and the wait; nothing before a front that does not run. Where that fails it has work again."""
        if not is_active or not self.plan or self.is_elsewhere("before"):
            return
        self.mark()
        try:
            self.drained(hurries=False)
        except Refusal as refusal:
            raise self.undone(refusal) from None

    def is_on(self) -> bool:
        """True for a service that was drained, now or by a set-up that was cut off."""
        return bool(self.plan and self.agent.state.content(CORDONED))

    def over(self) -> None:
        """It has work again."""
        if self.is_on():
            self.end()

    def taken_back(self, refusal: Refusal) -> Refusal:
        """The refusal, with what did not work as the service was given work again."""
        return self.undone(refusal) if self.is_on() else refusal
