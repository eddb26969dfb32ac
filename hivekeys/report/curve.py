"""The exposure clock as a picture: how many hosts may still accept the leaked token, over time. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from hivekeys.journal.exposure import Exposure
from hivekeys.report.drawing import LETTER, WIDTH, Box, Scale
from hivekeys.text.durations import seconds_of

HEIGHT, LEFT, RIGHT, TOP, FOOT = 236.0, 56.0, 150.0, 30.0, 34.0
BEYOND = 12.0  # width of what is drawn after the last host


@dataclass(frozen=True)
class Curve:
    """The picture; `line` is an SVG path."""

    width: float
    height: float
    left: float
    right: float
    top: float
    foot: float
    line: str
    marks: tuple[Box, ...]
    ticks: tuple[Box, ...]
    levels: tuple[tuple[float, int], ...]  # y, and how many hosts that is
    end: float  # y of the last level
    says: str
    tone: str


def curve(exposure: Exposure) -> Curve:
    """The picture of an exposure. Fenced hosts leave it at its end, since the time of their stop is not measured."""
    closed, still, fenced = sorted(exposure.closed.values()), len(exposure.open), len(exposure.fenced)
    count = max(1, len(closed) + still + fenced)
    right, foot = WIDTH - RIGHT, HEIGHT - FOOT
    scale = Scale(LEFT, right - BEYOND, max(closed, default=1.0) or 1.0)

    def y(hosts: int) -> float:
        return round(foot - hosts / count * (foot - TOP), 1)

    line = f"M{LEFT} {y(count)}" + "".join(f"H{scale.x(at)}V{y(count - place)}" for place, at in enumerate(closed, 1))
    line += f"H{right}V{y(still)}"
    says = f"{still} may accept it" if still else "no host accepts it"
    return Curve(
        WIDTH,
        HEIGHT,
        LEFT,
        right,
        TOP,
        foot,
        line,
        _apart(Box(scale.x(at), 0.0, "mark", label=f"{name} {seconds_of(at)}") for name, at in figures(exposure) if at),
        scale.ticks(),
        tuple((y(hosts), hosts) for hosts in sorted({count, round(count / 2)} - {0})),
        y(still),
        says + (f", {fenced} fenced" if fenced else ""),
        "bad" if still else "good",
    )


def figures(exposure: Exposure) -> tuple[tuple[str, float | None], ...]:
    """Median, 95 % and longest time, in seconds, of the hosts that refuse the old token."""
    return ("median", exposure.median), ("95 %", exposure.p95), ("last", exposure.longest)


def _apart(marks: Iterable[Box]) -> tuple[Box, ...]:
    """Joins marks whose labels would overlap."""
    kept: list[Box] = []
    for mark in marks:
        if kept and mark.x - kept[-1].x < LETTER * (len(kept[-1].label) + len(mark.label)) / 2 + 10:
            kept.append(replace(mark, label=f"{kept.pop().label}, {mark.label}"))
        else:
            kept.append(mark)
    return tuple(kept)
