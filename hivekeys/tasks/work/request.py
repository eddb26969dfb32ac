"""What an operator asked for, beyond the fleet: of the run, and of what is told of it."""

from dataclasses import dataclass

from hivekeys.bastion.request import Request as RunRequest
from hivekeys.tasks.options.output import TO_PEOPLE, OutputOptions


@dataclass(frozen=True, kw_only=True)
class Request(RunRequest):
    """What an operator asked for, beyond the fleet."""

    output: OutputOptions = TO_PEOPLE
    on_finish: tuple[str, ...] = ()  # the command to start when the run is over
    log: str = ""  # of the bastion, that the run is written into: tasks.notifications.log
    goes_back: bool = False  # it is taken back
