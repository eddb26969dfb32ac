"""What the checklist is made of: a sight of a host, a check, a finding, and the list of all checks. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from hivekeys.causes import one_line
from hivekeys.fleet import Host
from hivekeys.model import Inspected, Proof, Seen
from hivekeys.token import Fingerprint


class Verdict(Enum):
    """What a check found."""

    PASS = "pass"  # noqa: S105  a word, not a secret
    WARN = "warn"
    FAIL = "fail"
    UNTOLD = "can't tell"


class Severity(Enum):
    """How bad it is when a check fails."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


Answer = tuple[Verdict, str]
PASSED: Answer = (Verdict.PASS, "")


@dataclass(frozen=True)
class Sight:
    """Everything that was seen of one host; None where it was not. `off`: its clock minus the bastion's, in seconds."""

    host: Host
    seen: Seen | None = None
    inspected: Inspected | None = None
    proof: Proof | None = None
    complaint: str = ""  # why something was not seen
    unproven: str = ""  # why the proof did not hold, or was not even asked for
    off: float | None = None


@dataclass(frozen=True)
class Norm:
    """What hosts are held against. `token`: that of the queen; ages in days."""

    token: Fingerprint | None = None
    warn_age: float = 75.0
    fail_age: float = 90.0


@dataclass(frozen=True)
class Check:
    """One line of the checklist."""

    id: str
    title: str
    section: str
    severity: Severity
    judge: Callable[[Sight, Norm], Answer] = field(repr=False)


@dataclass(frozen=True)
class Finding:
    """What one check found on one host."""

    check: Check
    host: str
    verdict: Verdict
    detail: str


UNTOLD = "the host did not let it be seen"
CHECKS: dict[str, Check] = {}  # filled by hivekeys.checks
Judge = Callable[[Sight, Norm], Answer]
OnSeen = Callable[[Host, Seen, Norm], Answer]
OnInspected = Callable[[Host, Inspected], Answer]


def examine(sights: list[Sight], norm: Norm, checks: list[Check]) -> list[Finding]:
    """Every check on every host, in the order of the checks."""
    return [
        Finding(check, sight.host.name, verdict, one_line(detail))
        for check in checks
        for sight in sights
        for verdict, detail in [check.judge(sight, norm)]
    ]


def check(name: str, title: str, section: str, severity: Severity) -> Callable[[Judge], Judge]:
    def note(judge: Judge) -> Judge:
        CHECKS[name] = Check(name, title, section, severity, judge)
        return judge

    return note


def of_seen(name: str, title: str, section: str, severity: Severity = Severity.HIGH) -> Callable[[OnSeen], OnSeen]:
    """A check of what `observe` shows."""

    def note(judge: OnSeen) -> OnSeen:
        def on(sight: Sight, norm: Norm) -> Answer:
            if sight.seen is None:
                return Verdict.UNTOLD, sight.complaint
            return judge(sight.host, sight.seen, norm)

        check(name, title, section, severity)(on)
        return judge

    return note


def of_inspected(
    name: str, title: str, section: str, severity: Severity = Severity.HIGH
) -> Callable[[OnInspected], OnInspected]:
    """A check of what `inspect` shows."""

    def note(judge: OnInspected) -> OnInspected:
        def on(sight: Sight, _: Norm) -> Answer:
            if sight.inspected is None:
                return Verdict.UNTOLD, sight.complaint
            return judge(sight.host, sight.inspected)

        check(name, title, section, severity)(on)
        return judge

    return note


def unless(faults: list[str] | tuple[str, ...] | None) -> Answer:
    """Passed unless something is listed; None is what could not be seen."""
    if faults is None:
        return Verdict.UNTOLD, UNTOLD
    return (Verdict.FAIL, ", ".join(faults)) if faults else PASSED
