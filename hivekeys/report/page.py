"""A run as a page in plain words: the facts, in the order in which readers ask for them. Pure.

Every text is made here, one line each, so that a template can reach no fingerprint and decides nothing; Markdown and
HTML are two forms of the same page.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hivekeys import __version__
from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.events import Event, State
from hivekeys.journal.exposure import Exposure, exposure_of
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.hints import for_fleet, hint
from hivekeys.report.approvals import approval_words
from hivekeys.report.curve import Curve, curve, figures
from hivekeys.report.cuts import cut_lines
from hivekeys.report.drains import drain_lines
from hivekeys.report.incident import Item, checklist
from hivekeys.report.inputs import Finding, Review
from hivekeys.report.meter import meter_lines
from hivekeys.report.onward import next_step
from hivekeys.report.past import BECAUSE, OUT, earlier, stops_before
from hivekeys.report.picture import Picture, picture
from hivekeys.report.places import place_lines, unchecked_lines
from hivekeys.report.timeline import Timeline, timeline
from hivekeys.report.uses import census_lines
from hivekeys.report.verdict import came_to, past_verdict
from hivekeys.report.words import (
    CALLS,
    TONES,
    exposure_lines,
    failures,
    gap_lines,
    gap_of,
    left_behind,
    longest_gap,
    members,
)
from hivekeys.text.clean import one_line
from hivekeys.text.durations import seconds_of
from hivekeys.text.names import fold_names

TOGETHER = 60  # hosts that are shown in one table; more are folded, a group for each state
RIGHT_ANSWERS = {"new": "2", "old": "401", "none": "401", "garbage": "401"}


@dataclass(frozen=True)
class Fact:
    """A name and its value."""

    name: str
    value: str
    tone: str = "plain"


@dataclass(frozen=True)
class Call:
    """One of the four calls: what was presented, the status, and whether that is right; "" when it was not made."""

    name: str
    status: str
    tone: str


@dataclass(frozen=True)
class Line:
    """A host's row."""

    name: str
    service: str
    old: str
    now: str
    state: str
    tone: str
    calls: tuple[Call, ...]
    out: str  # shown instead of the calls for a service that does not run
    refused: str
    gap: str
    took: str
    cause: str


@dataclass(frozen=True)
class Group:
    """Hosts that ended in the same state, their names written short."""

    state: str
    tone: str
    names: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Failure:
    """A cause, who had it, and what to do."""

    hosts: str
    count: int
    trouble: str
    detail: str
    next: str


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    headline: str
    tone: str
    sub: str
    tiles: tuple[Fact, ...]
    stopped: str
    next: str
    failures: tuple[Failure, ...]
    timeline: Timeline
    picture: Picture | None
    exposure: tuple[str, ...]
    curve: Curve | None
    checklist: tuple[Item, ...]
    places: tuple[str, ...]  # where else the old token was tried, and the answers
    used: tuple[str, ...]  # who used the old token after it was replaced, and whose records do not say
    groups: tuple[Group, ...]
    gaps: tuple[str, ...]  # what a gap is, and what its marks mean
    count: int
    findings: tuple[Finding, ...] | None
    happened: tuple[Fact, ...]
    facts: tuple[Fact, ...]

    @property
    def folded(self) -> bool:
        """True when there are too many hosts for one table."""
        return self.count > TOGETHER


def page(
    run: Run,
    events: Sequence[Event],
    fleet: Fleet,
    findings: Sequence[Finding] | None = None,
    review: Review | None = None,
) -> Page:
    """The page of a run, finished or not. That of a revocation has its exposure and the incident checklist."""
    line = timeline(events)
    exposure = exposure_of(run) if run.is_revocation else None
    lines = [_line(run, part, host, exposure) for part, host in members(run, fleet)]
    headline, tone = _headline(run, exposure)
    unchecked = unchecked_lines(run)
    return Page(
        title=one_line(f"{run.task} of fleet {run.fleet}"),
        headline=headline,
        tone=tone,
        sub=one_line("; ".join([f"{run.task} of fleet {run.fleet}, {_time(run.started)}, run {run.id}", *unchecked])),
        tiles=_tiles(run, exposure),
        stopped=one_line("; before: ".join(filter(None, (run.stopped, *stops_before(run))))),
        next=one_line(next_step(run, fleet)),
        failures=tuple(_failures(run, fleet)),
        timeline=line,
        picture=picture(line, run),
        exposure=tuple(line[:1].upper() + line[1:] for line in exposure_lines(run)) if exposure else (),
        curve=curve(exposure) if exposure else None,
        checklist=tuple(_typed(item, fleet) for item in checklist(run, events, review)) if exposure else (),
        places=tuple(
            one_line(words)
            for words in (*place_lines(run), *drain_lines(run), *cut_lines(run), *meter_lines(run))
            if words not in unchecked
        ),
        used=tuple(one_line(words) for words in census_lines(run)),
        groups=_groups(lines),
        gaps=tuple(gap_lines(run)),
        count=len(lines),
        findings=None if findings is None else tuple(findings),
        happened=tuple(Fact(_time(run.started + turn.at), one_line(turn.what)) for turn in line.turns),
        facts=_facts(run, line, fleet),
    )


def _typed(item: Item, fleet: Fleet) -> Item:
    return replace(item, note=for_fleet(item.note, fleet.typed))


def _headline(run: Run, exposure: Exposure | None) -> tuple[str, str]:
    """The result in a few words."""
    if run.code is ExitCode.INCOMPLETE and not run.is_settled:
        return _incomplete(run, exposure)
    said = past_verdict(run)
    words = f"not over: {said.words}" if run.is_open and not run.at_work else said.words
    return words[:1].upper() + words[1:], said.tone


def _incomplete(run: Run, exposure: Exposure | None) -> tuple[str, str]:
    if exposure and exposure.open:
        return f"Not over: {_of(exposure.open, run.services)} may still accept the old token", "bad"
    if run.is_held:
        return "Proven on every host; the old token is kept, because it is still used", "fair"
    need = run.debts or run.behind
    needs = "needs" if len(need) == 1 else "need"
    return f"Incomplete: {_of(need, run.hosts)} {needs} you" if need else "Incomplete", "bad"


def _of(some: Sized, hosts: Sized) -> str:
    return f"{len(some)} of {len(hosts)} hosts"


def _tiles(run: Run, exposure: Exposure | None) -> tuple[Fact, ...]:
    """The few figures that readers want first."""
    code = came_to(run)
    tiles = [Fact("took", seconds_of(run.seconds)), Fact("exit code", "–" if code is None else str(int(code)))]
    if _is_upkeep(run):
        return (Fact("hosts", str(len(run.hosts))), *tiles)
    olds = {str(host.was) for host in run.hosts.values() if host.was}
    old = olds.pop() if len(olds) == 1 else f"{len(olds)} tokens" if olds else "–"
    there = f"{old} (not {run.want})" if run.rolled_back else f"{old} → {run.want or '–'}"
    tiles.insert(0, Fact("token", there))
    if exposure:
        tone = "bad" if exposure.open else "good"
        refusing = Fact("refuse the old token", f"{len(exposure.closed)} of {len(run.services)}", tone)
        known = ((name, "–" if seconds is None else seconds_of(seconds)) for name, seconds in figures(exposure))
        return (refusing, *(Fact(name, told) for name, told in known), *tiles)
    proven = sum(host.state is State.PROVEN for host in run.hosts.values())
    tone = "good" if proven == len(run.hosts) else "bad" if run.code is ExitCode.INCOMPLETE else "plain"
    longest = Fact("longest gap", longest_gap(map(run.gap, run.hosts.values())))
    return (Fact("hosts proven", f"{proven} of {len(run.hosts)}", tone), longest, *tiles)


def _is_upkeep(run: Run) -> bool:
    """True for fix, install, uninstall: work without a token of its own."""
    return not run.brings_token


def _line(run: Run, part: HostRun, host: Host | None, exposure: Exposure | None) -> Line:
    return Line(
        one_line(part.name),
        host.service.title if host else "–",
        str(part.was or "–"),
        str(part.now or "–"),
        part.state.value,
        TONES.get(part.state, "bad"),
        _calls(part),
        OUT if part.is_out else "",
        _refused(run, part.name, exposure) if exposure else "",
        gap_of(run.gap(part)),
        seconds_of(part.seconds),
        str(part.cause) if part.cause else "",
    )


def _refused(run: Run, name: str, exposure: Exposure) -> str:
    """How soon the host refused the old token, or its state; clients accept none."""
    if name in run.clients:
        return "–"
    if name in exposure.closed:
        return seconds_of(exposure.closed[name])
    return "fenced" if name in exposure.fenced else "may accept it"


def _calls(part: HostRun) -> tuple[Call, ...]:
    """The four proofs. A call that was not made is no proof, and no fault either."""
    made = part.proof.calls if part.proof else {}
    calls = []
    for name in CALLS:
        status = str(made[name]) if name in made else "–"
        tone = "" if name not in made else "good" if status.startswith(RIGHT_ANSWERS[name]) else "bad"
        calls.append(Call(name, status, tone))
    return tuple(calls)


def _groups(lines: Sequence[Line]) -> tuple[Group, ...]:
    """All hosts in one group, or for a large fleet a group for each state; those that need an operator come first."""
    if len(lines) <= TOGETHER:
        return (Group("", "plain", "", tuple(lines)),) if lines else ()
    of_state: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        of_state[line.state, line.tone].append(line)
    groups = [
        Group(state, tone, fold_names(line.name for line in found), tuple(found))
        for (state, tone), found in of_state.items()
    ]
    worst = ("bad", "fair", "plain", "good")
    return tuple(sorted(groups, key=lambda group: (worst.index(group.tone), len(group.lines))))


def _failures(run: Run, fleet: Fleet) -> Iterator[Failure]:
    """Each cause with its hosts; then the hosts that were left behind without a cause."""
    for cause, names in failures(run):
        yield Failure(fold_names(names), len(names), cause.trouble.value, cause.detail, hint(cause, fleet, *names))
    for cause, names in earlier(run) if run.rolled_back else ():
        trouble = f"{cause.trouble.value} ({BECAUSE})"
        yield Failure(fold_names(names), len(names), trouble, cause.detail, hint(cause, fleet, *names))
    for left, said, step in left_behind(run, fleet):
        yield Failure(fold_names(left), len(left), said, "", step)


def _facts(run: Run, line: Timeline, fleet: Fleet) -> tuple[Fact, ...]:
    """Who, when, why, with what."""
    pythons = Counter(
        one_line(host.host_record.python) for host in run.hosts.values() if host.host_record and host.host_record.python
    )
    same = "" if not run.inventory or not fleet.digest else _same(run.inventory == fleet.digest)
    waves = "; ".join(f"{phase.value}: {fold_names(names)}" for phase, names in run.waves[:12])
    more = f"; and {len(run.waves) - 12} more" if len(run.waves) > 12 else ""
    facts = [
        Fact("operator", one_line(run.who)),
        Fact("reason", one_line(run.reason) or "none given"),
        Fact("began", _time(run.started)),
        Fact("took", _took(run, line)),
        Fact("run", one_line(run.id)),
        Fact("epoch", str(run.epoch or "–")),
        Fact("order", one_line(waves + more)[:300]),
        *([Fact("window", one_line(run.window))] if run.window else []),
        *([Fact("approval", one_line(words))] if (words := approval_words(run)) else []),
        Fact("left out", fold_names(run.left_out) or "none"),
        Fact("excluded from the fleet", fold_names(run.excluded) or "none"),
        Fact("hivekeys", one_line(f"{run.version or 'not recorded'}; this page: {__version__}")),
        Fact("python on the hosts", ", ".join(f"{name} ({count})" for name, count in pythons.items()) or "not seen"),
        Fact("inventory", one_line(f"SHA-256 {run.inventory}{same}") if run.inventory else "not recorded"),
    ]
    return tuple(facts)


def _took(run: Run, line: Timeline) -> str:
    """Seconds at work; and, where the run paused, from the first event to the last."""
    whole = seconds_of(line.seconds)
    return seconds_of(run.seconds) + (f"; {whole} from start to end" if whole != seconds_of(run.seconds) else "")


def _same(is_same: bool) -> str:
    return ", unchanged since" if is_same else ", changed since"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
