"""Where a run leads its hosts, and how far it has come. Pure."""

from enum import Enum

from hivekeys.journal.events import Phase


class Heading(Enum):
    """Where a run leads its hosts."""

    FORWARD = "forward"  # to its token, or back if it stops
    BACK = "back"  # to the token from before it
    RECONCILE = "reconcile"  # it had ended and was taken up again: hosts come to its token, none goes back


class Milestone(Enum):
    """How far a run has come; it is not taken back from there, whatever becomes of it."""

    BEGUN = "begun"
    PROVEN = "proven"  # all that could be turned was proven: the fleet serves the run's token
    IRREVOCABLE = "irrevocable"  # past the point of no return: the old token is retired


MILESTONES = {
    Phase.SETTLE: Milestone.PROVEN,
    Phase.DROP: Milestone.IRREVOCABLE,
    Phase.RETIRE: Milestone.IRREVOCABLE,
}
