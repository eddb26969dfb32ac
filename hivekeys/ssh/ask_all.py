"""Asks many hosts at once and returns an answer from each."""

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
_CALLS = itertools.count(1)


def ask_all(
    ask: Callable[[Asked], Answer],
    asked: Sequence[Asked],
    width: int,
    call_off: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """The answer of each of these, in their order; at most `width` are asked at the same time.

    However it ends, nothing further is asked: also when Ctrl-C comes just as a thread begins that the pool does not
    know yet. Those that are being asked then are waited for, after `call_off`.
    """
    name = f"host-{next(_CALLS)}"  # no other pool's: a run's threads live longer
    pool = ThreadPoolExecutor(width, thread_name_prefix=name)
    try:
        return list(pool.map(ask, asked))
    except BaseException:
        call_off()
        raise
    finally:
        pool.shutdown()
        for thread in threading.enumerate():
            if thread.name.startswith(f"{name}_"):
                thread.join()
