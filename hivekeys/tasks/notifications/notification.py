"""What is told of a run: a line, the lines below it, and facts for programs. Pure.

Holds no token. What hosts said is in it as the run's events have it, cleaned.
"""

from collections.abc import Collection
from dataclasses import dataclass

from hivekeys.errors import ExitCode
from hivekeys.fleet import Occasion
from hivekeys.journal.events import Event, Outcome, Phase, PhaseStarted, Status, Stopped
from hivekeys.journal.run import Run
from hivekeys.report.verdict import verdict
from hivekeys.report.words import failure_line, stop_line
from hivekeys.text.clean import one_line

FORM = 1  # of the facts; what is added keeps it


@dataclass(frozen=True)
class Notification:
    """One message to others. `text` ends with a newline, or is empty; `facts` name the occasion."""

    title: str
    text: str
    facts: dict[str, str | int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", one_line(self.title))  # no header of a mail has two lines


def of_event(event: Event, run: Run, told: Collection[Occasion]) -> tuple[Occasion, Notification] | None:
    """The notification that is due with this event, by the run that has it already; `told`: what was told of it before.

    A run begins when it does more than look. It fails with the first host that does, or when it stops.
    """
    if Occasion.START not in told:
        begins = isinstance(event, PhaseStarted) and event.phase is not Phase.LOOK
        return (Occasion.START, _began(run)) if begins else None
    if Occasion.FAILURE in told:
        return None
    match event:
        case Outcome() if event.status is not Status.OK:
            return Occasion.FAILURE, _failed(run, failure_line(event))
        case Stopped():
            return Occasion.FAILURE, _failed(run, stop_line(event))
    return None


def at_end(run: Run, text: str, code: ExitCode) -> Notification:
    """How a run ended; `text`: its summary, as the operator sees it."""
    title = f"{run.task} of fleet {run.fleet}: {verdict(run, code).words} (exit code {int(code)})"
    return Notification(title, text, _facts(run, Occasion.END) | {"exit_code": int(code)})


def not_begun(fleet: str, task: str, run: str, text: str, code: ExitCode) -> Notification:
    """A run that was refused, or broke, before it was one; `text` says why."""
    title = f"{task} of fleet {fleet}: {text.partition(chr(10))[0]} (exit code {int(code)})"
    facts: dict[str, str | int] = {"form": FORM, "occasion": Occasion.END.value, "fleet": fleet, "run": run}
    return Notification(title, text, facts | {"task": task, "exit_code": int(code)})


def trial(fleet: str) -> Notification:
    """What is told to see whether it arrives."""
    title = f"a trial notification for fleet {fleet}: nothing was changed"
    return Notification(title, "", {"form": FORM, "occasion": "trial", "fleet": fleet})


def _began(run: Run) -> Notification:
    why = f"reason: {run.reason}\n" if run.reason else ""
    title = f"{run.task} of fleet {run.fleet} began: {len(run.here)} hosts"
    return Notification(title, f"run {run.id} of {run.who}\n{why}", _facts(run, Occasion.START))


def _failed(run: Run, what: str) -> Notification:
    title = f"{run.task} of fleet {run.fleet}: {what}"
    return Notification(title, f"run {run.id} of {run.who}, which is not over\n", _facts(run, Occasion.FAILURE))


def _facts(run: Run, occasion: Occasion) -> dict[str, str | int]:
    return {
        "form": FORM,
        "occasion": occasion.value,
        "fleet": run.fleet,
        "run": run.id,
        "task": run.task,
        "who": run.who,
        "reason": run.reason,
    }
