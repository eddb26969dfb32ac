"""`fab approve`: notes that a revocation was approved, after it. Contacts no host."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode
from hivekeys.tasks.options.changes import ChangeOptions
from hivekeys.tasks.options.declared import argument
from hivekeys.tasks.options.fleet import FleetOptions
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import verb
from hivekeys.tasks.terminal.document import print_document

if TYPE_CHECKING:
    from hivekeys.text.documents.approvals import ApprovedAfterwards


@dataclass(frozen=True, kw_only=True)
class ApproveOptions:
    """What was signed."""

    file: str = argument("the statement that `plan --propose FILE --run RUN` wrote; its signatures lie in FILE.sig")


@verb
def approve(scope: FleetOptions, own: ApproveOptions, change: ChangeOptions, output: JsonOption) -> None:
    """Note in the journal that others have approved a revocation, after it, by their signatures; contacts no host."""
    from hivekeys.bastion.afterwards import approved_run, note
    from hivekeys.text.documents.head import head

    fleet = scope.load()
    approved = approved_run(fleet, own.file, scope.state_dir)
    if not change.dry_run:
        note(fleet, approved, scope.state_dir)
    persons = approved.event.persons
    would = "would be noted as approved" if change.dry_run else "approved"
    words = f"run {approved.run.id}: {would} by {', '.join(persons)}"
    if not output.json:
        sys.stdout.write(f"{words}\n")
        return
    document: ApprovedAfterwards = {
        "form": "approved",
        **head(words, ""),
        "fleet": fleet.name,
        "exit_code": int(ExitCode.DONE),
        "run": approved.run.id,
        "approved_by": list(persons),
        "dry_run": change.dry_run,
    }
    print_document(document)
