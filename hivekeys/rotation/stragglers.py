"""Decides which slow hosts of a phase are left behind, so that the others need not wait."""

from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TypeVar

from hivekeys.journal.events import TURNS, Outcome, Phase
from hivekeys.ssh.turns import Turn

T = TypeVar("T")


def slower_half(waiting: set[Turn[T]], half: int, patience: float) -> set[Turn[T]]:
    """The hosts still at work, once at most `half` are and none is queued: to wait for a thread is not slowness.

    To let us wait for a connection is. If none of that half answers for `patience` seconds, they are returned earlier.
    """
    while len(waiting) > half or any(turn.is_queued for turn in waiting):
        done = wait(waiting, patience if len(waiting) <= half else None, FIRST_COMPLETED).done
        if not done:
            break
        waiting = {turn for turn in waiting if turn not in done}
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
