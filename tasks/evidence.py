"""`fab evidence`: a run to hand to somebody else, signed. Contacts no host."""

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import ExitCode, UserError
from tasks.options.frame import chosen, finish, verb

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
from tasks.options.recorded import HELP, Recorded, gathered
from tasks.report import page_of

LARGEST = 256 << 20  # bytes of an archive; a run over a thousand hosts has some twenty million


LARGEST_KEY = 1 << 20


@task(
    help={
        **HELP,
        "run": "the run to write out (default: the newest that brought a token)",
        "output": "the archive to write; with --public-key, where to put the key instead of stdout",
        "check": "say whether this archive is what its signer wrote; needs --key and nothing else",
        "key": "the signer's public key, for --check",
        "public-key": "print the public half of the key that this bastion signs the fleet's evidence with",
    },
    auto_shortflags=False,
)
@verb
def evidence(
    _: Context,
    fleet: str = "",
    run: str = "",
    output: str = "",
    check: str = "",
    key: str = "",
    public_key: bool = False,
    findings: str = "",
    audit: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Write a run out as one signed archive, or check one; contacts no host."""
    if bool(check) + public_key + bool(run) > 1 or (check and output):
        raise UserError("--check, --public-key and --run exclude each other", hint="one at a time")
    if check:
        _check(check, key, json)
        return
    if not (output or public_key):
        raise UserError("where to? --output is missing", hint="fab evidence --output FILE")
    found, _hosts = chosen(fleet, "", "")
    from hivekeys.files import destination

    path = destination("--output", output) if output else None
    if public_key:
        _public_key(found, state_dir, path)
    elif path:
        _write_archive(found, gathered(found, run, findings, audit, state_dir), path, state_dir, json)


def _write_archive(fleet: "Fleet", told: Recorded, path: Path, state_dir: str, as_json: bool) -> None:
    from hivekeys.files import write_whole
    from hivekeys.journal import state_folder
    from hivekeys.report.evidence import key_id, members, sealed

    key = state_folder.signing_key(state_folder.folder_for(fleet.name, state_dir))
    parts = members(told.run, told.rows, told.events, fleet, page_of(told, fleet), told.attached)
    write_whole(path, sealed(told.run.id, parts, key))
    said = {
        "run": told.run.id,
        "events": len(told.rows),
        "members": list(parts),
        "key": key_id(key.public_key()),
        "output": str(path),
    }
    if as_json:
        sys.stdout.write(jsonlib.dumps(said, indent=2) + "\n")
    else:
        sys.stdout.write(f"{path}: run {told.run.id}, {len(told.rows)} events, signed with {said['key']}\n")
        sys.stdout.write("whoever checks it needs the public half of the key: fab evidence --public-key\n")


def _public_key(fleet: "Fleet", state_dir: str, path: Path | None) -> None:
    from hivekeys.files import write_whole
    from hivekeys.journal import state_folder
    from hivekeys.report.evidence import public_pem

    pem = public_pem(state_folder.signing_key(state_folder.folder_for(fleet.name, state_dir)).public_key())
    if path:
        write_whole(path, pem)
    else:
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
    name = printable(name)  # whoever sent the archive may have named it
    if as_json:
        found = {"valid": not verdict.faults, "faults": list(verdict.faults), "run": verdict.run or None}
        sys.stdout.write(jsonlib.dumps({**found, "key": verdict.key or None}, indent=2) + "\n")
    elif verdict.faults:
        sys.stdout.write("".join(f"{name}: {fault}\n" for fault in verdict.faults))
        sys.stdout.write("NOT VALID: do not rely on it\n")
    else:
        counts = f"{verdict.members} members, {verdict.events} events"
        sys.stdout.write(f"{name}: valid: evidence of run {verdict.run}, {counts}, signed with {verdict.key}\n")
    finish(ExitCode.FINDINGS if verdict.faults else ExitCode.DONE)
