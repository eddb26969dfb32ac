"""What an operator asked for, beyond the fleet."""

from dataclasses import dataclass

from hivekeys.journal.run import Run
from hivekeys.tasks.options.output import TO_PEOPLE, OutputOptions
from hivekeys.text.clean import printable


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an operator asked for, beyond the fleet."""

    reason: str = ""
    output: OutputOptions = TO_PEOPLE
    on_finish: tuple[str, ...] = ()  # the command to start when the run is over
    log: str = ""  # of the bastion, that the run is written into: tasks.notifications.log
    task: str = "rotate"  # hivekeys.journal.run
    past: Run | None = None
    state_dir: str = ""
    records: bool = True  # a look alone is not written down, and takes no lock
    goes_back: bool = False  # it is taken back
    fence: bool = False  # services that cannot be turned are to be stopped
    take_over: bool = False  # another run that has a host's lock is ended
    ends_survivors: bool = False  # processes that outlive a restart are to be ended
    meters: bool = False  # services are called as clients do, and what is refused is counted
    excluded: tuple[str, ...] = ()  # cut out of the fleet

    def __post_init__(self) -> None:
        """A reason may come from a ticket or a pipeline: one line of it is recorded and shown."""
        object.__setattr__(self, "reason", printable(" ".join(self.reason.split())))
