"""Runs that went so far, made of the events that the engine records: for what is drawn of a run while it goes on."""

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Event, Intent, Outcome, Phase, PhaseStarted, RunStarted, State, Status, TokenChosen
from hivekeys.journal.fold import advance
from hivekeys.journal.progress import Direction, Progress, after_event
from hivekeys.journal.run import ROTATE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.verbs import Verb
from hivekeys.tasks.terminal.live import Show
from hivekeys.token import Token

NOON = 1_790_000_000.0
TURN = (Verb.SWAP, Verb.RESTART, Verb.PROVE)
WANT = Token("b" * 64).fingerprint(b"k")


def at(seconds: float) -> Moment:
    """So long after the run began."""
    return Moment(NOON + seconds, 100.0 + seconds)


def names(hives: int) -> tuple[str, ...]:
    return ("queen", *(f"hive{number}" for number in range(1, hives + 1)))


def waves_of(hives: int, batch: int) -> tuple[tuple[Phase, tuple[str, ...]], ...]:
    rest = names(hives)[2:]
    batches = [rest[start : start + batch] for start in range(0, len(rest), batch)]
    return (
        (Phase.QUEEN, ("queen",)),
        (Phase.CANARY, ("hive1",)),
        *((Phase.WAVE, wave) for wave in batches),
    )


def begun(hives: int, batch: int, task: str = ROTATE) -> Iterator[Event]:
    """Looked at, claimed and staged after 3 s."""
    everybody = names(hives)
    yield RunStarted("blue-5f0e12ab", "blue", "ann@bastion", "", everybody, waves_of(hives, batch), (), at(0), task)
    for number, phase in enumerate((Phase.LOOK, Phase.CLAIM, Phase.STAGE)):
        yield from passed(phase, everybody, number, 1.0, State.UNCHANGED)
        if phase is Phase.CLAIM:
            yield TokenChosen(WANT, at(number + 1))


def passed(
    phase: Phase, hosts: Sequence[str], start: float, seconds: float, state: State = State.PROVEN, title: str = ""
) -> Iterator[Event]:
    """A phase that all its hosts came through."""
    yield PhaseStarted(phase, tuple(hosts), at(start), title or phase.value)
    for host in hosts:
        yield Intent(host, phase, TURN, at(start))
        yield Outcome(host, phase, Status.OK, state, at(start + seconds))


def fails(host: str, phase: Phase, when: float, trouble: Trouble, detail: str = "") -> Outcome:
    """An outcome of a host that did not make it."""
    lost = trouble is Trouble.NO_CONNECTION
    status, state = (Status.UNREACHABLE, State.UNREACHABLE) if lost else (Status.FAILED, State.FAILED)
    return Outcome(host, phase, status, state, at(when), Cause(trouble, detail))


def midway(hives: int, batch: int) -> Iterator[Event]:
    """Queen and canary proven after 10 s; the first wave at work since then, its first host through."""
    yield from begun(hives, batch)
    yield from passed(Phase.QUEEN, ("queen",), 3, 3.5)
    yield from passed(Phase.CANARY, ("hive1",), 6.5, 3.5)
    waves = waves_of(hives, batch)[2:]
    wave = waves[0][1]
    yield PhaseStarted(Phase.WAVE, wave, at(10), f"wave 1 of {len(waves)}")
    for host in wave[:32]:
        yield Intent(host, Phase.WAVE, TURN, at(10))
    yield Outcome(wave[0], Phase.WAVE, Status.OK, State.PROVEN, at(12))


def followed(events: Iterable[Event], way: Direction = Direction.FORWARD) -> Progress:
    """The progress after all of them."""
    return reduce(then, events, Progress(direction=way))


def then(progress: Progress, event: Event) -> Progress:
    """The progress after one more, with the run that has it."""
    return after_event(progress, event, advance(progress.run, event))


def show_all(show: Show, events: Iterable[Event]) -> None:
    """Has a run be shown as a recorder does, from what was shown so far."""
    for event in events:
        show.listen(event, advance(show.run, event))
