"""The runs of the past, as the journal on this bastion has them."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hivekeys.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from hivekeys.journal.run import Run


def past_runs(fleet: str, state_dir: str, every: bool = False) -> "Iterator[Run]":
    """The runs that brought a token, newest first, one by one; with `every`, upkeep too. Makes no journal."""
    from hivekeys.journal import state_folder  # noqa: PLC0415  here and below: not for `fab --list`
    from hivekeys.journal.run import fold  # noqa: PLC0415
    from hivekeys.journal.store import Journal  # noqa: PLC0415

    folder = state_folder.folder_for(fleet, state_dir)
    if not (Journal.is_in(folder) or Journal.was_in(folder)):
        return
    with contextlib.closing(Journal(folder)) as journal:
        runs = (fold(journal.events(name)) for name in journal.runs())
        yield from (run for run in as_told(runs, folder) if every or run.brings_token)


def as_told(runs: "Iterable[Run]", folder: "Path") -> "Iterator[Run]":
    """All runs, newest first, with what no event of theirs tells: what later ones made of them, and who is at work."""
    from hivekeys.journal import state_folder  # noqa: PLC0415
    from hivekeys.journal.debts import settled  # noqa: PLC0415

    holder = state_folder.at_work(folder)  # before the events: a run that ends meanwhile has told of its end
    for run in settled(runs):
        works = holder is not None and run.id == holder.run and run.code is None
        yield replace(run, at_work=holder.words) if holder and works else run


def newest_served(fleet: str, state_dir: str) -> "Run | None":
    """The newest run whose token the fleet went on with: what a host that was left behind owes."""
    from hivekeys.journal.debts import served  # noqa: PLC0415

    return served(past_runs(fleet, state_dir))


def past_run(fleet: str, name: str, state_dir: str, every: bool = False) -> "Run":
    """The newest run over a fleet, or the one that was named, with `every` of whatever kind."""
    for run in past_runs(fleet, state_dir, every):
        if name in ("", run.id):
            return run
    if name:
        raise UserError(f"the journal of fleet {fleet} has no run {name}", hint="`fab history` lists them")
    raise UserError(f"there was no run over fleet {fleet} from this bastion", hint="`fab plan` shows its hosts")
