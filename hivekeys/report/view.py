"""The live view of a run: a few lines for any number of hosts. Pure.

No line is longer than the width, and there are never more lines than the height. What comes from a host is shown
without control characters, and means nothing to the terminal or to rich.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby

from rich.text import Text

from hivekeys.journal.clock import Moment
from hivekeys.journal.events import TURNED, Phase, State
from hivekeys.journal.exposure import exposure_of
from hivekeys.journal.progress import Direction, PhaseProgress, Progress, counts, in_phase, to_go
from hivekeys.report.past import BECAUSE, by_cause, earlier
from hivekeys.report.words import exposure_in_short, exposure_lines
from hivekeys.text.clean import one_line
from hivekeys.text.durations import ago
from hivekeys.text.names import fold_names

SLOW = 30.0  # seconds at work after which a host is highlighted
CAUSES = 4  # kinds of failure that get a line of their own
ROOMY = 16  # lines of a terminal from which on an empty line is allowed
AT_WORK = 12  # lines for hosts at work, however high the terminal is
GOOD = (*TURNED, State.ROLLED_BACK)
COLOURS = {
    "proven": "green",
    "through": "green",
    "waiting": "",
    "unchanged": "",
    "healthy": "yellow",
    "rolled back": "yellow",
}
TITLES = {"rotate": "rotation", "revoke": "revocation"}
Words = list[tuple[str, str]]  # words that are never broken apart, each with its style


def view(progress: Progress, now: Moment, width: int, height: int, stopping: bool = False) -> list[Text]:
    """The picture's lines. `stopping`: the operator has asked for the end."""
    head = [_title(progress, now, width), *_rail(progress, width), _bar(progress, width), *_counts(progress, width)]
    if progress.run.is_revocation:
        head += _exposure(progress, now, width)
    if progress.run.stopped:
        head.append(Text(f"stopped: {one_line(progress.run.stopped)}", "red"))
    if progress.direction is Direction.BACK or progress.run.rolled_back:
        head += [
            Text(f"{_short(names)}: {cause} ({BECAUSE})", "red") for cause, names in earlier(progress.run)[:CAUSES]
        ]
    if stopping and not progress.is_over:
        head.append(Text("stopping: hosts in flight finish, no further host begins (again: stop at once)", "yellow"))
    failures = list(_failures(progress))
    if height >= ROOMY:
        head.append(Text())
    room = height - len(head) - len(failures)
    lines = [*head, *_at_work(progress, now, width, min(AT_WORK + 2, max(2, room))), *failures]
    while lines and not lines[-1].plain:
        lines.pop()
    return [_fitted(line, width) for line in lines[: max(1, height)]]


# -- how far


def _title(progress: Progress, now: Moment, width: int) -> Text:
    """Which run, for how long, until when."""
    run = progress.run
    what = Text.assemble((TITLES.get(run.task, run.task), "bold"), f" of fleet {one_line(run.fleet)}")
    if run.attempt > 1:
        what.append(f", attempt {run.attempt}")
    when = next((words for words in _when(progress, now) if what.cell_len + len(words) + 2 <= width), "")
    if what.cell_len + len(run.id) + len(when) + 5 < width:
        what.append(f"  {one_line(run.id)}", "dim")
    return what.append(" " * max(2, width - what.cell_len - len(when)) + when)


def _when(progress: Progress, now: Moment) -> Iterator[str]:
    """For how long, and until when; the longest words first."""
    if progress.is_over:
        yield f"{progress.run.seconds:.1f} s"
        return
    elapsed = ago(progress.run.times.worked(now.clock) if progress.run.id else 0.0)
    rest = to_go(progress, now.clock)
    if rest is not None:
        end = datetime.fromtimestamp(now.at + rest).strftime("%H:%M:%S")
        yield f"{elapsed}, about {ago(rest)} to go ({end})"
        yield f"{elapsed}, about {ago(rest)} to go"
        yield f"{elapsed}, until {end}"
    yield elapsed


def _rail(progress: Progress, width: int) -> list[Text]:
    """The phases that are over, the present one, and those to come; waves in a row are one word."""
    words: Words = []
    behind = progress.phases if progress.is_over else progress.phases[:-1]
    for is_wave, phases in groupby(behind, lambda current: current.phase is Phase.WAVE):
        words += _passed(list(phases), is_wave)
    if progress.phase and not progress.is_over:
        words.append((f"▸ {one_line(progress.phase.title)}", "bold cyan"))
    for is_wave, stops in groupby(progress.remaining, lambda stop: stop[0] is Phase.WAVE):
        titles = [title for _, title, _ in stops]
        words += [(f"· {title}", "dim") for title in ([_waves(len(titles))] if is_wave else titles)]
    return list(_flowed(words, width))


def _passed(phases: Sequence[PhaseProgress], is_wave: bool) -> Words:
    if is_wave and len(phases) > 1:
        failed = any(current.failed for current in phases)
        return [(f"! {_waves(len(phases))}", "red") if failed else (f"✓ {_waves(len(phases))}", "green")]
    return [
        (f"! {one_line(current.title)}", "red") if current.failed else (f"✓ {one_line(current.title)}", "green")
        for current in phases
    ]


def _waves(number: int) -> str:
    return "1 wave" if number == 1 else f"{number} waves"


def _bar(progress: Progress, width: int) -> Text:
    """Each cell stands for some hosts: on the new token, taken back, at work, failed, waiting. Only the first is green.

    It can be read without colours.
    """
    hosts = progress.run.hosts
    if progress.brings_token:
        good = sum(host.state in TURNED for host in hosts.values())
        back = sum(host.state is State.ROLLED_BACK for host in hosts.values())
        bad = sum(host.state not in (*GOOD, State.UNCHANGED) for host in hosts.values())
        flying = sum(hosts[name].state is State.UNCHANGED for name in progress.in_flight)
    else:
        bad = len(progress.troubles.keys() & progress.through)
        good, back, flying = len(progress.through) - bad, 0, len(progress.in_flight)
    total = max(1, len(hosts))
    ill, well = min(width, -(-bad * width // total)), good * width // total
    taken = max(0, min((good + back) * width // total - well, width - ill - well))
    at_work = max(0, min(-(-flying * width // total), width - ill - well - taken))
    bar = Text().append("━" * well, "green").append("┄" * taken, "yellow")
    bar.append("╍" * at_work, "cyan").append("×" * ill, "red")
    return bar.append("─" * (width - bar.cell_len), "dim")


def _counts(progress: Progress, width: int) -> Iterable[Text]:
    words = [
        (f"{count} {state}", (COLOURS.get(state, "red") if count else "dim"))
        for state, count in counts(progress).items()
    ]
    return _flowed(words, width)


def _exposure(progress: Progress, now: Moment, width: int) -> Iterator[Text]:
    """The exposure clock, which runs until no host can still accept the token that leaked."""
    run = progress.run
    exposed, total = exposure_of(run).open, len(run.services)
    if exposed and not progress.is_over:
        since, count = ago(now.at - run.started), f"{len(exposed)} of {total} hosts may still accept"
        yield Text(
            _fitting(width, f"exposed for {since}: {count} the old token", f"exposed {since}: {count} it"), "red"
        )
    if len(exposed) < total or progress.is_over:
        yield Text(_fitting(width, exposure_lines(run)[0], *exposure_in_short(run)))


def _fitting(width: int, *words: str) -> str:
    """The first that fits; the last where none does."""
    return next((one for one in words if len(one) <= width), words[-1])


# -- who is at work, who failed


def _at_work(progress: Progress, now: Moment, width: int, room: int) -> list[Text]:
    """The phase, the hosts in flight with their step and seconds, then the others that have not answered."""
    current = progress.phase
    if current is None or progress.is_over:
        return []
    through = f"{len(current.hosts) - len(progress.left)} of {len(current.hosts)} through"
    lines = [Text.assemble((one_line(current.title), "bold"), f"  {through}  {ago(in_phase(progress, now.clock))}")]
    cells = [
        Text(f"{one_line(name)}  {flight.steps}  {now.clock - flight.since:.0f} s", _pressing(now.clock - flight.since))
        for name, flight in progress.in_flight.items()
    ]
    others = [name for name in progress.left if name not in progress.in_flight]
    stragglers = sorted(progress.stragglers - progress.in_flight.keys())
    rows = _columns(cells, width)
    free = room - len(lines) - bool(others) - bool(stragglers)
    if len(rows) > free:
        free = max(0, free - 1)
        rest = list(progress.in_flight)[free * _per_row(cells, width) :]
        rows = [*rows[:free], Text(f"  and {len(rest)} more: {fold_names(map(one_line, rest))}", "dim")]
    lines += rows
    if others:
        lines.append(Text(f"  not yet: {fold_names(map(one_line, others))}", "dim"))
    if stragglers:
        lines.append(Text(f"  still waiting for: {fold_names(map(one_line, stragglers))}", "yellow"))
    return lines


def _pressing(seconds: float) -> str:
    return "yellow" if seconds > SLOW else ""


def _per_row(cells: Sequence[Text], width: int) -> int:
    return max(1, (width - 2) // (max((cell.cell_len for cell in cells), default=0) + 3))


def _columns(cells: Sequence[Text], width: int) -> list[Text]:
    """Cells side by side, as many as the width allows."""
    beside = _per_row(cells, width)
    wide = max((cell.cell_len for cell in cells), default=0) + 3
    rows = []
    for start in range(0, len(cells), beside):
        row = Text("  ")
        for cell in cells[start : start + beside]:
            row.append_text(cell).append(" " * (wide - cell.cell_len))
        rows.append(row)
    return rows


def _failures(progress: Progress) -> Iterator[Text]:
    """A line for each kind of failure: how many hosts, which, and what the first one said."""
    kinds = by_cause(progress.troubles.items())
    for cause, names in kinds[:CAUSES]:
        many = f"{len(names)} hosts: " if len(names) > 1 else ""
        yield Text(f"{many}{_short(names)}: {cause}", "red")
    rest = kinds[CAUSES:]
    if rest:
        yield Text(f"and {sum(len(names) for _, names in rest)} hosts for {len(rest)} other reasons", "red")


def _short(names: Sequence[str]) -> str:
    """Names that leave room for the cause."""
    folded = fold_names(map(one_line, names))
    return folded if len(folded) <= 24 else folded[:23].rstrip(", ") + "…"


# -- lines


def _flowed(words: Words, width: int) -> Iterator[Text]:
    """The words in as many lines as they need, none of them broken."""
    line = Text()
    for word, style in words:
        if line.cell_len and line.cell_len + 2 + len(word) > width:
            yield line
            line = Text()
        line.append("  " if line.cell_len else "").append(word, style)
    yield line


def _fitted(line: Text, width: int) -> Text:
    line.rstrip()
    line.truncate(width, overflow="ellipsis")
    return line
