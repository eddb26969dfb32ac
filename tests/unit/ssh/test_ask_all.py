"""Many hosts asked at once: an answer from each, in order, and nobody waits for threads that are another's."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hivekeys.ssh.ask_all import ask_all


def test_answers_come_in_the_order_in_which_was_asked() -> None:
    assert ask_all(lambda number: number * 2, range(50), 4) == [number * 2 for number in range(50)]


def test_it_does_not_wait_for_the_threads_of_a_run_that_is_open() -> None:
    """They are idle until the run ends, and bear the same kind of name."""
    with ThreadPoolExecutor(2, thread_name_prefix="host") as run:
        run.submit(threading.active_count).result()
        assert ask_all(str, [1], 1) == ["1"]


def test_when_one_cannot_be_asked_no_thread_of_it_is_left() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        ask_all(lambda number: 1 // number, [0, 1, 2], 2)
    assert threading.active_count() == before


def test_who_is_at_work_as_it_ends_is_told_so() -> None:
    """The operator's Ctrl-C, say: it would be waited for otherwise, however long its work takes."""
    told = threading.Event()

    def ask(number: int) -> bool:
        if number == 0:
            raise KeyboardInterrupt
        return told.wait(30)

    with pytest.raises(KeyboardInterrupt):
        ask_all(ask, [0, 1], 2, call_off=told.set)
    assert told.is_set()
