"""A tombstone: a salted digest by which a host recognises a leaked token and refuses to write it. Pure."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Stone:
    """A tombstone as hosts keep it: HMAC-SHA256 of a token that leaked, under a salt; and the run that revoked it."""

    salt: str
    digest: str
    run: str

    def __post_init__(self) -> None:
        """Refuses what is none: it is handed on to other hosts, and this one may lie."""
        fits = re.fullmatch("[0-9a-f]{32}", self.salt) and re.fullmatch("[0-9a-f]{64}", self.digest)
        if not fits or not re.fullmatch("[A-Za-z0-9._-]{1,100}", self.run):
            raise ValueError("not a tombstone")


@dataclass(frozen=True)
class Remembered:
    """A host's newest tombstones, the oldest of them first, and how many older ones it has."""

    stones: tuple[Stone, ...]
    older: int
