"""Which backups may be removed, and how the list of them is shown. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from hivekeys.backups.backup import Backup
from hivekeys.backups.signature import signer_id
from hivekeys.errors import ExitCode
from hivekeys.text.clean import one_line, printable
from hivekeys.text.commands import as_typed, program
from hivekeys.text.documents import backups as documents
from hivekeys.text.documents.head import head
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
        header = self.file.backup.header
        of_run = f" of run {header.run}" if header.run else ""
        went = f"; older ones removed: {len(self.removed)}" if self.removed else ""
        opened_by = ", ".join(self.file.backup.kinds)
        lines = [f"backup: {self.file.path}", f"    token:{header.fingerprint}{of_run}, opened by {opened_by}{went}"]
        return [*lines, f"warning: an older backup stays: {self.why}"] if self.why else lines

    def facts(self) -> documents.BackupResult:
        """For programs."""
        made = _facts(self.file.path, self.file.backup) if self.file and self.file.backup else None
        return {
            "taken": made is not None,
            "file": made and made["file"],
            "fleet": made and made["fleet"],
            "token": made and made["token"],
            "run": made and made["run"],
            "made": made and made["made"],
            "opened_by": made and made["opened_by"],
            "signed_by": made and made["signed_by"],
            "removed": [one.path for one in self.removed],
            "why": self.why or None,
        }

    def document(self, code: ExitCode, fleet: str) -> documents.Backup:
        """The same as a document of its own; `fleet`: as it is typed."""
        again = f"repair the cause, then: {program()} backup --fleet {fleet}" if self.file is None else ""
        said = head(self.lines()[0].removeprefix("warning: "), again)
        return {"form": "backup", **said, "exit_code": int(code), **self.facts()}


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


def document(
    kept: Sequence[BackupFile], fleet: str, revoked: Mapping[Fingerprint, str], folder: str
) -> documents.Backups:
    """The same for a program. Holds no keyed fingerprint."""
    usable = sum(one.backup is not None and _state(one.backup, fleet, revoked) == "usable" for one in kept)
    return {
        "form": "backups",
        **head(f"{len(kept)} backup{'' if len(kept) == 1 else 's'} of fleet {fleet}, {usable} usable", ""),
        "fleet": fleet,
        "exit_code": int(ExitCode.DONE),
        "folder": folder,
        "backups": [_entry(one, fleet, revoked) for one in kept],
    }


def _entry(
    one: BackupFile, fleet: str, revoked: Mapping[Fingerprint, str]
) -> documents.ListedBackup | documents.NoBackup:
    if one.backup is None:
        return {"file": one.path, "fault": one.fault}
    return {
        **_facts(one.path, one.backup),
        "revoked_by": revoked.get(one.backup.header.fingerprint),
        "usable": _state(one.backup, fleet, revoked) == "usable",
    }


def _facts(path: str, backup: Backup) -> documents.BackupFacts:
    header = backup.header
    return {
        "file": path,
        "fleet": header.fleet,
        "token": str(header.fingerprint),
        "run": header.run or None,
        "made": header.made.isoformat(timespec="seconds"),
        "opened_by": list(backup.kinds),
        "signed_by": signer_id(header) or None,
    }


def _state(backup: Backup, fleet: str, revoked: Mapping[Fingerprint, str]) -> str:
    if run := revoked.get(backup.header.fingerprint):
        return f"revoked by {run}"
    return "usable" if backup.header.fleet == fleet else f"of fleet {backup.header.fleet}"
