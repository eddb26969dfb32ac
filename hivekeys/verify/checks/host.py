"""Checks on the host itself, and on what runs left on it. Pure."""

from hivekeys.fleet import Host, SudoLog
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

CLOCK_SECONDS = 5.0
FREE_BYTES = 10 << 20


@check("clock", "The host's clock is right", "Audit Trail", Severity.LOW)
def _clock(observation: Observation, _: Baseline) -> Answer:
    if observation.off is None:
        return Verdict.UNTOLD, observation.complaint
    return (
        PASSED
        if abs(observation.off) <= CLOCK_SECONDS
        else (Verdict.FAIL, f"{observation.off:+.0f} s from the bastion's")
    )


@check("machine", "Its name leads to its own machine", "Rotation Procedure", Severity.HIGH)
def _machine(observation: Observation, baseline: Baseline) -> Answer:
    double = baseline.doubles.get(observation.host.name)
    if double:
        return Verdict.FAIL, double.detail
    return PASSED if observation.machine else (Verdict.UNTOLD, observation.complaint or UNTOLD)


@of_inspected("space", "There is room for a new token", "Rotation Procedure", Severity.MEDIUM)
def _space(_: Host, inspected: Inspected) -> Answer:
    if inspected.free is None:
        return Verdict.UNTOLD, UNTOLD
    return PASSED if inspected.free >= FREE_BYTES else (Verdict.FAIL, f"{inspected.free >> 10} KiB free")


@of_inspected("lock", "No run is at work on the host", "Rotation Procedure", Severity.LOW)
def _lock(_: Host, inspected: Inspected) -> Answer:
    found = inspected.lock
    if found is None:
        return Verdict.UNTOLD, UNTOLD
    return (Verdict.WARN, f"run {found.run or '?'} of {found.who or '?'} holds its lock") if found.held else PASSED


@of_inspected("sudo-log", "sudo's log has no token", "DON'T")
def _sudo_log(host: Host, inspected: Inspected) -> Answer:
    if inspected.login is None:
        return Verdict.UNTOLD, UNTOLD
    if "input" not in inspected.login.records:
        return PASSED
    crossed = ", and the inventory accepts it" if host.sudo_log is SudoLog.ACCEPTED else ""
    return Verdict.FAIL, f"sudo records what is sent to it (log_input): each token as well{crossed}"


@of_inspected("mode", "A login that is to be restricted can do no more", "Best Practices", Severity.MEDIUM)
def _mode(_: Host, inspected: Inspected) -> Answer:
    found = inspected.login
    if found is None:
        return Verdict.UNTOLD, UNTOLD
    if not found.restricted:
        return Verdict.PASS, f"all of sudo: {found.account}" if found.account else "the login is root"
    if found.rules is None:
        return Verdict.UNTOLD, "sudo does not list what the login may do"
    if found.rules:
        return Verdict.FAIL, f"restricted, but sudo lets {found.account} do more: {'; '.join(found.rules)}"
    return Verdict.PASS, f"restricted: {found.account}"
