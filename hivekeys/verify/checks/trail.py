"""Checks on the audit trail. Pure."""

from hivekeys.fleet import Host
from hivekeys.protocol.inspected import Inspected
from hivekeys.verify.findings import (
    PASSED,
    UNTOLD,
    Answer,
    Baseline,
    Observation,
    Severity,
    Verdict,
    check,
    of_inspected,
)


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
def _audit_fresh(observation: Observation, _: Baseline) -> Answer:
    trail = observation.inspected.audit if observation.inspected else None
    started = observation.seen.unit.started if observation.seen else None
    if trail is None or trail.newest is None or started is None:
        return Verdict.UNTOLD, observation.complaint or "there are no records, or no process"
    return PASSED if trail.newest >= started - 1 else (Verdict.WARN, "the newest record is older than the process")


@of_inspected("audit-watch", "auditd watches the token file", "Monitor Secret Access", Severity.LOW)
def _watch(host: Host, inspected: Inspected) -> Answer:
    if inspected.watch is None:
        return Verdict.UNTOLD, "auditd does not answer here"
    return PASSED if inspected.watch else (Verdict.WARN, f"no rule for {host.service.token}")


@of_inspected("audit-chain", "No audit record was changed or taken out", "Audit Trail", Severity.MEDIUM)
def _chain(host: Host, inspected: Inspected) -> Answer:
    found = inspected.chain
    if found is None:
        return Verdict.UNTOLD, UNTOLD
    if found.broken:
        return Verdict.FAIL, found.broken
    if found.cut:
        return Verdict.UNTOLD, f"whole for {found.records} records of {found.files} files, then {found.cut}"
    why = "nginx's log has no chain of hashes" if host.service.front else "there are no records"
    return PASSED if found.records else (Verdict.UNTOLD, why)
