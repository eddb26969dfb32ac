"""A fleet as values: its hosts, their services, and the policy of a rollout. Pure.

Frozen values only: no I/O, no parsing. The defaults stand here, once; `inventory.py` reads files into these
types and has already refused whatever could not be right. Times are in seconds, modes are numbers (0o600).
"""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime
from enum import Enum

from hivekeys.service import Service


class Role(Enum):
    """What a host is: the one that all others report to, one of the many that do the work, or a client of these.

    A client presents the token to services, and accepts none.
    """

    QUEEN = "queen"
    HIVE = "hive"
    CLIENT = "client"


class SudoLog(Enum):
    """Whether tokens may pass a sudo that records what passes."""

    REFUSED = "refused"
    ACCEPTED = "accepted"


class Become(Enum):
    """How the agent gets to be root: by sudo without or with a password, or not at all: the login is root already.

    Restricted: sudo lets the account run one program alone, the agent that `fab install --restricted` has put there.
    """

    SUDO = "sudo"
    SUDO_PASSWORD = "sudo-password"  # noqa: S105  a word of the inventory
    NONE = "none"
    RESTRICTED = "restricted"


class Order(Enum):
    """Which side turns first. With single-token services neither order avoids a moment of disagreement."""

    QUEEN_FIRST = "queen-first"
    HIVES_FIRST = "hives-first"


@dataclass(frozen=True)
class Amount:
    """So many hosts, or so many in a hundred of them, rounded down, but never fewer than `least`."""

    value: int
    percent: bool = False
    least: int = 0

    def of(self, total: int) -> int:
        """How many hosts that is in a fleet of `total`."""
        return max(self.least, total * self.value // 100 if self.percent else self.value)

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


@dataclass(frozen=True)
class OfEach:
    """So many hosts of each group of a kind: `1 of each rack`. A kind is the beginning of its groups' names."""

    amount: Amount
    kind: str

    def __str__(self) -> str:
        return f"{self.amount} of each {self.kind}"


@dataclass(frozen=True)
class GroupByGroup:
    """One group of a kind after the other, each as a whole: `rack by rack`."""

    kind: str

    def __str__(self) -> str:
        return f"{self.kind} by {self.kind}"


Step = Amount | OfEach | GroupByGroup


@dataclass(frozen=True)
class Ramp:
    """A size for each wave, first to last; the waves after these have the last one's."""

    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return ", then ".join(map(str, self.steps))


Batch = Step | Ramp


def is_of_kind(group: str, kind: str) -> bool:
    """True for rack1, rack-a and rack.eu, which are racks; rack and racks are groups of other kinds."""
    rest = group.removeprefix(kind)
    return rest != group and rest[:1] in tuple("0123456789-_.")


# Each list begins with the path that llama-orch v0.1.0 answers and ends with the one its secret guide names.
QUEEN_SERVICE = Service(
    unit="queen-rbee.service",
    port=8080,
    health=("/health",),
    protected=("/v2/workers/list", "/api/v1/nodes"),
)
HIVE_SERVICE = Service(
    unit="rbee-hive.service",
    port=8081,
    health=("/v1/health", "/health"),
    protected=("/v1/workers/list", "/api/v1/workers"),
)
# No unit: its program reads the file by itself.
CLIENT_SERVICE = Service(unit="", port=0, health=(), protected=())
SERVICES = {Role.QUEEN: QUEEN_SERVICE, Role.HIVE: HIVE_SERVICE, Role.CLIENT: CLIENT_SERVICE}


@dataclass(frozen=True)
class Host:
    """One host; where `port`, `user`, `key` or `jump` is None, OpenSSH's configuration (`ssh -G`) decides.

    `jump` is written as for `ssh -J`; "none" means straight there, whatever that configuration says. `beside` names the
    host whose machine it shares, as a service of its own. `groups`: what an operator calls it and others together.
    """

    name: str
    role: Role
    address: str
    _: KW_ONLY
    service: Service
    port: int | None = None
    user: str | None = None
    key: str | None = None
    jump: str | None = None
    become: Become = Become.SUDO
    python: str | None = None  # absolute path on the host; None: looked for there
    beside: str = ""
    sudo_log: SudoLog = SudoLog.REFUSED
    groups: tuple[str, ...] = ()

    @property
    def home(self) -> str:
        """The host that its machine is known by: itself, or the one that it stands beside."""
        return self.beside or self.name


def takes_two(hosts: Collection[Host]) -> bool:
    """True where each service of these hosts accepts two tokens at a time, as the inventory says; clients have none."""
    services = [host.service for host in hosts if not host.service.is_client]
    return bool(services) and all(service.accepted for service in services)


def services_of(hosts: Iterable[Host]) -> dict[str, Service]:
    """What runs on each of these hosts, by its name."""
    return {host.name: host.service for host in hosts}


MOST_HOSTS = 100_000  # of a fleet
MOST_PROCESSES = 64  # of a run


@dataclass(frozen=True)
class Policy:
    """How a rollout walks through the fleet.

    `canary` hives turn alone before the others (0: none), then `batch` at a time. `max_failures` counts over
    the whole run, not per wave. `width` bounds the hosts at work, and `processes` hold the lines of a run. A service
    has `health_deadline` to come up and must then stay up for `stable_seconds`. A revocation asks again after
    `revocation_recheck` seconds whether the old token is refused: a service may cache.
    """

    order: Order = Order.QUEEN_FIRST
    canary: int = 1
    batch: Batch = Amount(25, percent=True, least=1)
    width: int = 32
    processes: int = 1
    max_failures: Amount = Amount(0)
    health_deadline: float = 60.0
    stable_seconds: float = 3.0
    revocation_recheck: float = 10.0
    overlap: float = 0.0  # seconds in which clients may go on with the old token, where services accept two


@dataclass(frozen=True)
class Timeouts:
    """How long each part of a connection may take; `request` bounds one request to a running agent."""

    connect: float = 10.0
    banner: float = 10.0
    auth: float = 15.0
    channel: float = 10.0
    request: float = 120.0


@dataclass(frozen=True)
class Ssh:
    """OpenSSH files to use instead of the user's own; None leaves the choice to OpenSSH.

    `sudo_password_file`: where the password for sudo is; None means that the operator is asked for it.
    """

    known_hosts: tuple[str, ...] | None = None
    config: str | None = None
    sudo_password_file: str | None = None


@dataclass(frozen=True)
class TokenAge:
    """How many days old a token may get: from `warn` on it should be rotated, from `fail` on it must be."""

    warn: float = 75.0
    fail: float = 90.0


@dataclass(frozen=True)
class Waiver:
    """A check that need not pass on these hosts (none named: all) up to and including the day `until`, UTC."""

    check: str
    reason: str
    until: date
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backups:
    """The recipients of a rotation's new token once it is done (none: no backup), and how many stay (None: all).

    A recipient is a public key, or the path of a file of such keys.
    """

    to: tuple[str, ...] = ()
    keep: int | None = None


class Occasion(Enum):
    """When in a run others are told of it: as it begins, with its first failure, at its end however that is."""

    START = "start"
    FAILURE = "failure"
    END = "end"


@dataclass(frozen=True)
class Notify:
    """Who is told of each run, and when; by one of a command, a webhook and mail.

    `webhook` is an https address; `webhook_file` holds it where it is a secret itself, and `header_file` a header to
    send with it.
    """

    name: str
    on: tuple[Occasion, ...] = (Occasion.FAILURE, Occasion.END)
    run: tuple[str, ...] = ()
    webhook: str = ""
    webhook_file: str = ""
    header_file: str = ""
    mail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weekly:
    """Hours of weekdays (0 is Monday), in minutes from midnight; an `end` beyond a day's is on the next day."""

    days: tuple[int, ...]
    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class Dated:
    """From one local time to another, which is no part of it."""

    begin: datetime
    end: datetime
    text: str


Span = Weekly | Dated


@dataclass(frozen=True)
class Windows:
    """When the fleet may be turned: in a span of `allowed` (none: at any time), and in none that is `frozen`."""

    zone: str
    allowed: tuple[Span, ...] = ()
    frozen: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Approver:
    """A person who may approve, and a public key of theirs: its kind and its body, as `ssh-keygen` writes them."""

    name: str
    key: str

    @property
    def fingerprint(self) -> str:
        """The key's name, as `ssh-keygen -l` shows it."""
        body = base64.b64decode(self.key.partition(" ")[2])
        return "SHA256:" + base64.b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")


@dataclass(frozen=True)
class Approval:
    """Who may approve that the fleet is turned, how many of them must, and for how many seconds a plan is valid."""

    keys: tuple[Approver, ...]
    needed: int = 1
    valid: float = 7 * 86_400.0


@dataclass(frozen=True)
class Fleet:
    """All hosts of one environment: the queen first, then hives, then clients, each in the order of the file."""

    name: str
    hosts: tuple[Host, ...]
    policy: Policy = field(default_factory=Policy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    ssh: Ssh = field(default_factory=Ssh)
    token_age: TokenAge = field(default_factory=TokenAge)
    waivers: tuple[Waiver, ...] = ()
    backup: Backups = field(default_factory=Backups)
    notify: tuple[Notify, ...] = ()
    windows: Windows | None = None
    approval: Approval | None = None
    source: str = ""
    digest: str = field(default="", compare=False)  # SHA-256 of the file; of all this if its hosts come from others
    called: str = ""

    @property
    def typed(self) -> str:
        """What an operator types after `--fleet`: the file's name or path, which need not be the fleet's own name."""
        return self.called or self.name

    @property
    def queen(self) -> Host:
        """The one queen; a fleet that `inventory.load` returned has exactly one."""
        return next(host for host in self.hosts if host.role is Role.QUEEN)

    @property
    def groups(self) -> dict[str, tuple[Host, ...]]:
        """The hosts of each group, in the fleet's order."""
        found: dict[str, list[Host]] = defaultdict(list)
        for host in self.hosts:
            for group in host.groups:
                found[group].append(host)
        return {group: tuple(hosts) for group, hosts in found.items()}

    @property
    def hives(self) -> tuple[Host, ...]:
        """The hosts that do the work."""
        return tuple(host for host in self.hosts if host.role is Role.HIVE)

    @property
    def clients(self) -> tuple[Host, ...]:
        """The hosts that only present the token."""
        return tuple(host for host in self.hosts if host.role is Role.CLIENT)
