"""Checks on the service: unit, environment, process, proof. Pure."""

from hivekeys.fleet import Host, Role
from hivekeys.protocol.inspected import Inspected
from hivekeys.protocol.seen import ANSWERED, Seen, not_read
from hivekeys.service import Format
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
    of_seen,
    unless,
)

CREDENTIALS_SINCE = 250  # guide.md, "Using systemd Credentials"
HARDENING = {"NoNewPrivileges": "yes", "PrivateTmp": "yes", "ProtectSystem": "strict", "ProtectHome": "yes"}
ENDS_ALL = ("control-group", "mixed")
SIGINT = ("2", "SIGINT")
PROCESS = "the running process"  # hivekeys.host.verbs.inspect.PROCESS
NOT_READ = "systemd could not read the unit"


@of_inspected("environment", "The token is in no environment", "DON'T")
def _environment(host: Host, inspected: Inspected) -> Answer:
    """The real services read it there and nowhere else: where the token file brings it, that is advice for later."""
    found = inspected.environment
    if found is None:
        return Verdict.UNTOLD, UNTOLD
    if found.places and set(found.places) <= {host.service.token, PROCESS} and found.is_of_file:
        return Verdict.WARN, f"low: the running process has the token of {host.service.token} in its environment"
    if found.places:
        return Verdict.FAIL, f"LLORCH_API_TOKEN is set in {', '.join(found.places)}"
    return (Verdict.UNTOLD, f"could not read {', '.join(found.unread)}") if found.unread else PASSED


@of_seen("loads-from-file", "The unit names the token file", "Configure Services")
def _loads(host: Host, seen: Seen, _: Baseline) -> Answer:
    """Whether the program reads it is not seen here: `proof` and `current` say what it runs on."""
    if seen.unit.load != "loaded":
        return Verdict.FAIL, f"{host.service.unit} is {seen.unit.load or 'unknown'}"
    cause = not_read(seen, host.service)
    return (Verdict.FAIL, cause.detail) if cause else (Verdict.PASS, "the unit names the file")


@of_inspected("loaded", "The service logged that it loaded a token", "Security Checklist", Severity.MEDIUM)
def _loaded(host: Host, inspected: Inspected) -> Answer:
    if host.service.front:  # nginx says nothing of it: `proof` asks
        return PASSED
    if inspected.log is None:
        return Verdict.UNTOLD, "there is no log since the last start"
    if inspected.log.dev_mode:
        return Verdict.FAIL, "it says that it has no token (dev mode): v0.1.0 then refuses every call"
    return PASSED if inspected.log.loaded else (Verdict.UNTOLD, "the log does not say")


@check("credential", "The token comes as a systemd credential", "Using systemd Credentials", Severity.LOW)
def _credential(observation: Observation, _: Baseline) -> Answer:
    if observation.seen is None or observation.inspected is None or observation.inspected.systemd is None:
        return Verdict.UNTOLD, observation.complaint or UNTOLD
    if observation.host.service.front:  # it is root's, and read by nginx's own root
        return PASSED
    if observation.seen.unit.credential or observation.inspected.systemd < CREDENTIALS_SINCE:
        return PASSED
    if observation.host.service.format is Format.ENVIRONMENT:  # v0.1.0 reads no other: nothing can be repaired
        return Verdict.WARN, "it comes by EnvironmentFile="
    return Verdict.FAIL, f"systemd {observation.inspected.systemd} could: LoadCredential"


@check("current", "The running process has read the file that is there", "Using systemd Credentials", Severity.HIGH)
def _current(observation: Observation, _: Baseline) -> Answer:
    seen = observation.seen
    if seen is None:
        return Verdict.UNTOLD, observation.complaint
    if not seen.unit.pid:
        return Verdict.FAIL, "there is no process"
    if seen.token is None:
        return Verdict.UNTOLD, "there is no token file that can be read"
    # Only mode, owner or name were changed since the start, or it reads without one: the service's own answers tell.
    proven = observation.proof is not None and observation.proof.proven
    proven = proven or (observation.host.service.is_client and not observation.unproven)  # which is asked nothing
    answered = seen.loaded.evidence in ANSWERED and proven
    read = answered or seen.loaded.fingerprint == seen.token
    return PASSED if read else (Verdict.FAIL, "the file was changed since the last start")


@of_inspected("hardening", "The unit has the guide's hardening lines", "Example Service File", Severity.LOW)
def _hardening(_: Host, inspected: Inspected) -> Answer:
    found = inspected.hardening
    if not found:
        return Verdict.UNTOLD, NOT_READ
    return unless([f"{key}={found.get(key, '')}" for key, due in HARDENING.items() if found.get(key) != due])


@of_inspected("kill-signal", "A restart of the queen does not shut the hives down", "Rotation Procedure")
def _kill_signal(host: Host, inspected: Inspected) -> Answer:
    if host.role is Role.HIVE:
        return PASSED
    if not inspected.kill_signal:
        return Verdict.UNTOLD, NOT_READ
    bad = inspected.kill_signal in SIGINT
    return (Verdict.FAIL, "KillSignal=SIGINT makes the queen shut every hive down") if bad else PASSED


@of_inspected("kill-mode", "A restart ends every process of the unit", "Restart Services", Severity.MEDIUM)
def _kill_mode(_: Host, inspected: Inspected) -> Answer:
    if not inspected.kill_mode:
        return Verdict.UNTOLD, NOT_READ
    if inspected.kill_mode in ENDS_ALL:
        return PASSED
    return Verdict.FAIL, f"KillMode={inspected.kill_mode}: its workers keep running, with the token that they have"


@of_inspected("survivors", "No process has outlived a restart with an older token", "Emergency Revocation")
def _survivors(_: Host, inspected: Inspected) -> Answer:
    return unless(None if inspected.survivors is None else [str(one) for one in inspected.survivors])


@of_seen("active", "The service runs", "Verify Rotation")
def _active(_: Host, seen: Seen, __: Baseline) -> Answer:
    return PASSED if seen.unit.state == "active" else (Verdict.FAIL, f"it is {seen.unit.state}")


@of_inspected("enabled", "The service starts at boot", "Example Service File", Severity.LOW)
def _enabled(_: Host, inspected: Inspected) -> Answer:
    return PASSED if inspected.enabled.startswith("enabled") else (Verdict.FAIL, inspected.enabled or "not enabled")


@check("proof", "The service accepts its token, and refuses every other", "Verify Rotation", Severity.HIGH)
def _proof(observation: Observation, _: Baseline) -> Answer:
    if observation.seen is None:
        return Verdict.UNTOLD, observation.complaint
    if observation.seen.token is None:
        return Verdict.UNTOLD, "there is no token that can be read, so the service was not asked"
    if observation.unproven:
        return Verdict.FAIL, observation.unproven
    proven = observation.proof is not None and observation.proof.proven
    return PASSED if proven else (Verdict.UNTOLD, "no protected path is configured")


@check("certificate", "The service's certificate is checked, where it speaks TLS", "Verify Rotation", Severity.LOW)
def _certificate(observation: Observation, _: Baseline) -> Answer:
    if observation.seen is None:
        return Verdict.UNTOLD, observation.complaint
    service = observation.host.service
    unchecked = service.scheme == "https" and not service.verify
    return (Verdict.WARN, "verify = false in the inventory") if unchecked else PASSED
