"""Asks many hosts at once and returns an answer from each."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def ask_all(ask: Callable[[Asked], Answer], asked: Sequence[Asked], width: int) -> list[Answer]:
    """What each of these answers, in their order; at most `width` are asked at the same time."""
    with ThreadPoolExecutor(width, thread_name_prefix="host") as pool:
        return list(pool.map(ask, asked))
