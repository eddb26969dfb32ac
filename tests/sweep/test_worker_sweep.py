"""A worker is killed before and after every verb of every host: the run replaces it, and ends as if undisturbed."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import State
from hivekeys.journal.run import REVOKE, ROTATE
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessLine, SharedClock
from tests.sweep.bastion import KilledError
from tests.sweep.promises import WatchedFleet, breaches

# One host after the other: no thread of a worker that is "dead" can be at work on another host.
POLICY = Policy(batch=Amount(1), width=1, stable_seconds=0.0, revocation_recheck=0.0)


def rotate(operator: Operator) -> ExitCode:
    return operator.rotate()


def revoke(operator: Operator) -> ExitCode:
    return operator.revoke()


def killed_at(folder: Path, point: int, task: str, go: Callable[[Operator], ExitCode]) -> tuple[bool, list[str]]:
    """Whether there was so late a point, and what was wrong after a run whose worker was killed there."""
    fleet = WatchedFleet(folder, 3, policy=POLICY)
    points, killed = itertools.count(), []

    def on_verb(_: InProcessLine, when: str, what: str) -> None:
        if next(points) == point:
            killed.append(f"{when} {what}")
            raise KilledError

    fleet.on_verb = on_verb
    if task == REVOKE:
        fleet.revoking.add("run-1")
    ann = Operator(fleet, workers=2, task=task, clock=SharedClock(fleet))
    code = go(ann)
    wrong = breaches(fleet, ann.run, ann.events)
    wrong += [f"ended with {code.name}: {ann.troubles}"] * (code is not ExitCode.DONE)
    wrong += [f"{name} serves {word}" for name, word in serving(fleet, ann.token).items() if word != "new"]
    wrong += [f"{name} has a copy left" for name in slots_used(fleet)]
    wrong += [f"{name} is {state}" for name, state in ann.states.items() if state is not State.PROVEN]
    return bool(killed), [f"killed {killed}: {fault}" for fault in wrong]


@pytest.mark.parametrize(
    ("task", "go", "first"), [*((ROTATE, rotate, first) for first in range(3)), (REVOKE, revoke, 0)]
)
def test_a_worker_killed_at_any_verb_costs_the_run_nothing(
    tmp_path: Path, task: str, go: Callable[[Operator], ExitCode], first: int
) -> None:
    wrong: list[str] = []
    for point in itertools.count(first, 3):
        folder = tmp_path / str(point)
        folder.mkdir()
        was_killed, found = killed_at(folder, point, task, go)
        if not was_killed:
            break
        wrong += found
    assert point > 60
    assert not wrong, "\n".join(wrong[:40])
