"""The answer of the verb `inspect`: facts about a host, without judgement. Times are seconds on the host's clock.

Pure.
"""

from dataclasses import dataclass

from hivekeys.protocol.listeners import Survivor


@dataclass(frozen=True)
class Parent:
    """A directory above the token directory."""

    path: str
    mode: int
    owner: str


@dataclass(frozen=True)
class Quality:
    """Counts of a token: characters, distinct ones, the longest run of equal or neighbouring ones, its period.

    `digits`: how many characters are one; `words`: how many well-known words are in it.
    """

    chars: int
    symbols: int
    run: int
    period: int
    digits: int
    words: int


@dataclass(frozen=True)
class InEnvironment:
    """Where LLORCH_API_TOKEN is set, and what could not be read."""

    places: tuple[str, ...]
    unread: tuple[str, ...]
    is_of_file: bool = False  # the running process has there what is in the token file, and its unit names that


@dataclass(frozen=True)
class Log:
    """What the service's log says since its start: a token was loaded, or none is asked for."""

    loaded: bool
    dev_mode: bool


@dataclass(frozen=True)
class Trail:
    """The service's audit trail. `newest` is the host's clock; None: no directory, or no file in it."""

    on: bool
    folder: str
    mode: int | None
    owner: str
    newest: float | None


@dataclass(frozen=True)
class Chain:
    """How far the audit trail's hash chain was followed. `broken`: file, line and why; `cut`: why not to its end."""

    files: int
    records: int
    broken: str = ""
    cut: str = ""


@dataclass(frozen=True)
class Lock:
    """Whether a run's agent holds the host's lock, and what it wrote there."""

    held: bool
    run: str = ""
    who: str = ""


@dataclass(frozen=True)
class Login:
    """The login, by sudo ("": root itself), whether by an installed agent; what else sudo lets the account do.

    `records`: "input" and "output", as far as sudo's log has them.
    """

    account: str
    restricted: bool
    rules: tuple[str, ...] | None
    records: tuple[str, ...] = ()


@dataclass(frozen=True)
class Behind:
    """A front and the service behind it. `reached_at`: the addresses at which others than the host reach the service.

    `open_files`: what of the front is not root's alone; `map`: what is wrong with the tokens that it lets in, or "";
    `leaks`: the logs in which a token stands.
    """

    unit: str
    state: str
    enabled: str
    reached_at: tuple[str, ...]
    open_files: tuple[str, ...]
    map: str
    leaks: tuple[str, ...]


@dataclass(frozen=True)
class Inspected:
    """What `verify` asks beyond Seen. None means that the host did not let it be seen."""

    parents: tuple[Parent, ...] | None
    hardening: dict[str, str]
    kill_signal: str
    kill_mode: str
    survivors: tuple[Survivor, ...] | None  # processes older than the service's that may have its token from before
    enabled: str
    environment: InEnvironment | None
    systemd: int | None
    log: Log | None
    audit: Trail | None
    watch: bool | None
    temporary: tuple[str, ...] | None
    chain: Chain | None
    lock: Lock | None
    login: Login | None
    free: int | None = None  # bytes
    acl: tuple[str, ...] | None = None
    links: int | None = None
    quality: Quality | None = None
    strays: tuple[str, ...] | None = None
    reused: tuple[str, ...] | None = None
