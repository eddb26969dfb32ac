"""What is asked of a run, beyond the fleet, and who listens to it."""

from dataclasses import dataclass
from typing import Protocol

from hivekeys.journal.events import Event
from hivekeys.journal.run import ROTATE, Run
from hivekeys.rotation.proposal import ApprovedPlan
from hivekeys.text.clean import printable


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a run, beyond the fleet."""

    reason: str = ""
    task: str = ROTATE
    past: Run | None = None  # the run that is taken up
    state_dir: str = ""
    records: bool = True  # a look alone is not written down, and takes no lock
    fence: bool = False  # services that cannot be turned are to be stopped
    take_over: bool = False  # another run that has a host's lock is ended
    ends_survivors: bool = False  # processes that outlive a restart are to be ended
    meters: bool = False  # services are called as clients do, and what is refused is counted
    excluded: tuple[str, ...] = ()  # cut out of the fleet
    approved: ApprovedPlan | None = None  # by the persons that `[approval]` of the inventory asks for

    def __post_init__(self) -> None:
        """A reason may come from a ticket or a pipeline: one line of it is recorded and shown."""
        object.__setattr__(self, "reason", printable(" ".join(self.reason.split())))


class Listener(Protocol):
    """Who listens to a run. Called from the threads that drive the hosts, each event after it is in the journal."""

    def listen(self, event: Event, run: Run) -> None:
        """An event of the run, in their order, and the run that has it."""

    def warn(self, words: str) -> None:
        """Something that is wrong beside the run."""
