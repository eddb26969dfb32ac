"""What a host says of a drain. Frozen values. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Drained:
    """How a service was freed of work. `busy`: the work that `until` saw last, in its own words; "" for none.

    `seconds` that it took. `forced`: the deadline came first, and the restart ended the work. `output`: what the
    operator's command said at its end.
    """

    seconds: float = 0.0
    busy: str = ""
    forced: bool = False
    output: str = ""

    def __post_init__(self) -> None:
        """Refuses a time that no clock can have counted: hosts can lie."""
        if self.seconds < 0:
            raise ValueError("not a time")
