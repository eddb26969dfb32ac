"""What a host's meter has counted. Frozen values. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metered:
    """Calls to a service as its clients make them, ten a second, and how many of them were not let in.

    `refused`: answered 401 or 403. `broken`: not answered, or neither let in nor refused. `pause`: the longest time, in
    seconds, in which none was let in. `why` nothing was counted, "" where it was.
    """

    requests: int = 0
    refused: int = 0
    broken: int = 0
    pause: float = 0.0
    why: str = ""

    def __post_init__(self) -> None:
        """Refuses what nobody can have counted: hosts can lie."""
        if min(self.requests, self.refused, self.broken, self.pause) < 0 or self.refused + self.broken > self.requests:
            raise ValueError("not a count")

    def plus(self, other: "Metered") -> "Metered":
        """Both together."""
        return Metered(
            self.requests + other.requests,
            self.refused + other.refused,
            self.broken + other.broken,
            max(self.pause, other.pause),
            other.why or self.why,
        )
