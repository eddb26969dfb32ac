"""`fab evidence`: a run to hand to another team, signed. Contacts no host."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hivekeys.errors import ExitCode, UserError
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.recorded import RecordedOptions
from hivekeys.tasks.options.verb import leave, verb
from hivekeys.tasks.terminal.document import print_document
from hivekeys.text.commands import as_typed
from hivekeys.text.documents.head import head

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.tasks.work.recorded import Recorded
    from hivekeys.text.documents.evidence import Evidence, EvidenceCheck, PublicKey

LARGEST = 256 << 20  # bytes of an archive; a run over a thousand hosts has some twenty million


LARGEST_KEY = 1 << 20
INVALID = "NOT VALID: do not rely on it"


@dataclass(frozen=True, kw_only=True)
class EvidenceOptions:
    """Whether an archive is written or checked."""

    run: str = option("the run to write out (default: the newest that brought a token)")
    output: str = option("the archive to write; with --public-key, where to put the key instead of stdout")
    check: str = option("say whether this archive is what its signer wrote; needs --key and nothing else")
    key: str = option("the signer's public key, for --check")
    public_key: bool = option(
        "print the public half of the key that this bastion signs the fleet's evidence with", default=False
    )


@verb
def evidence(scope: RecordedOptions, own: EvidenceOptions, output: JsonOption) -> None:
    """Write a run out as one signed archive, or check one; contacts no host."""
    if bool(own.check) + own.public_key + bool(own.run) > 1 or (own.check and own.output):
        raise UserError("--check, --public-key and --run exclude each other", hint="one at a time")
    if own.check:
        _check(own.check, own.key, output.json)
        return
    if not (own.output or own.public_key):
        raise UserError("where to? --output is missing", hint="fab evidence --output FILE")
    from hivekeys.files import destination
    from hivekeys.tasks.work.recorded import read_record

    fleet = scope.load()
    path = destination("--output", own.output) if own.output else None
    if own.public_key:
        _public_key(fleet, scope.state_dir, path, output.json)
    elif path:
        _write_archive(fleet, read_record(fleet, own.run, scope), path, scope.state_dir, output.json)


def _write_archive(fleet: "Fleet", record: "Recorded", path: Path, state_dir: str, as_json: bool) -> None:
    from hivekeys.files import write_whole
    from hivekeys.journal import state_folder
    from hivekeys.report.evidence import key_id, members, sealed
    from hivekeys.tasks.report import page_of

    key = state_folder.signing_key(state_folder.folder_for(fleet.name, state_dir))
    parts = members(record.run, record.rows, record.events, fleet, page_of(record, fleet), record.attached)
    write_whole(path, sealed(record.run.id, parts, key))
    signer = key_id(key.public_key())
    words = f"{path}: run {record.run.id}, {len(record.rows)} events, signed with {signer}"
    if as_json:
        document: Evidence = {
            "form": "evidence",
            **head(words, as_typed(f"fab evidence --public-key --fleet {fleet.typed}")),
            "exit_code": int(ExitCode.DONE),
            "run": record.run.id,
            "events": len(record.rows),
            "members": list(parts),
            "key": signer,
            "output": str(path),
        }
        print_document(document)
    else:
        sys.stdout.write(f"{words}\n")
        needed = "the person who checks it needs the public half of the key: fab evidence --public-key\n"
        sys.stdout.write(as_typed(needed))


def _public_key(fleet: "Fleet", state_dir: str, path: Path | None, as_json: bool) -> None:
    from hivekeys.files import write_whole
    from hivekeys.journal import state_folder
    from hivekeys.report.evidence import key_id, public_pem

    key = state_folder.signing_key(state_folder.folder_for(fleet.name, state_dir)).public_key()
    pem = public_pem(key)
    if path:
        write_whole(path, pem)
    if as_json:
        document: PublicKey = {
            "form": "public-key",
            **head(f"evidence of fleet {fleet.name} is signed with {key_id(key)}", ""),
            "fleet": fleet.name,
            "exit_code": int(ExitCode.DONE),
            "key": key_id(key),
            "pem": pem.decode(),
            "output": str(path) if path else None,
        }
        print_document(document)
    elif not path:
        sys.stdout.write(pem.decode())


def _check(name: str, key: str, as_json: bool) -> None:
    """Needs neither an inventory nor a state folder: it works on any machine."""
    if not key:
        hint = "the signer's bastion prints it: fab evidence --public-key"
        raise UserError("--check needs --key, the public key of the signer", hint=hint)
    from hivekeys.files import read_in
    from hivekeys.report.evidence import check, public_key
    from hivekeys.text.clean import printable

    signer = public_key(read_in("--key", key, LARGEST_KEY), key)
    verdict = check(read_in("--check", name, LARGEST), signer)
    name = printable(name)  # the sender of the archive may have named it
    code = ExitCode.FINDINGS if verdict.faults else ExitCode.DONE
    counts = f"{verdict.members} members, {verdict.events} events"
    words = f"{name}: valid: evidence of run {verdict.run}, {counts}, signed with {verdict.key}"
    if as_json:
        document: EvidenceCheck = {
            "form": "evidence-check",
            **head(INVALID if verdict.faults else words, ""),
            "exit_code": int(code),
            "valid": not verdict.faults,
            "faults": list(verdict.faults),
            "run": verdict.run or None,
            "key": verdict.key or None,
        }
        print_document(document)
    elif verdict.faults:
        sys.stdout.write("".join(f"{name}: {fault}\n" for fault in verdict.faults))
        sys.stdout.write(f"{INVALID}\n")
    else:
        sys.stdout.write(f"{words}\n")
    leave(code)
