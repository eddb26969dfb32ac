"""The security checklist: what a host showed → findings. One small function a check. Pure.

A check says pass, fail, warn or can't tell, with the reason; never pass for what was not seen. To add one, write its
function here: the reference, `--checks` and the tests find it in CHECKS. `section` is the guide's (guide.md).
"""

from hivekeys.findings import (
    CHECKS,
    PASSED,
    UNTOLD,
    Answer,
    Norm,
    Severity,
    Sight,
    Verdict,
    check,
    of_inspected,
    of_seen,
    unless,
)
from hivekeys.fleet import Host, Role
from hivekeys.model import Inspected, Seen

__all__ = ["CHECKS"]

MIN_CHARS = 64  # guide.md, "Verify token length": 32 bytes in hex
MIN_SYMBOLS = 10  # distinct characters; 64 random hex digits have fewer once in ten million
LONGEST_RUN = 8  # equal or neighbouring characters in a row
DAY = 86400.0
CREDENTIALS_SINCE = 250  # guide.md, "Using systemd Credentials"
CLOCK_SECONDS = 5.0
FREE_BYTES = 10 << 20
HARDENING = {"NoNewPrivileges": "yes", "PrivateTmp": "yes", "ProtectSystem": "strict", "ProtectHome": "yes"}
SIGINT = ("2", "SIGINT")


def _rights(mode: int, owner: str, group: str) -> str:
    return f"{mode:04o} {owner}:{group}"


# -- files


@of_seen("directory-mode", "The token directory is the service's alone", "Critical Permission Requirements")
def _directory_mode(host: Host, seen: Seen, _: Norm) -> Answer:
    found, service = seen.directory, host.service
    if found.fault:
        return Verdict.FAIL, found.fault
    shown, due = (
        _rights(found.mode, found.owner, found.group),
        _rights(service.directory_mode, service.owner, service.group),
    )
    return PASSED if shown == due else (Verdict.FAIL, f"{shown}, not {due}")


@of_seen("token-file", "The token file is a regular file with a token in it", "Install API Token")
def _token_file(host: Host, seen: Seen, _: Norm) -> Answer:
    if seen.active is None:
        return Verdict.FAIL, f"{host.service.token} is not there"
    return (Verdict.FAIL, f"{host.service.token} {seen.active.fault}") if seen.active.fault else PASSED


@of_seen("file-mode", "Only the service's account can read the token file", "Critical Permission Requirements")
def _file_mode(host: Host, seen: Seen, _: Norm) -> Answer:
    found, service = seen.active, host.service
    if found is None or not found.owner:
        return Verdict.UNTOLD, "there is no token file that can be opened"
    shown, due = _rights(found.mode, found.owner, found.group), _rights(service.mode, service.owner, service.group)
    return PASSED if shown == due else (Verdict.FAIL, f"{shown}, not {due}")


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
    trusted = ("root", host.service.owner)
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
def _slots(_: Host, seen: Seen, __: Norm) -> Answer:
    left = {"a staged token": seen.staged, "a previous token": seen.previous}
    return unless([name for name, slot in left.items() if slot is not None])


@of_inspected("reused", "No other file in the secrets directory holds the same token", "DON'T", Severity.MEDIUM)
def _reused(_: Host, inspected: Inspected) -> Answer:
    return unless(inspected.reused)


# -- the token


@of_inspected("token-length", "The token has at least 64 characters", "Generate API Token")
def _length(_: Host, inspected: Inspected) -> Answer:
    if inspected.quality is None:
        return Verdict.UNTOLD, "there is no token that can be read"
    chars = inspected.quality.chars
    return PASSED if chars >= MIN_CHARS else (Verdict.FAIL, f"{chars} characters")


@of_inspected("token-quality", "The token looks random", "Security Checklist")
def _quality(_: Host, inspected: Inspected) -> Answer:
    found = inspected.quality
    if found is None:
        return Verdict.UNTOLD, "there is no token that can be read"
    faults = []
    if found.symbols < MIN_SYMBOLS:
        faults.append(f"only {found.symbols} different characters")
    if found.run >= LONGEST_RUN:
        faults.append(f"{found.run} equal or consecutive characters in a row")
    if found.period <= found.chars // 2:
        faults.append(f"it repeats after {found.period} characters")
    return unless(faults)


@of_seen("same-token", "All hosts of the fleet have the same token", "Token Rotation")
def _same_token(_: Host, seen: Seen, norm: Norm) -> Answer:
    if seen.token is None or norm.token is None:
        return Verdict.UNTOLD, "there is no token here or on the queen"
    return PASSED if seen.token == norm.token else (Verdict.FAIL, f"{seen.token.fp6}, the queen has {norm.token.fp6}")


@of_seen("token-age", "The token is younger than 90 days", "Rotation Procedure", Severity.MEDIUM)
def _age(_: Host, seen: Seen, norm: Norm) -> Answer:
    if seen.active is None or not seen.active.modified:
        return Verdict.UNTOLD, "there is no token file"
    days = (seen.clock - seen.active.modified) / DAY
    said = f"{days:.0f} days old"
    return (Verdict.FAIL, said) if days >= norm.fail_age else (Verdict.WARN, said) if days >= norm.warn_age else PASSED


# -- the service


@of_inspected("environment", "The token is in no environment", "DON'T")
def _environment(_: Host, inspected: Inspected) -> Answer:
    found = inspected.environment
    if found is None:
        return Verdict.UNTOLD, UNTOLD
    if found.places:
        return Verdict.FAIL, f"LLORCH_API_TOKEN is set in {', '.join(found.places)}"
    return (Verdict.UNTOLD, f"could not read {', '.join(found.unread)}") if found.unread else PASSED


@of_seen("loads-from-file", "The service is told to read the token file", "Configure Services")
def _loads(host: Host, seen: Seen, _: Norm) -> Answer:
    if seen.unit.load != "loaded":
        return Verdict.FAIL, f"{host.service.unit} is {seen.unit.load or 'unknown'}"
    reads = seen.unit.reads
    return PASSED if reads == host.service.token else (Verdict.FAIL, f"it reads {reads or 'no file'}")


@of_inspected("loaded", "The service logged that it loaded a token", "Security Checklist", Severity.MEDIUM)
def _loaded(_: Host, inspected: Inspected) -> Answer:
    if inspected.log is None:
        return Verdict.UNTOLD, "there is no log since the last start"
    if inspected.log.dev_mode:
        return Verdict.FAIL, "it runs in dev mode: nobody is asked for a token"
    return PASSED if inspected.log.loaded else (Verdict.UNTOLD, "the log does not say")


@check("credential", "The token comes as a systemd credential", "Using systemd Credentials", Severity.LOW)
def _credential(sight: Sight, _: Norm) -> Answer:
    if sight.seen is None or sight.inspected is None or sight.inspected.systemd is None:
        return Verdict.UNTOLD, sight.complaint or UNTOLD
    if sight.seen.unit.credential or sight.inspected.systemd < CREDENTIALS_SINCE:
        return PASSED
    return Verdict.FAIL, f"systemd {sight.inspected.systemd} could: LoadCredential"


@check("current", "The running process has read the file that is there", "Using systemd Credentials", Severity.HIGH)
def _current(sight: Sight, _: Norm) -> Answer:
    seen = sight.seen
    if seen is None:
        return Verdict.UNTOLD, sight.complaint
    if not seen.unit.pid:
        return Verdict.FAIL, "there is no process"
    if seen.token is None:
        return Verdict.UNTOLD, "there is no token file that can be read"
    # Only mode, owner or name were changed since the start: the service's own answers say what it has read.
    answered = seen.loaded.evidence == "touched" and sight.proof is not None and sight.proof.proven
    read = answered or seen.loaded.fingerprint == seen.token
    return PASSED if read else (Verdict.FAIL, "the file was changed since the last start")


@of_inspected("hardening", "The unit has the guide's hardening lines", "Example Service File", Severity.LOW)
def _hardening(_: Host, inspected: Inspected) -> Answer:
    found = inspected.hardening
    return unless([f"{key}={found.get(key, '')}" for key, due in HARDENING.items() if found.get(key) != due])


@of_inspected("kill-signal", "A restart of the queen does not shut the hives down", "Rotation Procedure")
def _kill_signal(host: Host, inspected: Inspected) -> Answer:
    if host.role is Role.HIVE:
        return PASSED
    bad = inspected.kill_signal in SIGINT
    return (Verdict.FAIL, "KillSignal=SIGINT makes the queen shut every hive down") if bad else PASSED


@of_seen("active", "The service runs", "Verify Rotation")
def _active(_: Host, seen: Seen, __: Norm) -> Answer:
    return PASSED if seen.unit.state == "active" else (Verdict.FAIL, f"it is {seen.unit.state}")


@of_inspected("enabled", "The service starts at boot", "Example Service File", Severity.LOW)
def _enabled(_: Host, inspected: Inspected) -> Answer:
    return PASSED if inspected.enabled.startswith("enabled") else (Verdict.FAIL, inspected.enabled or "not enabled")


@check("proof", "The service lets its token in, and nobody else", "Verify Rotation", Severity.HIGH)
def _proof(sight: Sight, _: Norm) -> Answer:
    if sight.seen is None:
        return Verdict.UNTOLD, sight.complaint
    if sight.seen.token is None:
        return Verdict.UNTOLD, "there is no token that can be read: nobody can ask with it"
    if sight.unproven:
        return Verdict.FAIL, sight.unproven
    proven = sight.proof is not None and sight.proof.proven
    return PASSED if proven else (Verdict.UNTOLD, "no protected path is configured")


# -- the audit trail


@of_inspected("audit", "Audit logging is on, private, and has records", "Security Checklist", Severity.MEDIUM)
def _audit(host: Host, inspected: Inspected) -> Answer:
    found = inspected.audit
    if found is None:
        return Verdict.UNTOLD, UNTOLD
    if not found.on:
        return Verdict.FAIL, "LLORCH_AUDIT_MODE is not local"
    if found.mode is None:
        return Verdict.FAIL, f"{found.folder} is no directory"
    if found.mode & 0o027 or found.owner not in ("root", host.service.owner):
        return Verdict.FAIL, f"{found.folder} is {found.owner}'s and {found.mode:04o}"
    return PASSED if found.newest else (Verdict.FAIL, f"{found.folder} has no records")


@check("audit-fresh", "Something was written there since the last start", "Security Checklist", Severity.MEDIUM)
def _audit_fresh(sight: Sight, _: Norm) -> Answer:
    trail = sight.inspected.audit if sight.inspected else None
    started = sight.seen.unit.started if sight.seen else None
    if trail is None or trail.newest is None or started is None:
        return Verdict.UNTOLD, sight.complaint or "there are no records, or no process"
    return PASSED if trail.newest >= started - 1 else (Verdict.WARN, "the newest record is older than the process")


@of_inspected("audit-watch", "auditd watches the token file", "Monitor Secret Access", Severity.LOW)
def _watch(host: Host, inspected: Inspected) -> Answer:
    if inspected.watch is None:
        return Verdict.UNTOLD, "auditd does not answer here"
    return PASSED if inspected.watch else (Verdict.WARN, f"no rule for {host.service.token}")


# -- the host


@check("clock", "The host's clock is right", "Audit Trail", Severity.LOW)
def _clock(sight: Sight, _: Norm) -> Answer:
    if sight.off is None:
        return Verdict.UNTOLD, sight.complaint
    return PASSED if abs(sight.off) <= CLOCK_SECONDS else (Verdict.FAIL, f"{sight.off:+.0f} s from the bastion's")


@of_inspected("space", "There is room for a new token", "Rotation Procedure", Severity.MEDIUM)
def _space(_: Host, inspected: Inspected) -> Answer:
    if inspected.free is None:
        return Verdict.UNTOLD, UNTOLD
    return PASSED if inspected.free >= FREE_BYTES else (Verdict.FAIL, f"{inspected.free >> 10} KiB free")
