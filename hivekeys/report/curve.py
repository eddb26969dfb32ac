"""The exposure clock as a picture: how many hosts may still accept the leaked token, over time. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from hivekeys.journal.exposure import Exposure
from hivekeys.report.picture import LETTER, round_step, tick_label
from hivekeys.text.durations import seconds_of

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 1060.0, 236.0, 56.0, 150.0, 30.0, 34.0


@dataclass(frozen=True)
class Mark:
    """A word at a place."""

    x: float
    y: float
    label: str
    kind: str = ""


@dataclass(frozen=True)
class Curve:
    """The picture; `line` and `area` are SVG paths."""

    width: float
    height: float
    left: float
    right: float
    top: float
    foot: float
    line: str
    area: str
    marks: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    levels: tuple[Mark, ...]
    end: Mark


def curve(exposure: Exposure) -> Curve:
    """The picture of an exposure. Hosts that were fenced leave it at its end: nobody timed them."""
    closed, still, fenced = sorted(exposure.closed.values()), len(exposure.open), len(exposure.fenced)
    count = max(1, len(closed) + still + fenced)
    last = max(closed, default=1.0) or 1.0
    step = round_step(last)
    right, foot = WIDTH - RIGHT, HEIGHT - FOOT

    def x(seconds: float) -> float:
        return round(LEFT + seconds / last * (right - LEFT - 12), 1)

    def y(hosts: int) -> float:
        return round(foot - hosts / count * (foot - TOP), 1)

    line = f"M{LEFT} {y(count)}" + "".join(f"H{x(at)}V{y(count - place)}" for place, at in enumerate(closed, 1))
    line += f"H{right}V{y(still)}"
    end = f"{still} may trust it" if still else "none trusts it"
    return Curve(
        WIDTH,
        HEIGHT,
        LEFT,
        right,
        TOP,
        foot,
        line,
        f"{line}V{foot}H{LEFT}Z",
        _apart(
            Mark(x(seconds), TOP, f"{name} {seconds_of(seconds)}") for name, seconds in figures(exposure) if seconds
        ),
        tuple(Mark(x(part * step), foot, tick_label(part * step)) for part in range(int(last / step) + 1)),
        tuple(Mark(LEFT, y(hosts), str(hosts)) for hosts in sorted({count, round(count / 2)} - {0})),
        Mark(right, y(still), end + (f", {fenced} fenced" if fenced else ""), "bad" if still else "good"),
    )


def figures(exposure: Exposure) -> tuple[tuple[str, float | None], ...]:
    """What people ask for first, in seconds, of the hosts that refuse the old token."""
    return ("median", exposure.median), ("95 %", exposure.p95), ("last", exposure.longest)


def _apart(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Marks whose words would lie on each other become one."""
    kept: list[Mark] = []
    for mark in marks:
        if kept and mark.x - kept[-1].x < LETTER * (len(kept[-1].label) + len(mark.label)) / 2 + 10:
            kept[-1] = Mark(mark.x, mark.y, f"{kept[-1].label}, {mark.label}")
        else:
            kept.append(mark)
    return tuple(kept)
