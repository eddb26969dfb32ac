"""Reads earlier runs from the journal, each judged in the light of later ones."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.journal import salvage, state_folder
from hivekeys.journal.debts import served, settled
from hivekeys.journal.events import Claimed, Superseded, TokenChosen
from hivekeys.journal.fold import fold
from hivekeys.journal.history import History
from hivekeys.journal.run import Run
from hivekeys.journal.store import Journal
from hivekeys.token import Fingerprint


def past_runs(fleet: str, state_dir: str, every: bool = False) -> Iterator[Run]:
    """The runs that brought a token, newest first, one by one; with `every`, upkeep too. Makes no journal."""
    folder = state_folder.folder_for(fleet, state_dir)
    if not (Journal.is_in(folder) or Journal.was_in(folder)):
        return
    with contextlib.closing(Journal(folder)) as journal:
        runs = (fold(journal.events(name)) for name in journal.runs())
        yield from (run for run in in_context(runs, folder) if every or run.brings_token)


def in_context(runs: Iterable[Run], folder: Path) -> Iterator[Run]:
    """All runs, newest first, with what their own events do not say: what later runs changed, and who is at work."""
    holder = state_folder.at_work(folder)  # before the events: a run that ends meanwhile has told of its end
    for run in settled(runs):
        yield replace(run, at_work=holder.words) if holder and holder.run == run.id and run.code is None else run


def newest_served(fleet: str, state_dir: str) -> Run | None:
    """The newest run whose token the fleet went on with: a host that was left behind owes this token."""
    return served(past_runs(fleet, state_dir))


def past_run(fleet: str, name: str, state_dir: str, every: bool = False) -> Run:
    """The newest run over a fleet, or the one that was named, with `every` of whatever kind."""
    for run in past_runs(fleet, state_dir, every):
        if name in ("", run.id):
            return run
    if name:
        raise UserError(f"the journal of fleet {fleet} has no run {name}", hint="`fab history` lists them")
    raise UserError(f"there was no run over fleet {fleet} from this bastion", hint="`fab plan` shows its hosts")


def tombstones(folder: Path) -> dict[Fingerprint, str]:
    """The fleet's tokens that leaked, and the run that revoked each, as this bastion knows."""
    found = salvage.tombstones(folder)
    if Journal.is_in(folder):
        with contextlib.closing(Journal(folder, as_it_is=True)) as journal:
            found |= journal.tombstones()
    return found


def history_of(folder: Path) -> History:
    """What this bastion's journal confirms: its runs' tokens, newest first, and their last place in the order."""
    if not Journal.is_in(folder):
        return History()
    with contextlib.closing(Journal(folder)) as journal:
        chosen = dict(journal.all_of(TokenChosen))
        tokens = tuple(chosen[run].fingerprint for run in journal.runs() if run in chosen)
        return History(tokens, max((event.epoch for _, event in journal.all_of(Claimed)), default=0))


def superseded_tokens(folder: Path) -> set[Fingerprint]:
    """The tokens of runs that were cut off and superseded: a host that is lost may hold one of them staged."""
    if not Journal.is_in(folder):
        return set()
    with contextlib.closing(Journal(folder)) as journal:
        runs = {run for run, _ in journal.all_of(Superseded)}
        return {event.fingerprint for run, event in journal.all_of(TokenChosen) if run in runs}
