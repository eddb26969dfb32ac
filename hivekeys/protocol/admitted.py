"""What a host says of a change to the tokens that its front lets in. Frozen values. Pure."""

from dataclasses import dataclass

MOST_CONNECTIONS = 1 << 22  # of one front: 16,384 (worker_connections of its nginx.conf) on each of 256 cores


@dataclass(frozen=True)
class Admitted:
    """How many connections of clients were cut, because a front had let them in with a token that leaked."""

    cut: int = 0

    def __post_init__(self) -> None:
        """Refuses what no nginx can have had open: hosts can lie."""
        if not 0 <= self.cut <= MOST_CONNECTIONS:
            raise ValueError("not a count of connections")
