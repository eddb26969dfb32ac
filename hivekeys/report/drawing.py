"""What the pictures of a report are drawn with: a scale of seconds, its ticks, and boxes. Pure."""

from dataclasses import dataclass

from hivekeys.report.timeline import Span
from hivekeys.text.durations import ago

WIDTH = 1060.0  # of a picture
LETTER = 6.4  # width of a character
FOLD = 26.0  # width of a wait in which no host had anything to do


@dataclass(frozen=True)
class Box:
    """A rectangle of a kind, and the text shown when the pointer is on it."""

    x: float
    width: float
    kind: str
    title: str = ""
    label: str = ""


class Scale:
    """Seconds → x. A wait in which nothing was done takes no more room than its mark."""

    def __init__(self, left: float, right: float, seconds: float, waits: tuple[Span, ...] = ()) -> None:
        self.left, self.right, self.waits = left, right, waits
        self.seconds_drawn = max(0.001, seconds - sum(wait.seconds for wait in waits))
        self.step = (right - left - FOLD * len(waits)) / self.seconds_drawn

    def x(self, at: float) -> float:
        """Where that second is."""
        folded = [wait for wait in self.waits if wait.begin < at]
        inside = sum(min(wait.end, at) - wait.begin for wait in folded)
        marks = sum(FOLD * (min(wait.end, at) - wait.begin) / wait.seconds for wait in folded)
        return round(self.left + (at - inside) * self.step + marks, 1)

    def box(self, span: Span, kind: str, title: str = "", label: str = "", least: float = 0.0) -> Box:
        """That span as a rectangle, at least so wide."""
        begin = self.x(span.begin)
        width = max(least, round(self.x(span.end) - begin, 1))
        return Box(min(begin, self.right - width), width, kind, title, label)

    def ticks(self) -> tuple[Box, ...]:
        """About eight round numbers of seconds, none of them in a wait."""
        size = round_step(self.seconds_drawn)
        starts = [0.0, *(wait.end for wait in self.waits)]
        ends = [*(wait.begin for wait in self.waits), self.seconds_drawn + sum(wait.seconds for wait in self.waits)]
        marks: list[Box] = []
        for begin, end in zip(starts, ends, strict=True):
            number = -(-begin // size)
            while number * size <= end:
                at = number * size
                label = tick_label(at)
                if not marks or self.x(at) - marks[-1].x > LETTER * (len(label) + 2):
                    marks.append(Box(self.x(at), 0.0, "tick", label=label))
                number += 1
        return tuple(marks)


def round_step(seconds: float) -> float:
    """The round number of seconds of which about ten make that much."""
    sizes = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)
    return next((size for size in sizes if seconds / size <= 10), 86400)


def tick_label(seconds: float) -> str:
    """A round number of seconds, as short as it can be said."""
    return f"{seconds:g} s" if seconds < 60 else ago(seconds).removesuffix(" 0 s").removesuffix(" 0 min")
