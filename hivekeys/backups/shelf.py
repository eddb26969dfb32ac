"""Which backups may be removed, and how the list of them is shown. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from hivekeys.backups.backup import Backup
from hivekeys.backups.signature import signer_id
from hivekeys.text.clean import one_line, printable
from hivekeys.text.commands import as_typed
from hivekeys.text.table import plain_table
from hivekeys.token import Fingerprint

SHORT = len("SHA256:") + 8  # characters of a signer's name that are enough to tell a few apart
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class BackupFile:
    """A file of the folder: a backup, or the reason why it is not one."""

    path: str
    backup: Backup | None = None
    fault: str = ""

    @property
    def made(self) -> datetime:
        """When, by the clock of the bastion that made it."""
        return self.backup.header.made if self.backup else NEVER


@dataclass(frozen=True)
class BackupResult:
    """A backup that was taken, and older ones removed; `why` there is none, or an older one could not be removed."""

    file: BackupFile | None = None
    removed: tuple[BackupFile, ...] = ()
    why: str = ""

    def lines(self) -> list[str]:
        """For people."""
        if self.file is None or self.file.backup is None:
            after = as_typed("    next: repair the cause, then `fab backup`")
            return [f"warning: no backup was taken: {self.why}", after]
        head = self.file.backup.header
        of_run = f" of run {head.run}" if head.run else ""
        went = f"; older ones removed: {len(self.removed)}" if self.removed else ""
        opened_by = ", ".join(self.file.backup.kinds)
        lines = [f"backup: {self.file.path}", f"    token:{head.fingerprint}{of_run}, opened by {opened_by}{went}"]
        return [*lines, f"warning: an older backup stays: {self.why}"] if self.why else lines

    def document(self) -> dict[str, Any]:
        """For programs."""
        if self.file is None:
            return {"taken": False, "why": self.why}
        return {
            "taken": True,
            **_facts(self.file),
            "removed": [one.path for one in self.removed],
            "why": self.why or None,
        }


def expired(kept: Sequence[BackupFile], keep: int, served: Fingerprint, key: str) -> list[BackupFile]:
    """The backups to remove when the newest `keep` stay: never the only backup of the token that the fleet serves.

    `key` names this bastion's key: a backup from under another one may be of that token when it looks like it.
    Files that are no backups are never removed.
    """
    backups = sorted((one for one in kept if one.backup), key=lambda one: one.made, reverse=True)
    stay, rest = backups[:keep], backups[keep:]

    def is_served(one: BackupFile) -> bool:
        header = one.backup.header if one.backup else None
        if header is None:
            return False
        return header.fingerprint == served or (header.key != key and header.fingerprint.fp6 == served.fp6)

    if not any(map(is_served, stay)):
        only = next((one for one in rest if is_served(one)), None)
        rest = [one for one in rest if one is not only]
    return rest


def table(kept: Sequence[BackupFile], fleet: str, revoked: Mapping[Fingerprint, str]) -> Table:
    """One row a file."""
    shown = plain_table(f"backups of fleet {fleet}, newest first")
    for title in ("made (UTC)", "token", "run", "opened by", "signed by", "state", "file"):
        shown.add_column(title, overflow="fold")
    for one in kept:
        name = printable(one.path.rpartition("/")[2])
        if one.backup is None:
            cells = [*[Text("–")] * 5, Text(one_line(one.fault), "yellow"), Text(name)]
        else:
            head = one.backup.header
            state = _state(one.backup, fleet, revoked)
            cells = [Text(f"{head.made:%Y-%m-%d %H:%M:%S}"), Text(str(head.fingerprint)), Text(head.run or "–")]
            signer = signer_id(head)[:SHORT] or "not signed"
            cells += [
                Text(", ".join(one.backup.kinds)),
                Text(signer),
                Text(state, "" if state == "usable" else "red"),
                Text(name),
            ]
        shown.add_row(*cells)
    return shown


def document(kept: Sequence[BackupFile], fleet: str, revoked: Mapping[Fingerprint, str]) -> list[dict[str, Any]]:
    """The same for a program. Holds no keyed fingerprint."""
    return [_entry(one, fleet, revoked) for one in kept]


def _entry(one: BackupFile, fleet: str, revoked: Mapping[Fingerprint, str]) -> dict[str, Any]:
    if one.backup is None:
        return {"file": one.path, "fault": one.fault}
    usable = _state(one.backup, fleet, revoked) == "usable"
    return {**_facts(one), "revoked_by": revoked.get(one.backup.header.fingerprint), "usable": usable}


def _facts(one: BackupFile) -> dict[str, Any]:
    if one.backup is None:
        return {"file": one.path}
    head = one.backup.header
    return {
        "file": one.path,
        "fleet": head.fleet,
        "token": str(head.fingerprint),
        "run": head.run or None,
        "made": head.made.isoformat(timespec="seconds"),
        "opened_by": list(one.backup.kinds),
        "signed_by": signer_id(head) or None,
    }


def _state(backup: Backup, fleet: str, revoked: Mapping[Fingerprint, str]) -> str:
    if run := revoked.get(backup.header.fingerprint):
        return f"revoked by {run}"
    return "usable" if backup.header.fleet == fleet else f"of fleet {backup.header.fleet}"
