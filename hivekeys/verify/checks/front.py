"""Checks on a front, and on the service behind it. Pure."""

from hivekeys.verify.findings import PASSED, UNTOLD, Answer, Baseline, Observation, Severity, Verdict, check, unless


@check("front", "A front lets in the fleet's tokens alone, and is root's", "Security Checklist", Severity.HIGH)
def _front(observation: Observation, _: Baseline) -> Answer:
    if observation.host.service.front is None:
        return PASSED if observation.seen else (Verdict.UNTOLD, observation.complaint)
    found = observation.behind
    if found is None:
        return Verdict.UNTOLD, observation.complaint or UNTOLD
    faults = [f"its map {found.map}"] if found.map else []
    faults += [f"a token stands in its {name}" for name in found.leaks]
    return unless([*faults, *found.open_files])


@check("behind", "The service behind a front runs, and only its host reaches it", "Security Checklist", Severity.HIGH)
def _behind(observation: Observation, _: Baseline) -> Answer:
    front, found = observation.host.service.front, observation.behind
    if front is None:
        return PASSED if observation.seen else (Verdict.UNTOLD, observation.complaint)
    port = f"port {front.behind.port}{'' if front.own_token else ', which asks for no token,'}"
    if observation.is_reached:
        return Verdict.FAIL, f"{port} can be reached from the bastion"
    if found is None:
        return Verdict.UNTOLD, observation.complaint or UNTOLD
    if found.state != "active":
        return Verdict.FAIL, f"{found.unit} is {found.state or 'unknown'}"
    if found.reached_at:
        return Verdict.FAIL, f"{port} is open at {', '.join(found.reached_at)}"
    return PASSED if found.enabled.startswith("enabled") else (Verdict.WARN, f"{found.unit} does not start at boot")
