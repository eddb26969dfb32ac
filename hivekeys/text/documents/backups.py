"""The documents of backups: taken, foreseen, listed. Pure."""

from typing import Literal, TypedDict

from hivekeys.text.documents.head import Code, Fp6, Head, Time


class BackupFacts(TypedDict):
    """What a backup's header says."""

    file: str
    """where it is"""
    fleet: str
    """whose token it holds"""
    token: Fp6
    """the token that it holds"""
    run: str | None
    """the run that brought the token"""
    made: Time
    """when"""
    opened_by: list[str]
    """what opens it"""
    signed_by: str | None
    """the key of the bastion that made it"""


class BackupResult(TypedDict):
    """A backup that was taken, or should have been: then all but `taken`, `removed` and `why` is null."""

    taken: bool
    """there is a new backup"""
    file: str | None
    """where it is"""
    fleet: str | None
    """whose token it holds"""
    token: Fp6 | None
    """the token that it holds"""
    run: str | None
    """the run that brought the token"""
    made: Time | None
    """when"""
    opened_by: list[str] | None
    """what opens it"""
    signed_by: str | None
    """the key of the bastion that made it"""
    removed: list[str]
    """older backups that went, since only so many are kept"""
    why: str | None
    """why none was taken, or why an older one could not be removed"""


class Backup(Head, BackupResult):
    """A backup of the fleet's token: fab backup."""

    form: Literal["backup"]
    exit_code: Code
    """4 where it was not taken, or an older one could not be removed"""


# `from` is a word of Python's, so this one is written as a call.
_From = TypedDict("_From", {"from": list[str]})


class ForeseenBackup(Head, _From):
    """What would be sealed for whom: fab backup --dry-run."""

    form: Literal["backup-foreseen"]
    exit_code: Code
    """0"""
    dry_run: Literal[True]
    """always"""
    token: Fp6
    """the token that would be read"""
    to: str
    """for whom it would be sealed"""
    output: str | None
    """the file; null for the fleet's folder of backups"""


class ListedBackup(BackupFacts):
    """A backup in the fleet's folder."""

    revoked_by: str | None
    """the run that revoked its token"""
    usable: bool
    """it can be restored here"""


class NoBackup(TypedDict):
    """A file in the fleet's folder that is no backup."""

    file: str
    """where it is"""
    fault: str
    """what is wrong with it"""


class Backups(Head):
    """The backups in a fleet's folder: fab backup --list."""

    form: Literal["backups"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0"""
    folder: str
    """where they are"""
    backups: list[ListedBackup | NoBackup]
    """newest first"""
