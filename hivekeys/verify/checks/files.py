"""Checks on files: modes, owners, links, copies of the token. Pure."""

from hivekeys.fleet import Host
from hivekeys.protocol.inspected import Inspected
from hivekeys.protocol.seen import Seen
from hivekeys.service import Format, rights
from hivekeys.text.commands import as_typed
from hivekeys.verify.findings import (
    NOT_ENTERED,
    PASSED,
    UNTOLD,
    Answer,
    Baseline,
    Severity,
    Verdict,
    of_inspected,
    of_seen,
    unless,
)


@of_seen("directory-mode", "The token directory is the service's alone", "Critical Permission Requirements")
def _directory_mode(host: Host, seen: Seen, _: Baseline) -> Answer:
    found, service = seen.directory, host.service
    if found.fault:
        return Verdict.FAIL, found.fault
    shown = rights(found.mode, found.owner, found.group)
    if service.format is Format.ENVIRONMENT:  # only root may replace what systemd reads as root
        alone = found.owner == "root" and not found.mode & 0o022
        return PASSED if alone else (Verdict.FAIL, f"{shown}, not root's alone")
    due = rights(service.directory_mode, service.owner, service.group)
    return PASSED if shown == due else (Verdict.FAIL, f"{shown}, not {due}")


@of_seen("token-file", "The token file is a regular file with a token in it", "Install API Token")
def _token_file(host: Host, seen: Seen, _: Baseline) -> Answer:
    found = seen.active
    if seen.directory.fault:
        return Verdict.UNTOLD, NOT_ENTERED
    if found is None:
        return Verdict.FAIL, f"{host.service.token} is not there"
    owner = "root" if host.service.format is Format.ENVIRONMENT else host.service.owner
    if found.regular and found.owner != owner:  # the agent looks into no such file: `file-mode` fails
        return Verdict.UNTOLD, f"{host.service.token} {found.fault}"
    if found.fault:
        return Verdict.FAIL, f"{host.service.token} {found.fault}"
    fault = seen.accepted.fault if seen.accepted else ""  # without a list the token in the file is accepted alone
    return (Verdict.FAIL, f"{host.service.accepted} {fault}") if fault else PASSED


@of_seen("file-mode", "Only the service's account can read the token file", "Critical Permission Requirements")
def _file_mode(host: Host, seen: Seen, _: Baseline) -> Answer:
    found, service = seen.active, host.service
    if found is None or not found.owner:
        return Verdict.UNTOLD, "there is no token file that can be opened"
    said = [] if service.fits(found.mode, found.owner, found.group) else [rights(found.mode, found.owner, found.group)]
    listed = seen.accepted
    if listed and listed.owner and not service.fits(listed.mode, listed.owner, listed.group):
        said.append(f"{service.accepted} {rights(listed.mode, listed.owner, listed.group)}")
    return (Verdict.FAIL, f"{' and '.join(said)}, not {service.rights}") if said else PASSED


@of_inspected("acl", "No access list gives others rights on token or directory", "Critical Permission Requirements")
def _acl(_: Host, inspected: Inspected) -> Answer:
    return unless(inspected.acl)


@of_inspected("hard-links", "The token file has one name", "Critical Permission Requirements")
def _hard_links(_: Host, inspected: Inspected) -> Answer:
    if inspected.links is None:
        return Verdict.UNTOLD, UNTOLD
    return PASSED if inspected.links == 1 else (Verdict.FAIL, f"{inspected.links} names")


@of_inspected("parents", "No directory above can be written by others", "Critical Permission Requirements")
def _parents(host: Host, inspected: Inspected) -> Answer:
    if inspected.parents is None:
        return Verdict.UNTOLD, UNTOLD
    trusted = ("root",) if host.service.format is Format.ENVIRONMENT else ("root", host.service.owner)
    return unless(
        [
            f"{p.path} is {p.owner}'s and {p.mode:04o}"
            for p in inspected.parents
            if p.mode & 0o022 or p.owner not in trusted
        ]
    )


@of_inspected("strays", "No copies of the token are left about", "Generate API Token", Severity.MEDIUM)
def _strays(_: Host, inspected: Inspected) -> Answer:
    if inspected.strays is None or inspected.temporary is None:
        return Verdict.UNTOLD, UNTOLD
    return unless([*inspected.strays, *inspected.temporary])


@of_seen("slots", "No staged or previous token is left from a run", "Token Rotation", Severity.MEDIUM)
def _slots(host: Host, seen: Seen, baseline: Baseline) -> Answer:
    if seen.directory.fault:
        return Verdict.UNTOLD, NOT_ENTERED
    left = {"a staged token": seen.staged, "a previous token": seen.previous}
    overlaps = baseline.record.overlaps if baseline.record else ""
    listed = len(seen.listed) + (seen.accepted.more if seen.accepted else 0)
    further = [f"{listed - 1} more in {host.service.accepted}"] if listed > 1 else []
    if overlaps and listed == 2 and seen.staged is None:
        until = as_typed("until fab rotate --finish")
        return Verdict.WARN, f"two tokens are accepted: run {overlaps} waits for clients, {until}"
    return unless([*(name for name, slot in left.items() if slot is not None), *further])


@of_inspected("reused", "No other file in the secrets directory holds the same token", "DON'T", Severity.MEDIUM)
def _reused(_: Host, inspected: Inspected) -> Answer:
    return unless(inspected.reused)
