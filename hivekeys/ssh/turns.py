"""The turns of hosts in a few threads: a host waits for its connection first, which takes none of them."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Asked = TypeVar("Asked")
T = TypeVar("T")


class Turn(Future[T]):
    """The answer of one host; `hivekeys.ssh.line.Applicant` to whoever connects."""

    def __init__(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> None:
        super().__init__()
        self._pool, self._work = pool, work
        self.is_queued = True  # it waits for us, for a thread say; False while it is the host that lets us wait

    def connecting(self) -> None:
        """From now on it is the host that lets us wait."""
        self.is_queued = False

    def ready(self) -> None:
        """The work begins as soon as a thread is free. From any thread, and also when nobody waits for it any more."""
        self.is_queued = True
        try:
            self._pool.submit(self._run)
        except RuntimeError:  # the pool has been shut down
            self.cancel()

    def _run(self) -> None:
        self.is_queued = False
        if self.set_running_or_notify_cancel():
            try:
                self.set_result(self._work())
            except BaseException as error:  # the thread that waits for it raises it
                self.set_exception(error)


def in_turn(
    pool: ThreadPoolExecutor,
    work: Callable[[Asked], T],
    asked: Iterable[Asked],
    connect: Callable[[Asked, Turn[T]], None],
) -> dict[Asked, Turn[T]]:
    """The work on each of these, whose turns come as `connect` says."""
    turns = {each: Turn(pool, partial(work, each)) for each in asked}
    for each, turn in turns.items():
        connect(each, turn)
    return turns
