"""Decides which token is passed on to a joining host or a backup: by the journal, or `--from`."""

import sys

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet
from hivekeys.journal import state_folder
from hivekeys.journal.past import newest_served, tombstones
from hivekeys.journal.store import Journal
from hivekeys.tasks.terminal.live import Show
from hivekeys.token import Fingerprint
from hivekeys.upkeep.current_token import Grounds


def grounds_of(fleet: Fleet, source: str, yes: bool, state_dir: str) -> Grounds:
    """What counts beside the hosts' own word. `source`: the name that --from gave; asked about unless `yes`."""
    if not source:
        return Grounds(known_token(fleet, state_dir))
    host = next((host for host in fleet.hosts if host.name == source), None)
    if host is None:
        raise UserError(f"--from {source}: fleet {fleet.name} has no such host", hint="one host, by its whole name")
    if not yes:
        _confirm(fleet.name, source)
    return Grounds(known_token(fleet, state_dir), host)


def known_token(fleet: Fleet, state_dir: str) -> Fingerprint | None:
    """The token that the fleet went on with last, by this bastion's journal; None where there is none, or it leaked."""
    folder = state_folder.folder_for(fleet.name, state_dir)
    served = newest_served(fleet.name, state_dir) if Journal.is_in(folder) else None
    return served.want if served and served.want not in tombstones(folder) else None


def _confirm(fleet: str, source: str) -> None:
    if not sys.stdin.isatty():
        raise UserError("there is no terminal to ask for confirmation of --from on", hint="add --yes")
    if not Show().agrees(f"Take the token of fleet {fleet} from {source}, on its word alone? [y/N] "):
        raise UserError("not confirmed: nothing was changed")
