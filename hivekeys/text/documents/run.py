"""The document of a run: of what turns a fleet, of what would, and of a run in the past. Pure."""

from typing import Literal, TypedDict

from hivekeys.text.documents.approvals import Approval
from hivekeys.text.documents.backups import BackupResult
from hivekeys.text.documents.head import (
    Cause,
    Code,
    Fp6,
    Head,
    PhaseWord,
    RoleWord,
    StateWord,
    Time,
    VerbWord,
)


class Exposure(TypedDict):
    """How long hosts still accepted a token after its revocation began, in seconds."""

    median: float | None
    """null while no host refuses it"""
    p95: float | None
    """within which 95 of a hundred hosts refused it"""
    longest: float | None
    """of the hosts that refuse it"""
    closed: dict[str, float]
    """each host that was seen to refuse it, and when"""
    fenced: list[str]
    """hosts whose service was stopped"""
    open: list[str]
    """hosts that still accept it, as far as is known"""


class Use(TypedDict):
    """Calls with an old token after it was replaced, by a host's own records."""

    host: str
    """whose records say it"""
    service: str
    """the service that was called"""
    token: str
    """which token, as the service logs it"""
    path: str
    """what was called; empty where that is not recorded"""
    address: str
    """who called; empty where that is not recorded"""
    ok: bool
    """whether the service accepted it"""
    count: int
    """how many calls"""
    last: float
    """the last one, in seconds since 1970 by the host's clock"""


class Unread(TypedDict):
    """A host whose records say nothing."""

    host: str
    """its name"""
    why: str
    """what kept them from being read"""


class Uses(TypedDict):
    """Who used an old token."""

    uses: list[Use]
    """each user, by the hosts' records"""
    unread: list[Unread]
    """hosts whose records could not be read"""


class Census(Uses):
    """Who used an old token, asked before it was retired."""

    held: bool
    """the old token is not retired, since it was still used"""
    anyway: bool
    """the operator had it retired whatever the records say"""


class Counted(TypedDict):
    """Requests that were sent as clients send them."""

    requests: int
    """how many"""
    refused: int
    """answered 401 or 403"""
    broken: int
    """not answered, or answered otherwise"""
    pause: float
    """the longest time in which none was let in, in seconds"""


class Meter(Counted):
    """What the meters of all hosts have counted."""

    hosts: dict[str, Counted]
    """the same for each host"""


class Wave(TypedDict):
    """Hosts that change together."""

    phase: PhaseWord
    """the phase in which they do"""
    hosts: list[str]
    """their names"""


class Place(TypedDict):
    """A socket that listens on a host, and its answer to old tokens."""

    address: str
    """where it listens"""
    port: int
    """its port; 0 where the host itself could not be searched"""
    pid: int
    """the process that holds it"""
    comm: str
    """the name of that process"""
    answer: str
    """refuses, takes, open (no token is needed), unasked, closed (no process listens)"""
    path: str
    """what was called"""
    why: str
    """why it was not asked; empty where it was"""


class Survivor(TypedDict):
    """A process that is older than the service's own."""

    pid: int
    """its number"""
    comm: str
    """its name"""
    age: float
    """in seconds"""
    ports: list[int]
    """where it listens"""
    takes: bool
    """it was tried, and accepts an old token"""


class Drain(TypedDict):
    """How a service was freed of work before its restart."""

    seconds: float
    """that it took"""
    busy: str
    """the work that was seen last; empty for none"""
    forced: bool
    """the deadline came first: the restart ended the work"""
    output: str
    """what the operator's command said at its end"""
    cordoned: bool
    """the service was not seen to get work again"""


class Span(TypedDict):
    """A time, in seconds since the run began."""

    begin: float
    """its begin"""
    end: float
    """its end"""


class Gap(TypedDict):
    """How long clients could not use both this host and the queen with one token."""

    known: bool
    """false where it cannot be told"""
    by_wall_clock: bool
    """it reaches from one sitting of the run into the next"""
    over: bool
    """it has an end"""
    spans: list[Span]
    """when it was"""


class Host(TypedDict):
    """A host of a run."""

    host: str
    """its name in the inventory"""
    role: RoleWord | None
    """its role; null for a host that is gone from the inventory"""
    address: str | None
    """its address in the inventory"""
    unit: str | None
    """the unit of its service"""
    groups: list[str]
    """its groups in the inventory"""
    state: StateWord
    """where it ended; the runbook has each"""
    old: Fp6 | None
    """the token that it had before the run"""
    now: Fp6 | None
    """the token that it has"""
    age_seconds: int | None
    """since its token file was written, by its own clock"""
    loaded_by: str | None
    """what shows which token the running process has read"""
    in_service: bool | None
    """its service runs; null for a host that was not seen"""
    proofs: dict[str, int] | None
    """the HTTP status of each call: new, old, none, garbage; null where it was not proven"""
    path: str | None
    """the path that was called"""
    certificate_unchecked: bool | None
    """its service speaks TLS, and its certificate was not checked"""
    places: list[Place] | None
    """what every place on it made of old tokens; null where it was not asked"""
    survivors: list[Survivor] | None
    """processes that outlived the restart of its service; null where it was not looked for them"""
    drain: Drain | None
    """how its service was freed of work; null where it has no drain"""
    streams_cut: int
    """requests of a leaked token that its front has cut"""
    logged: list[str] | None
    """the tokens that its service has logged since its start; null where its log was not read"""
    gap_seconds: float | None
    """the length of the gap; null where there is none, or it cannot be told"""
    gap: Gap | None
    """the gap in full"""
    seconds: float
    """of work on this host"""
    cause: Cause | None
    """why it failed; null where it did not"""
    earlier_cause: Cause | None
    """why it failed in an earlier sitting"""


class Foreseen(TypedDict):
    """What a run would do to a host."""

    host: str
    """its name"""
    now: Fp6 | None
    """the token that it has"""
    then: Fp6 | None
    """the token that it would get; null for one that is yet to be made"""
    steps: list[VerbWord]
    """what it would be told to do"""
    why: str | None
    """why nothing can be said of it"""


class CameTo(TypedDict):
    """What a run came to."""

    run: str
    """its id"""
    task: str
    """rotate, revoke, or the name of other work"""
    who: str
    """who ran it"""
    reason: str
    """the operator's reason; may be empty"""
    started: Time
    """when it began"""
    seconds: float
    """how long it took, without waiting for an operator's answer"""
    token: Fp6 | None
    """the token that the fleet has after it: the earlier one, where the run was taken back"""
    new_token: Fp6 | None
    """the token that it brought"""
    at_work: str | None
    """who is running it now"""
    exit_code: Code | None
    """the command's own; of an earlier run its last one: 3 once it was taken back, null where it was cut off"""
    excluded: list[str]
    """hosts that were excluded from the fleet"""
    superseded_by: str | None
    """the run that took its place"""


class Run(Head, CameTo):
    """A run, host by host: by rotate, revoke, resume, rollback, reconcile, restore, plan, report, and status --run."""

    form: Literal["run"]
    fleet: str
    """the fleet's name"""
    window: str | None
    """what the inventory's windows said as it began"""
    approval: Approval | None
    """who has approved it; null where nobody had to"""
    stopped: str | None
    """where it went no further, and why"""
    fell_back: str | None
    """why it went on with one token at a time"""
    reasons: list[str]
    """why it stopped, each time"""
    revoked: list[Fp6]
    """the tokens that may never come back"""
    exposure: Exposure | None
    """of a revocation"""
    census: Census | None
    """who used an old token before it was retired; null where the hosts were not asked"""
    meter: Meter | None
    """of a run that was metered"""
    streams_cut: int
    """requests of a leaked token that fronts have cut"""
    gone: list[str]
    """hosts of the run that the inventory no longer has"""
    waves: list[Wave]
    """in their order"""
    hosts: list[Host]
    """in the inventory's order"""
    debts: list[str]
    """hosts that still owe the run's token"""
    open: bool
    """it is not over, and can be resumed"""
    backup: BackupResult | None
    """the backup of the new token, in what a run prints at its end, where the inventory asks for one"""
    dry_run: bool
    """it only says what would be done: nothing was changed"""
    would: list[Foreseen] | None
    """what would be done to each host; null of a plan, which has waves"""


class NotDue(Head):
    """What `rotate --if-older-than` prints when there is nothing to do."""

    form: Literal["not-due"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0"""
    due: Literal[False]
    """always"""
    age_seconds: int
    """how old the fleet's token is"""


class PastRun(CameTo):
    """A run in a few words."""

    verdict: str
    """what it came to, in the sentence that people read"""
    hosts: int
    """how many it has"""
    debts: list[str]
    """hosts that still owe its token"""
    approval: Approval | None
    """who has approved it; null where nobody had to"""


class History(Head):
    """The runs over a fleet from this bastion: fab history."""

    form: Literal["history"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """2 where the journal is damaged or not whole"""
    runs: list[PastRun]
    """newest first"""
    faults: list[str]
    """what is missing or damaged of the journal"""
    set_aside: str | None
    """where the damaged journal was put, by --set-aside"""
