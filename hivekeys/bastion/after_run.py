"""Takes a backup of a run's token after the run, if the inventory asks for it (`[backup]`)."""

import time

from hivekeys import age
from hivekeys.backups import folder as backup_folder
from hivekeys.backups.shelf import BackupResult
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Fleet
from hivekeys.journal import state_folder
from hivekeys.rotation.crew import Crew


def backup_after_run(fleet: Fleet, runner: Crew, code: ExitCode, state_dir: str) -> BackupResult | None:
    """A backup of the token that the run has just brought everywhere, from its memory; None where none is due.

    A failure is shown and changes nothing else: the fleet has the new token.
    """
    want = runner.run.want
    token = runner.tokens.get(want) if want else None
    if code is not ExitCode.DONE or not fleet.backup.to or token is None or runner.run.rolled_back:
        return None

    try:
        folder = state_folder.folder_for(fleet.name, state_dir)
        there = backup_folder.list_backups(backup_folder.folder_in(folder))
        if any(one.backup and one.backup.header.fingerprint == want for one in there):
            return None  # it was restored from there, or the run was taken up again after it was done
        order = backup_folder.Order(age.recipients(fleet.backup.to), keep=fleet.backup.keep)
        key = state_folder.fingerprint_key(folder)
        signer = state_folder.signing_key(folder)
        return backup_folder.put(
            token, key, fleet.name, runner.run.id, time.time(), order=order, state=folder, signer=signer
        )
    except UserError as error:
        return BackupResult(why=error.message)
    except Exception as error:  # a bug here must not make a rotation that is done look like one that is not
        return BackupResult(why=f"a bug in hivekeys: {type(error).__name__}")
