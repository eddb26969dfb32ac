"""The timeline as a picture: the coordinates of what the SVG template draws. Pure.

A row for each host, in the order in which they turn; a large fleet is folded, so that a thousand hosts fit on a page
and every host that did not make it still has a row that names it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hivekeys.journal.events import PASSES, TURNED, Phase, Status
from hivekeys.journal.run import Run
from hivekeys.report.drawing import LETTER, WIDTH, Box, Scale
from hivekeys.report.timeline import Band, Span, Timeline, Work, merged
from hivekeys.report.words import TONES, longest_gap
from hivekeys.text.durations import ago, seconds_of
from hivekeys.text.names import fold_names

LEFT, RIGHT = 186.0, 84.0  # what is left of the picture for names, and right of it for gaps
TOP, ROW, FOOT = 34.0, 24.0, 30.0  # height of the names of phases, of a host, of the seconds
MOST_SINGLE_ROWS = 60  # hosts that get their own row
FOLDED = 40  # rows that a larger fleet gets for hosts that went as they should
KINDS = {
    "look": "look, claim, stage: no service changes",
    "turn": "turn: swap, restart, prove",
    "settle": "settle: proven again, and on the new token",
    "unsettled": "settle: proven again, and not on the new token any more",
    "retire": "retire the old token",
    "back": "back to the old token",
    "failed": "failed",
    "lost": "not reached, or line broken",
    "cut": "run cut off before the answer",
    "down": "service restarting",
    "gap": "gap: clients could not use both this host and the queen with the same token",
}
IN_PASSES = "accept, use, drop: the tokens that the service accepts, proven each time"  # instead of "turn"
PHASES = {
    Phase.LOOK: "look",
    Phase.CLAIM: "look",
    Phase.STAGE: "look",
    Phase.SETTLE: "settle",
    Phase.RETIRE: "retire",
    Phase.REUSE: "back",
    Phase.ROLLBACK: "back",
}


@dataclass(frozen=True)
class Row:
    """A host, or hosts that are drawn as one."""

    y: float
    label: str
    title: str
    state: str
    tone: str
    boxes: tuple[Box, ...]
    downs: tuple[Box, ...]
    gaps: tuple[Box, ...]
    note: str  # the longest gap


@dataclass(frozen=True)
class Picture:
    """Everything that is drawn, and a sentence that describes it for readers who cannot see it."""

    width: float
    height: float
    left: float
    right: float
    top: float
    foot: float
    row: float
    bands: tuple[Box, ...]
    waits: tuple[Box, ...]
    ticks: tuple[Box, ...]
    rows: tuple[Row, ...]
    legend: tuple[tuple[str, str], ...]
    says: str


def picture(timeline: Timeline, run: Run) -> Picture | None:
    """The picture of a run; None when no host did anything in it."""
    if not any(timeline.work.values()):
        return None
    scale = scale_of(timeline)
    groups = _groups(run, timeline)
    rows = tuple(_row(scale, timeline, run, names, TOP + ROW * place) for place, names in enumerate(groups))
    passes = any(event.phase in PASSES for event in run.begun)
    words_of = {**KINDS, "turn": IN_PASSES} if passes else KINDS
    kinds = {box.kind for row in rows for box in (*row.boxes, *row.downs, *row.gaps)}
    return Picture(
        WIDTH,
        TOP + ROW * len(rows) + FOOT,
        LEFT,
        WIDTH - RIGHT,
        TOP,
        TOP + ROW * len(rows),
        ROW,
        _bands(scale, timeline.bands),
        tuple(scale.box(wait, "wait", f"nothing was done for {ago(wait.seconds)}") for wait in scale.waits),
        scale.ticks(),
        rows,
        tuple((kind, words) for kind, words in words_of.items() if kind in kinds),
        _says(timeline, run),
    )


def scale_of(timeline: Timeline) -> Scale:
    """The scale of a run. A wait is drawn short when it is longer than a second and 15 % of the work."""
    busy = sum(span.seconds for span in merged(work.span for works in timeline.work.values() for work in works))
    return Scale(LEFT, WIDTH - RIGHT, timeline.seconds, timeline.idle(max(1.0, 0.15 * busy)))


def _groups(run: Run, timeline: Timeline) -> list[tuple[str, ...]]:
    """Which hosts share a row: none in a small fleet; in a large one neighbours that succeeded, and hosts with the same
    trouble."""
    order = dict.fromkeys(name for _, names in run.waves for name in names)
    names = [name for name in (*order, *run.hosts) if timeline.work.get(name)]
    names = list(dict.fromkeys(names))
    if len(names) <= MOST_SINGLE_ROWS:
        return [(name,) for name in names]
    ill: dict[object, list[str]] = defaultdict(list)
    well: list[str] = []
    queen = run.queen.name if run.queen else ""
    for name in names:
        host = run.hosts[name]
        if name == queen:
            continue
        if host.cause is None and host.state in TONES:
            well.append(name)
        else:
            ill[host.state, host.cause.trouble if host.cause else None].append(name)
    size = -(-len(well) // FOLDED)
    parts = [tuple(well[start : start + size]) for start in range(0, len(well), size or 1)]
    first = [(queen,)] if queen in names else []
    return [*first, *(tuple(group) for group in ill.values()), *parts]


def _row(scale: Scale, timeline: Timeline, run: Run, names: tuple[str, ...], y: float) -> Row:
    work = [one for name in names for one in timeline.work[name]]
    new = all(run.hosts[name].state in TURNED for name in names)
    gaps = [span for name in names for span in timeline.gaps.get(name, ())]
    longest = longest_gap(run.gap(run.hosts[name]) for name in names)
    title = fold_names(names)
    state = run.hosts[names[0]].state
    return Row(
        y,
        _short(title, len(names)),
        title,
        state.value,
        TONES.get(state, "bad"),
        tuple(_boxes(scale, work, title, new)),
        tuple(
            scale.box(span, "down", f"{title}: the service was restarting for {seconds_of(span.seconds)}", least=2.0)
            for span in merged(one.down for one in work if one.down)
        ),
        tuple(
            scale.box(span, "gap", f"{title}: a gap for clients, {seconds_of(span.seconds)}", least=2.0)
            for span in merged(gaps)
        ),
        "" if longest == "–" else longest,
    )


def _boxes(scale: Scale, work: Sequence[Work], title: str, new: bool) -> Iterable[Box]:
    """One box for each kind of work that goes on without a break. `new`: the host ended on the new token."""
    alike: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for one in work:
        kind = _kind(one)
        alike["unsettled" if kind == "settle" and not new else kind, one.phase.value].append(one.span)
    for (kind, phase), spans in sorted(alike.items(), key=lambda item: item[0][0] in ("failed", "lost", "cut")):
        for span in merged(spans, apart=1.0 / scale.step):
            words = KINDS[kind] if kind in ("failed", "lost", "cut") else ""
            told = f"{title}: {phase}, {seconds_of(span.seconds)}" + (f", {words}" if words else "")
            yield scale.box(span, kind, told, least=2.0)


def _kind(work: Work) -> str:
    match work.status:
        case None:
            return "cut"
        case Status.OK:
            return PHASES.get(work.phase, "turn")
        case Status.FAILED:
            return "failed"
        case _:
            return "lost"


def _bands(scale: Scale, bands: Sequence[Band]) -> tuple[Box, ...]:
    """The phases behind the rows. A name is written where it fits."""
    boxes = []
    for band in bands:
        box = scale.box(band.span, "band")
        label = next((text for text in (band.title, band.title.split(" of ")[0]) if _fits(text, box.width)), "")
        told = f"{band.title}: {fold_names(band.hosts)}, {seconds_of(band.span.seconds)}"
        boxes.append(Box(box.x, box.width, band.phase.value, told, label))
    return tuple(boxes)


def _fits(text: str, width: float) -> bool:
    return LETTER * len(text) + 9 <= width


def _short(title: str, count: int) -> str:
    """A row's name in the room that it has."""
    room = int((LEFT - 34) / LETTER) - 1
    more = f" ({count})" if count > 1 else ""
    if len(title) + len(more) <= room:
        return title + more
    return title[: room - len(more) - 1] + "…" + more


def _says(timeline: Timeline, run: Run) -> str:
    """The picture in words."""
    phases = ", ".join(f"{band.title} {seconds_of(band.span.seconds)}" for band in timeline.bands[:12])
    more = f" and {len(timeline.bands) - 12} more" if len(timeline.bands) > 12 else ""
    said = f"{len(timeline.work)} hosts in {seconds_of(run.seconds)}. Phases: {phases}{more}."
    known = {name: gap.seconds for name, host in run.hosts.items() if (gap := run.gap(host)) and gap.seconds}
    if known:
        name = max(known, key=lambda one: known[one])
        said += f" The longest gap for clients was {seconds_of(known[name])}, of {name}."
    ill = [host.name for host in run.hosts.values() if host.cause]
    return said + (f" Not successful: {fold_names(ill)}." if ill else " No host failed.")
