"""What earlier runs still owe to which hosts, given the runs after them. Pure.

A run's own events tell how it ended. Whether its debts are paid, and whether it can still be rolled back, is
decided by the later runs: once the fleet went on with another token, an older rotation has nothing left to do. A
revocation has: a host that it did not reach accepts the leaked token until a later run proves another token there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from hivekeys.journal.events import State
from hivekeys.journal.run import Run


def settled(runs: Iterable[Run]) -> Iterator[Run]:
    """These runs, newest first and none left out, each as the later ones leave it."""
    newer, proven = "", set[str]()
    for run in runs:
        yield _settled(run, newer, proven)
        if run.is_served:
            newer = run.id
            proven.update(host.name for host in run.hosts.values() if host.state is State.PROVEN)
        elif run.overtaken_by:
            newer = run.overtaken_by


def _settled(run: Run, newer: str, proven: Iterable[str]) -> Run:
    """The run behind that newer one; hosts that later runs have `proven` owe it nothing."""
    if not owes(run):
        return run
    if run.is_revocation and run.want:
        run = replace(run, paid=frozenset(proven))
        return run if run.debts else replace(run, settled_by=newer)
    return replace(run, settled_by=newer)


def owes(run: Run) -> bool:
    """True for a run that an operator must still act on."""
    return bool(run.debts or run.behind) or run.is_held or (run.is_open and run.left_a_trace)


def served(runs: Iterable[Run]) -> Run | None:
    """The newest of these runs whose token the fleet went on with; None where a run that they do not know
    came after it.
    """
    for run in runs:
        if run.is_served:
            return run
        if run.overtaken_by:
            return None
    return None


def overtaken(runs: Iterable[Run], by: str) -> list[Run]:
    """The runs under a newer one of another bastion, if there is one: hosts take nothing from them any more."""
    if not by:
        return list(runs)
    return [replace(run, settled_by=by) if owes(run) or run.is_open else run for run in runs]
