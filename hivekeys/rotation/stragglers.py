"""Decides which slow hosts of a phase are left behind, so that the others need not wait."""

from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TypeVar

from hivekeys.journal.events import TURNS, Outcome, Phase

T = TypeVar("T")


def slower_half(waiting: set[Future[T]], half: int, patience: float) -> set[Future[T]]:
    """The hosts still at work, once at most `half` are and each has a thread: to wait for a thread is not slowness.

    If none of that half answers for `patience` seconds, they are returned earlier.
    """
    while len(waiting) > half or not all(future.running() for future in waiting):
        done, waiting = wait(waiting, patience if len(waiting) <= half else None, FIRST_COMPLETED)
        if not done:
            break
    return waiting


@dataclass(frozen=True)
class Straggler:
    """The phase in which a host was left behind, and its work there."""

    phase: Phase
    future: Future[Outcome | None]

    @property
    def turns(self) -> bool:
        """True while its service may be down."""
        return self.phase in TURNS and not self.future.done()
