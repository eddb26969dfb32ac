"""The question and the answers of the verb `audit`. Times are seconds, by the host's clock. Pure.

Texts come from hosts: they are made one line here, wherever they are shown.
"""

import re
from dataclasses import dataclass

from hivekeys.text.clean import one_line


@dataclass(frozen=True)
class Time:
    """A moment: seconds since the epoch, or so many seconds before the host's now."""

    seconds: float
    before_now: bool = False


@dataclass(frozen=True)
class Query:
    """Which records are meant, and how much may be read for them.

    `tokens`: fp6, none for all. `replaced`: when the old token was; uses behind it are counted apart, with `fresh` only
    those of the last so many seconds. `records`: how many of the newest are sent. `size`: bytes, unpacked.
    """

    since: Time | None = None
    until: Time | None = None
    tokens: tuple[str, ...] = ()
    failed: bool = False
    records: int = 0
    replaced: float | None = None
    fresh: float | None = None
    size: int = 1 << 32
    seconds: float = 60.0
    chain: bool = True


def _made_clean(record: object, *names: str) -> None:
    for name in names:
        object.__setattr__(record, name, one_line(getattr(record, name)))


def _refuse_odd(token: str) -> None:
    if not re.fullmatch("(?:[0-9a-f]{6})?", token):
        raise ValueError("not a fingerprint")


def who(address: str) -> str:
    """Who called, for people; v0.1.0 records no address (0.0.0.0 and none; llama-orch.md, "Audit record")."""
    return "a caller whose address is not recorded" if address in ("", "0.0.0.0") else address  # noqa: S104


@dataclass(frozen=True)
class Group:
    """Calls that are alike: accepted by the service (`ok`) or not. "" for what was not recorded.

    `after`: how many of them came after the old token was replaced. A group beyond the host's measure has lost its
    path and address, and then its service and token.
    """

    service: str
    ok: bool
    token: str
    path: str
    address: str
    count: int
    after: int
    first: float
    last: float

    def __post_init__(self) -> None:
        _refuse_odd(self.token)
        _made_clean(self, "service", "path", "address")


@dataclass(frozen=True)
class Call:
    """One record. `place`: file and byte where it stands (in a packed file, of what is unpacked)."""

    service: str
    ok: bool
    token: str
    path: str
    address: str
    at: float
    place: str

    def __post_init__(self) -> None:
        _refuse_odd(self.token)
        _made_clean(self, "service", "path", "address", "place")


@dataclass(frozen=True)
class Audited:
    """What a host's audit trail says. `cut` and `chain_cut` say which limit was reached, "" when all was read.

    `on`: the service writes one. `found`: there are files. `size`: bytes read. `folded`: calls in groups beyond the
    measure. `places`: of the first `broken` lines. `unread`: files, and why. `chained`: records whose hashes were
    followed; `breaks`: where that failed. `own`: hivekeys' calls, which are in none of the other numbers but `lines`.
    """

    on: bool
    folder: str
    found: bool
    clock: float
    groups: tuple[Group, ...]
    newest: tuple[Call, ...]
    files: int
    size: int
    lines: int
    matched: int
    broken: int
    folded: int
    places: tuple[str, ...]
    unread: tuple[str, ...]
    cut: str
    breaks: tuple[str, ...]
    chained: int
    chain_cut: str
    replaced: float | None = None
    own: int = 0

    def __post_init__(self) -> None:
        _made_clean(self, "folder", "cut", "chain_cut")
        for name in ("places", "unread", "breaks"):
            object.__setattr__(self, name, tuple(map(one_line, getattr(self, name))))


@dataclass(frozen=True)
class Use:
    """Calls with an old token after it was replaced: accepted (`ok`) or refused. `last` is the host's clock."""

    host: str
    service: str
    token: str
    path: str
    address: str
    ok: bool
    count: int
    last: float


READERS = ("service", "systemd", "hivekeys", "other")


@dataclass(frozen=True)
class Reader:
    """A program that opened the token file, or tried to: `kind` is one of READERS, `login` the account of the login.

    `hivekeys` means that it looks like an agent of ours: probably one.
    """

    kind: str
    account: str
    login: str
    program: str
    ok: bool
    count: int
    first: float
    last: float

    def __post_init__(self) -> None:
        _refuse_kind(self.kind)
        _made_clean(self, "account", "login", "program")


@dataclass(frozen=True)
class Access:
    """One time that it was opened."""

    kind: str
    account: str
    login: str
    program: str
    ok: bool
    at: float
    pid: int

    def __post_init__(self) -> None:
        _refuse_kind(self.kind)
        _made_clean(self, "account", "login", "program")


def _refuse_kind(kind: str) -> None:
    if kind not in READERS:
        raise ValueError("no kind of reader")


@dataclass(frozen=True)
class Accessed:
    """What auditd noted. `watched`: a rule is in force. `folded`: opened by readers beyond the host's measure."""

    watched: bool
    clock: float
    readers: tuple[Reader, ...]
    newest: tuple[Access, ...]
    folded: int
    cut: str

    def __post_init__(self) -> None:
        _made_clean(self, "cut")
