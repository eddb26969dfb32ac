"""Lines at the end of a terminal that are redrawn.

Not rich's Live: that leaves stale lines behind when a terminal gets narrower, and prints around itself.
"""

import contextlib
import os
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

EVERY = 0.25  # seconds between two frames
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
CLEAR_REST = "\x1b[K"  # of a line; a terminal that is cleared as a whole may keep a copy to scroll back to
SILENCE = 0.5  # seconds that a frame which is being written may take to its end
SMALLEST = (20, 5)


class Screen:
    """`draw(width, height)` gives the lines, from this screen's own thread; no run ever waits for a terminal."""

    def __init__(self, console: Console, draw: Callable[[int, int], list[Text]]) -> None:
        self._console = console
        self._draw = draw
        self._drawn: list[Text] = []
        self._frame = ""
        self._width = 0
        self._writing = threading.Lock()
        self._drawing = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_drawing, name="screen", daemon=True)
        self._thread.start()

    def end(self, keep: bool) -> None:
        """Draws for the last time, and leaves that on the terminal or nothing at all."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # the terminal may be what was lost
            if keep:
                self._next_frame()
            else:
                self._put("", 0, *self._size())
            self._write(SHOW_CURSOR)

    @contextlib.contextmanager
    def held(self, question: str) -> Iterator[None]:
        """The picture stays as it is, with a question below it; afterwards both are drawn over."""
        with self._drawing:
            with contextlib.suppress(OSError):
                self._next_frame()
                self._write(SHOW_CURSOR)
            yield
            self._drawn, self._frame = [*self._drawn, *map(Text, f"{question}yes".split("\n"))], ""

    def silence(self) -> None:
        """No frame is written any more. For the signal handler of a process that is about to end."""
        self._writing.acquire(timeout=SILENCE)

    def _keep_drawing(self) -> None:
        with contextlib.suppress(OSError):
            while not self._over.wait(EVERY):
                with self._drawing:
                    self._next_frame()

    def _next_frame(self) -> None:
        """Writes only when something is otherwise than it was: most frames cost no byte."""
        columns, rows = self._size()
        width, height = max(SMALLEST[0], columns - 1), max(SMALLEST[1], rows - 1)
        lines = self._draw(width, height)
        with self._console.capture() as captured:
            for line in lines:
                self._console.print(line, soft_wrap=True)
        frame = captured.get()
        if frame == self._frame and columns == self._width:
            return
        self._put(frame, len(lines), columns, rows)
        self._drawn, self._frame, self._width = lines, frame, columns

    def _put(self, frame: str, lines: int, columns: int, rows: int) -> None:
        """Over what is shown. A terminal that got narrower has broken the longer lines of that."""
        before = min(rows_of(self._drawn, columns), rows - 1)
        rest = max(0, before - lines)
        text = frame.replace("\n", f"{CLEAR_REST}\n") + f"{CLEAR_REST}\n" * rest
        self._write(HIDE_CURSOR + _up(before) + text + _up(rest))

    def _size(self) -> tuple[int, int]:
        """Columns and rows of the terminal as it is now."""
        try:
            return os.get_terminal_size(self._console.file.fileno())
        except OSError:
            return 80, 24

    def _write(self, text: str) -> None:
        with self._writing:
            self._console.file.write(text)
            self._console.file.flush()


def rows_of(lines: Sequence[Text], columns: int) -> int:
    """How many rows of a terminal these lines take."""
    return sum(max(1, -(-line.cell_len // max(1, columns))) for line in lines)


def _up(rows: int) -> str:
    """To the beginning of the line so many rows above."""
    return f"\x1b[{rows}F" if rows else "\r"


def fitted(question: str, width: int) -> str:
    """The question with its lines broken between words, as the picture that is drawn above it counts them."""
    lines = [
        fitted
        for line in question.split("\n")
        for fitted in textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
    ]
    return "\n".join(lines) + " " * question.endswith(" ")
