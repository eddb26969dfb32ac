"""The documents of the audit: who used which token, and who opened its file. Pure."""

from typing import Literal, NotRequired, TypedDict

from hivekeys.text.documents.head import Cause, Code, Head, Time


class Row(TypedDict):
    """Calls that are alike."""

    host: str
    """whose records say it"""
    service: str
    """the service that was called"""
    token: str | None
    """the token, as the service logs it; null for a call without one"""
    path: str
    """what was called"""
    address: str
    """who called; empty where that is not recorded"""
    ok: int
    """calls that were let in"""
    failed: int
    """calls that were refused"""
    ok_after: int
    """let in after this token was replaced"""
    failed_after: int
    """refused after this token was replaced"""
    first: Time | None
    """the first call"""
    last: Time | None
    """the last call"""
    local: bool
    """it came from the host itself"""


_Is = TypedDict("_Is", {"is": str | None})


class NamedRow(Row, _Is):
    """Calls that are alike, and what their token `is`: current, previous, or null for an unknown one."""


class Call(TypedDict):
    """One record."""

    host: str
    """whose record it is"""
    service: str
    """the service that was called"""
    ok: bool
    """it was let in"""
    token: str | None
    """the token, as the service logs it; null for a call without one"""
    path: str
    """what was called"""
    address: str
    """who called; empty where that is not recorded"""
    at: Time | None
    """when, by the host's clock"""
    place: str
    """the file and the byte where it stands"""


class Tokens(TypedDict):
    """The fleet's tokens."""

    current: list[str]
    """those that hosts serve"""
    previous: list[str]
    """those that they served before"""


class HostTrail(TypedDict):
    """What a host's records say; a host that could not be asked has the first three keys alone."""

    host: str
    """its name"""
    cause: Cause | None
    """why it could not be asked"""
    clock_off: float | None
    """seconds that its clock is ahead of this machine's"""
    on: NotRequired[bool]
    """its service writes an audit trail"""
    folder: NotRequired[str]
    """where"""
    found: NotRequired[bool]
    """there are files"""
    files: NotRequired[int]
    """that were read"""
    size: NotRequired[int]
    """bytes that were read"""
    lines: NotRequired[int]
    """records that were read"""
    matched: NotRequired[int]
    """records that were asked for"""
    broken: NotRequired[int]
    """lines that are no records"""
    folded: NotRequired[int]
    """calls that are counted without path and address: there were too many different ones"""
    places: NotRequired[list[str]]
    """where the first broken lines are"""
    unread: NotRequired[list[str]]
    """files that could not be read, and why"""
    cut: NotRequired[str]
    """the limit that was reached; empty when all was read"""
    breaks: NotRequired[list[str]]
    """where the chain of hashes is broken"""
    chained: NotRequired[int]
    """records whose hashes were followed"""
    chain_cut: NotRequired[str]
    """the limit that was reached there"""
    replaced: NotRequired[Time | None]
    """when the old token was, on this host"""
    own: NotRequired[int]
    """calls of hivekeys' own, which are in no other number but `lines`"""


class Audit(Head):
    """Who used which token, by the services' own records: fab audit. Times are each host's own."""

    form: Literal["audit"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """4 when a host could not be asked or read to the end, 6 when the old token was used after it was replaced"""
    tokens: Tokens
    """which tokens are which"""
    forgotten: list[NamedRow]
    """calls with the old token after it was replaced"""
    rows: list[NamedRow]
    """all calls"""
    newest: list[Call]
    """the newest records, one by one"""
    hosts: list[HostTrail]
    """in the inventory's order"""


class Reader(TypedDict):
    """A program that opened the token file, or tried to."""

    kind: str
    """service, systemd, hivekeys (probably), other"""
    account: str
    """as which account"""
    login: str
    """the account of the login"""
    program: str
    """its path"""
    ok: bool
    """it could"""
    count: int
    """how often"""
    first: Time | None
    """the first time"""
    last: Time | None
    """the last time"""


class Access(TypedDict):
    """One time that the file was opened."""

    kind: str
    """service, systemd, hivekeys (probably), other"""
    account: str
    """as which account"""
    login: str
    """the account of the login"""
    program: str
    """its path"""
    ok: bool
    """it could"""
    at: Time | None
    """when"""
    pid: int
    """the process"""
    run: str | None
    """the run at that time, where it was hivekeys"""


class HostAccesses(TypedDict):
    """What auditd noted on a host; a host that could not be asked has the first two keys alone."""

    host: str
    """its name"""
    cause: Cause | None
    """why it could not be asked"""
    watched: NotRequired[bool]
    """a rule is in force"""
    folded: NotRequired[int]
    """accesses by further readers, beyond what a host lists"""
    cut: NotRequired[str | None]
    """the limit that was reached"""
    clock_off: NotRequired[float]
    """seconds that its clock is ahead of this machine's"""
    readers: NotRequired[list[Reader]]
    """who opened the file"""
    newest: NotRequired[list[Access]]
    """the newest accesses, one by one"""


class Accesses(Head):
    """Who opened the token files, as auditd noted it: fab audit --file-access."""

    form: Literal["accesses"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """4 when a host could not be asked, or not to the end"""
    hosts: list[HostAccesses]
    """in the inventory's order"""
