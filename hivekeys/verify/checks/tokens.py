"""Checks on the token: length, quality, age, sameness. Pure."""

from hivekeys.fleet import Host
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.inspected import Inspected
from hivekeys.protocol.listeners import still_trusted
from hivekeys.protocol.seen import Seen
from hivekeys.text.commands import as_typed
from hivekeys.text.names import fold_names
from hivekeys.verify.findings import (
    DAY,
    NOT_ENTERED,
    PASSED,
    Answer,
    Baseline,
    Observation,
    Severity,
    Verdict,
    check,
    of_inspected,
    of_seen,
    token_age,
    unless,
)

MIN_CHARS = 64  # guide.md, "Verify token length": 32 bytes in hex
MIN_SYMBOLS = 10  # distinct characters; 64 random hex digits have fewer once in ten million
LONGEST_RUN = 8  # equal or neighbouring characters in a row


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
    if found.words:
        faults.append("there are words of a dictionary in it")
    elif not found.digits:  # 64 random base64 characters have none once in fifty thousand, hex digits never
        faults.append("it has no digit, as words have none")
    return unless(faults)


@of_seen("token-revoked", "No slot holds a token that leaked", "Emergency Revocation")
def _revoked(_: Host, seen: Seen, __: Baseline) -> Answer:
    if seen.directory.fault:
        return Verdict.UNTOLD, NOT_ENTERED
    slots = {"api-token": seen.active, "the staged slot": seen.staged, "the previous slot": seen.previous}
    held = {name: slot for name, slot in slots.items() if slot}
    leaked = [f"{name} holds what run {slot.revoked} revoked" for name, slot in held.items() if slot.revoked]
    unread = [name for name, slot in held.items() if slot.fingerprint is None]
    return unless(leaked) if leaked or not unread else (Verdict.UNTOLD, f"{', '.join(unread)} cannot be read")


@of_seen("same-token", "All hosts of the fleet have the same token", "Token Rotation")
def _same_token(_: Host, seen: Seen, baseline: Baseline) -> Answer:
    if seen.token is None or baseline.token is None:
        return Verdict.UNTOLD, "there is no token here or on the queen"
    return (
        PASSED
        if seen.token == baseline.token
        else (Verdict.FAIL, f"{seen.token.fp6}, the queen has {baseline.token.fp6}")
    )


@of_seen("token-age", "The token is not too old", "Rotation Procedure", Severity.MEDIUM)
def _age(_: Host, seen: Seen, baseline: Baseline) -> Answer:
    aged = token_age(seen, baseline.record, baseline.now)
    if aged is None:
        return Verdict.UNTOLD, "there is no token file"
    days, by = aged[0] / DAY, aged[1]
    said = f"{days:.0f} days old by {by}"
    return (
        (Verdict.FAIL, said)
        if days >= baseline.age.fail
        else (Verdict.WARN, said)
        if days >= baseline.age.warn
        else PASSED
    )


@check("debts", "The host does not owe the newest token", "Token Rotation", Severity.HIGH)
def _debts(observation: Observation, baseline: Baseline) -> Answer:
    record = baseline.record
    if record is None or record.want is None:
        return Verdict.UNTOLD, "this bastion knows of no rotation of this fleet"
    paid = (
        observation.seen is not None and observation.seen.token == record.want
    )  # it may have got it without this bastion
    if paid or observation.host.name not in record.owing:
        return PASSED if observation.seen else (Verdict.UNTOLD, observation.complaint)
    return Verdict.FAIL, as_typed(f"it owes token:{record.want} of run {record.run}: fab {record.verb}")


@check("dead-token", "No place takes a revoked token (only with --dead-token)", "Emergency Revocation", Severity.HIGH)
def _dead(observation: Observation, _: Baseline) -> Answer:
    found = observation.swept
    if found is None:
        return Verdict.UNTOLD, observation.complaint or "it was not asked for"
    cause = still_trusted(found.places, found.survivors, observation.host.service)
    if cause and cause.trouble is not Trouble.PLACE_UNASKED:
        return Verdict.FAIL, str(cause)
    if found.places is None:
        return Verdict.UNTOLD, "no copy of one is left on the host to ask with"
    return (Verdict.UNTOLD, str(cause)) if cause else PASSED


@check("shared-token", "No token is shared with the other fleet (only with --against)", "DON'T", Severity.HIGH)
def _shared(observation: Observation, baseline: Baseline) -> Answer:
    other = baseline.other
    if other is None or observation.held is None:
        return (
            Verdict.UNTOLD,
            observation.complaint or "there is no token that can be read, or nothing to compare it with",
        )
    holders = [host for token in sorted(observation.held) for host in other.holders.get(token, ())]
    if holders:
        return Verdict.FAIL, f"fleet {other.name} has it on {fold_names(dict.fromkeys(holders))}"
    unasked = [f"{host} ({why})" for host, why in other.unasked.items()]
    return (Verdict.UNTOLD, f"fleet {other.name} could not be asked on {', '.join(unasked)}") if unasked else PASSED
