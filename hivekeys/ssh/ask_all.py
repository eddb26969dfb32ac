"""Asks many hosts at once and returns an answer from each."""

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from hivekeys.ssh.turns import Turn

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
_CALLS = itertools.count(1)


def ask_all(
    ask: Callable[[Asked], Answer],
    asked: Sequence[Asked],
    width: int,
    connect: Callable[[Asked, Turn[Answer]], None] = lambda _, turn: turn.ready(),
    call_off: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """The answer of each of these, in their order; at most `width` are asked at the same time.

    `connect` says when each can be asked, such as that its connection stands: until then it takes none of the places.
    However it ends, nothing further is asked: also when Ctrl-C comes just as a thread begins that the pool does not
    know yet. Those that are being asked then are waited for, after `call_off`.
    """
    name = f"host-{next(_CALLS)}"  # no other pool's: a run's threads live longer
    pool = ThreadPoolExecutor(width, thread_name_prefix=name)
    turns = [Turn(pool, partial(ask, each)) for each in asked]
    try:
        for each, turn in zip(asked, turns, strict=True):
            connect(each, turn)
        return [turn.result() for turn in turns]
    except BaseException:
        for turn in turns:
            turn.cancel()
        call_off()
        raise
    finally:
        pool.shutdown()
        for thread in threading.enumerate():
            if thread.name.startswith(f"{name}_"):
                thread.join()
