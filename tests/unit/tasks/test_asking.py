"""A question at the terminal: what is a yes, and that no Ctrl-C is slept over."""

import io
import os
import resource
import signal

import pytest
from rich.console import Console

from hivekeys.tasks.terminal.asking import agrees, answer


class Impatient(io.StringIO):
    """Whoever sits at it presses Ctrl-C when the question is on the screen and nobody reads yet."""

    def flush(self) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize(
    ("keys", "yes"),
    [("y\n", True), (" YES \n", True), ("n\n", False), ("\n", False), ("yess\n", False), ("\x04", False)],
)
def test_only_a_yes_is_a_yes(keyboard: int, keys: str, yes: bool) -> None:
    os.write(keyboard, keys.encode())
    assert agrees("Turn? [y/N] ", Console(file=io.StringIO())) is yes


def test_what_was_typed_ahead_answers_one_question_each(keyboard: int) -> None:
    os.write(keyboard, b"first\nsecond\n")
    screen = Console(file=io.StringIO())
    assert [answer("? ", screen), answer("? ", screen)] == ["first\n", "second\n"]


def test_a_question_can_be_asked_while_a_thousand_lines_to_hosts_are_open(keyboard: int) -> None:
    """Between two waves: what is opened for the question has a number that select() does not know."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    lines = [os.dup(keyboard) for _ in range(1100)]
    try:
        os.write(keyboard, b"y\n")
        assert agrees("Go on? [y/N] ", Console(file=io.StringIO()))
    finally:
        for line in lines:
            os.close(line)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_signal_between_question_and_answer_is_a_no(keyboard: int) -> None:
    """It is handled before anybody waits for a key: with nothing typed, only the handler can end the question."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupted)
    try:
        assert not agrees("Turn? [y/N] ", Console(file=Impatient()))
    finally:
        signal.signal(signal.SIGUSR1, before)
