"""Decides which slow hosts of a phase are left behind, so that the others need not wait."""

from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TypeVar

from hivekeys.journal.events import TURNS, Outcome, Phase

T = TypeVar("T")


def slower_half(waiting: set[Future[T]], half: int, patience: float) -> set[Future[T]]:
    """Those that are left once no more than `half` are, and none of them waits for a thread: that is not slowness.

    Where those that have the threads do not come through for `patience` seconds, the others have waited long enough.
    """
    while len(waiting) > half or not all(future.running() for future in waiting):
        done, waiting = wait(waiting, patience if len(waiting) <= half else None, FIRST_COMPLETED)
        if not done:
            break
    return waiting


@dataclass(frozen=True)
class Late:
    """What a host that was left behind is at work on."""

    phase: Phase
    future: Future[Outcome | None]

    @property
    def turns(self) -> bool:
        """True while its service may be out."""
        return self.phase in TURNS and not self.future.done()
