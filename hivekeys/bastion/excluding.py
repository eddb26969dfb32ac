"""Excluded hosts: those that are named now, and those that earlier runs excluded."""

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from hivekeys.errors import DamagedError, UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.journal import state_folder
from hivekeys.journal.store import Journal
from hivekeys.protocol.hints import limit_of
from hivekeys.ssh.excluded import TELLING, CutOut, cut_out


def cut_out_now(folder: Path) -> dict[str, CutOut]:
    """The hosts that are cut out, by this bastion's journal, as far as it can be read. Makes no journal."""
    if not Journal.is_in(folder):
        return {}
    with contextlib.closing(Journal(folder, as_it_is=True)) as journal:
        return cut_out(journal.all_of(*TELLING))


def split_excluded(
    fleet: Fleet,
    hosts: tuple[Host, ...],
    without: Collection[str],
    state_dir: str,
    in_emergency: Callable[[str], None] | None = None,
) -> tuple[tuple[Host, ...], tuple[str, ...]]:
    """The hosts that are left, and the names of those of the inventory that are cut out, from now on (those `without`)
    or already.

    `in_emergency`: a journal that is damaged is no reason to stop, and is warned of here.
    """
    cut = {*without, *_known(fleet, state_dir, in_emergency)}
    there = tuple(host for host in hosts if host.name not in cut)
    if hosts and not there:
        back = f"`fab install --limit {limit_of([host.name for host in hosts])} --readmit`"
        raise UserError(
            "every host that was asked for is excluded from the fleet: no host is left",
            hint=f"{back} takes them back after they were rebuilt",
        )
    return there, tuple(host.name for host in fleet.hosts if host.name in cut)


def _known(fleet: Fleet, state_dir: str, warn: Callable[[str], None] | None) -> Collection[str]:
    folder = state_folder.folder_for(fleet.name, state_dir)
    try:
        return cut_out_now(folder)
    except UserError as error:
        if warn and isinstance(error, DamagedError):
            warn(f"{error.message}. Which hosts earlier runs excluded is not known: name them with --without")
            return ()
        raise
