"""The types of the checklist: observation, baseline, check, finding; and the list of all checks. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from hivekeys.errors import ExitCode
from hivekeys.fleet import Host, TokenAge, Waiver
from hivekeys.journal.debts import served
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.inspected import Behind, Inspected
from hivekeys.protocol.seen import Proof, Seen
from hivekeys.text.clean import one_line
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
class Observation:
    """Everything that was seen of one host; None where it was not. `off`: its clock minus the bastion's, in seconds.

    `held`: every token that it holds, as fingerprints under the key of one comparison with another fleet.
    """

    host: Host
    seen: Seen | None = None
    inspected: Inspected | None = None
    proof: Proof | None = None
    complaint: str = ""  # why something was not seen
    unproven: str = ""  # why the proof failed, or was not made
    off: float | None = None
    held: frozenset[str] | None = None
    swept: Proof | None = None  # how every place on it answers the tokens that leaked
    machine: str = ""  # the machine that its name led to; "" where it was not reported
    behind: Behind | None = None  # of a front, and the service behind it
    is_reached: bool | None = None  # from here, that service; None: that could not be tried


@dataclass(frozen=True)
class Record:
    """What the journal of this bastion knows of a fleet's tokens, by keyed fingerprint; the bastion's clock.

    `made`: when each token was chosen. `owing`: the hosts that owe `want`, the newest token, of that run; the verb
    that brings it to them. `epoch`: the last place in the order of runs that it knows of. `overlaps`: the newest run,
    where it waits for clients to change to its token.
    """

    made: Mapping[str, float]
    run: str = ""
    want: Fingerprint | None = None
    owing: tuple[str, ...] = ()
    verb: str = "reconcile"
    epoch: int = 0
    overlaps: str = ""


@dataclass(frozen=True)
class Other:
    """Another fleet: which hosts hold which token, under the comparison's key; the hosts not asked, and why."""

    name: str
    holders: Mapping[str, tuple[str, ...]]
    unasked: Mapping[str, str]


@dataclass(frozen=True)
class Baseline:
    """What hosts are compared with. `token`: that of the queen; `now`: seconds since the epoch, the bastion's clock.

    `doubles`: the hosts whose names lead to the machine of another one.
    """

    token: Fingerprint | None = None
    age: TokenAge = field(default_factory=TokenAge)
    now: float = 0.0
    record: Record | None = None
    other: Other | None = None
    doubles: Mapping[str, Cause] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One line of the checklist."""

    id: str
    title: str
    section: str
    severity: Severity
    judge: Callable[[Observation, Baseline], Answer] = field(repr=False)

    def is_about(self, host: Host) -> bool:
        """False for a client, where the check is about what a service does, or its unit."""
        service = host.service
        return not service.is_client or (self.id not in OF_SERVICES and (bool(service.unit) or self.id not in OF_UNITS))


@dataclass(frozen=True)
class Finding:
    """What one check found on one host."""

    check: Check
    host: str
    verdict: Verdict
    detail: str
    waiver: Waiver | None = None  # in force, and only for what did not pass: nothing is ever waived into a pass

    @property
    def word(self) -> str:
        """The verdict as it is shown and counted."""
        return WAIVED if self.waiver else self.verdict.value

    @property
    def text(self) -> str:
        """The verdict and its detail; if waived, until when and why."""
        if self.waiver is None:
            return self.detail
        found = f"{self.verdict.value}: {self.detail}" if self.detail else self.verdict.value
        return f"{found}; waived until {self.waiver.until}: {self.waiver.reason}"


@dataclass(frozen=True)
class Report:
    """One `fab verify`: its findings, expired waivers, time (UTC, seconds since the epoch) and duration."""

    fleet: str
    findings: tuple[Finding, ...]
    expired: tuple[Waiver, ...] = ()
    at: float = 0.0
    seconds: float = 0.0

    @property
    def code(self) -> ExitCode:
        """6 when a check failed and is not waived, 4 when a host could not be judged at all, else 0."""
        if any(each.verdict is Verdict.FAIL and not each.waiver for each in self.findings):
            return ExitCode.FINDINGS
        of_host: dict[str, list[Finding]] = {}
        for each in self.findings:
            if each.check.id != GREETING:  # to know the machine says nothing about what is on it
                of_host.setdefault(each.host, []).append(each)
        dark = [each for each in of_host.values() if {one.verdict for one in each} == {Verdict.UNTOLD}]
        return ExitCode.INCOMPLETE if any(not all(one.waiver for one in each) for each in dark) else ExitCode.DONE


DAY = 86400.0  # seconds
WAIVED = "waived"
# Checks of services that accept tokens, and of units.
OF_SERVICES = (
    *("loads-from-file", "environment", "loaded", "credential", "hardening", "kill-signal", "kill-mode", "survivors"),
    *("enabled", "proof", "certificate", "front", "behind", "dead-token", "audit", "audit-fresh", "audit-chain"),
)
OF_UNITS = ("active", "current")
GREETING = "machine"  # the one check that is judged by a host's greeting alone
UNTOLD = "the host did not show it"
NOT_ENTERED = "the token directory was not looked into"
CHECKS: dict[str, Check] = {}  # filled by hivekeys.verify.checks
Judge = Callable[[Observation, Baseline], Answer]
OnSeen = Callable[[Host, Seen, Baseline], Answer]
OnInspected = Callable[[Host, Inspected], Answer]


def examine(observations: list[Observation], baseline: Baseline, checks: list[Check]) -> tuple[Finding, ...]:
    """Every check on every host that it is about, in the order of the checks."""
    return tuple(
        Finding(check, observation.host.name, verdict, one_line(detail))
        for check in checks
        for observation in observations
        if check.is_about(observation.host)
        for verdict, detail in [check.judge(observation, baseline)]
    )


def recorded(runs: Iterable[Run]) -> Record:
    """What the events of these runs, newest first, say about the fleet's tokens."""
    past = list(runs)
    made = {run.want.keyed: run.started for run in past if run.want}  # the oldest run with a token is its beginning
    last = max((run.epoch for run in past), default=0)
    newest = served(past)
    if newest is None:
        return Record(made, epoch=last)
    verb = "resume" if newest.is_open else "reconcile"
    overlaps = past[0].id if past[0].is_overlapping else ""
    return Record(made, newest.id, newest.want, newest.debts, verb, last, overlaps)


def token_age(seen: Seen, record: Record | None, now: float) -> tuple[float, str] | None:
    """Seconds since a host's token was made, and the source; None where there is no token file.

    By the file and by the journal; the older counts, because a file can be touched or copied anew.
    """
    if seen.active is None or not seen.active.modified:
        return None
    by_file = max(0.0, seen.clock - seen.active.modified)
    made = record.made.get(seen.token.keyed) if record and seen.token else None
    if made is not None and now - made > by_file + DAY:  # a rotation takes a while, and two clocks differ
        return now - made, f"the journal, {by_file / DAY:.0f} by its file"
    return by_file, "its file"


def check(name: str, title: str, section: str, severity: Severity) -> Callable[[Judge], Judge]:
    def note(judge: Judge) -> Judge:
        CHECKS[name] = Check(name, title, section, severity, judge)
        return judge

    return note


def of_seen(name: str, title: str, section: str, severity: Severity = Severity.HIGH) -> Callable[[OnSeen], OnSeen]:
    """A check of what `observe` shows."""

    def note(judge: OnSeen) -> OnSeen:
        def on(observation: Observation, baseline: Baseline) -> Answer:
            if observation.seen is None:
                return Verdict.UNTOLD, observation.complaint
            return judge(observation.host, observation.seen, baseline)

        check(name, title, section, severity)(on)
        return judge

    return note


def of_inspected(
    name: str, title: str, section: str, severity: Severity = Severity.HIGH
) -> Callable[[OnInspected], OnInspected]:
    """A check of what `inspect` shows."""

    def note(judge: OnInspected) -> OnInspected:
        def on(observation: Observation, _: Baseline) -> Answer:
            if observation.inspected is None:
                return Verdict.UNTOLD, observation.complaint
            return judge(observation.host, observation.inspected)

        check(name, title, section, severity)(on)
        return judge

    return note


def unless(faults: list[str] | tuple[str, ...] | None) -> Answer:
    """Passed unless a fault is listed; can't tell for None."""
    if faults is None:
        return Verdict.UNTOLD, UNTOLD
    return (Verdict.FAIL, ", ".join(faults)) if faults else PASSED
