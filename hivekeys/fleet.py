"""A fleet as values: its hosts, their services, and the policy of a rollout. Pure.

Frozen values only: no I/O, no parsing. The defaults stand here, once; `inventory.py` reads files into these
types and has already refused whatever could not be right. Times are in seconds, modes are numbers (0o600).
"""

from dataclasses import KW_ONLY, dataclass, field
from datetime import date
from enum import Enum


class Role(Enum):
    """What a host is: the one that all others report to, or one of the many that do the work."""

    QUEEN = "queen"
    HIVE = "hive"


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


class Format(Enum):
    """What a token file is: the token alone, or an environment file of systemd's with the line LLORCH_API_TOKEN=."""

    TOKEN = "token"  # noqa: S105  a word of the inventory
    ENVIRONMENT = "environment"


class Accepts(Enum):
    """How many tokens a service accepts at a time; a second one is in a file beside its token."""

    ONE = "one"
    FRONT = "front"  # of the service: nginx stands before it, and asks for one
    LINES = "lines"  # a list, one token a line, of which the first is the one to present
    PAIR = "pair"  # the token, and one more in a file of its own


class Apply(Enum):
    """How a service learns that its token file is another: from a fresh process, when it is told, or by itself."""

    RESTART = "restart"
    RELOAD = "reload"  # systemctl reload
    SIGNAL = "signal"  # to the main process of its unit
    WATCH = "watch"  # nothing is sent


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


class OnDeadline(Enum):
    """What is done with a service whose work has not ended when its drain is over."""

    FAIL = "fail"  # its host fails, and keeps its token
    RESTART = "restart"  # the restart ends the work
    SKIP = "skip"  # its host keeps its token and owes the new one; the others go on


@dataclass(frozen=True)
class Hook:
    """A command of the operator's for a drain; of the three ways exactly one.

    `run`: argv on the host, as root, without a shell. `http`: a request to the service with its token, "POST /drain";
    2xx is success. `bastion`: argv on the bastion, {host} and {address} filled in.
    """

    run: tuple[str, ...] = ()
    http: str = ""
    bastion: tuple[str, ...] = ()


@dataclass(frozen=True)
class Idle:
    """How a host tells that no work is running; asked there, once in `every` seconds.

    `get`: a path of the service, which is idle when no line of its answer has the regular expression `none` in it.
    `run`: argv on the host, which ends with 0 when idle, and with 75 (EX_TEMPFAIL) when busy.
    """

    get: str = ""
    none: str = ""
    run: tuple[str, ...] = ()
    every: float = 2.0


@dataclass(frozen=True)
class Drain:
    """How a service is freed of work before a restart: `before`, wait `until` it is idle, restart, `after`."""

    before: Hook | None = None
    until: Idle | None = None
    after: Hook | None = None
    deadline: float = 300.0  # for `before` and the wait together; `after` has as long again
    on_deadline: OnDeadline = OnDeadline.FAIL


@dataclass(frozen=True)
class Service:
    """What runs on a host and where it finds its token.

    `health` and `protected` are candidate paths, tried in order on the host (the guide and the real services name
    different ones). Health: the first that does not answer 401, 403 or 404. Protected: the first that answers 401 to
    a call without a token, and not 404 to a call with it. No protected path at all means that the service can be found
    healthy but never proven. `places` and `tokenless` are for a token that leaked: what else on the host could take it.

    `owner` and `group` are the service's account, whose the token file is; an
    environment file is root's, in a directory of root's, and keeps its mode: 0600, or 0640 for the service's group.
    Where `apply` is not a restart, a process is older than what it has read: only its answers tell which token that is.
    """

    unit: str
    port: int
    health: tuple[str, ...]
    protected: tuple[str, ...]
    token: str = "/etc/llama-orch/secrets/api-token"  # noqa: S105  the path of the active slot, not a token
    owner: str = "llama-orch"
    group: str = "llama-orch"
    mode: int = 0o600
    directory_mode: int = 0o700
    places: tuple[str, ...] = ()  # where else on the host the token is taken: [http://ADDRESS:]PORT[/PATH]
    tokenless: tuple[int, ...] = ()  # ports of the service's account that take no token, and cannot be asked
    address: str = "127.0.0.1"  # where its own host reaches it: an address of that host in numbers, or unix:/PATH
    scheme: str = "http"
    ca: str = ""  # of https: a file of certificates on the host; "": those that the host trusts
    verify: bool = True  # of https: its certificate is checked
    format: Format = Format.TOKEN
    apply: Apply = Apply.RESTART
    signal: str = "HUP"  # for apply = "signal"
    front: "Front | None" = None  # it is an nginx of ours, which stands before the host's own service
    drain: Drain | None = None
    accepts: Accepts = Accepts.ONE
    tokens: str = ""  # the list, for accepts = "lines"; "": the token's path and an s

    @property
    def accepted(self) -> str:
        """The file that has the further token, or all; "" where one is accepted."""
        listed = self.tokens or f"{self.token}s"
        return {Accepts.LINES: listed, Accepts.PAIR: f"{self.token}.previous"}.get(self.accepts, "")

    @property
    def where(self) -> str:
        """Where and how it is called, as an address: http://127.0.0.1:8081."""
        if self.address.startswith("unix:"):
            return f"{self.scheme}+{self.address}"
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{address}:{self.port}"

    @property
    def rights(self) -> str:
        """Mode, owner and group that the token file must have, as they are shown."""
        if self.format is Format.ENVIRONMENT:
            return f"0600 root:root or 0640 root:{self.group}"
        return rights(self.mode, self.owner, self.group)

    def fits(self, mode: int, owner: str, group: str) -> bool:
        """True for a token file with these rights; hivekeys.host.slots.Secrets.fits."""
        if self.format is Format.ENVIRONMENT:
            readers = ("root", self.group) if mode & 0o040 else (group,)
            return owner == "root" and not mode & ~0o640 and group in readers
        return (mode, owner, group) == (self.mode, self.owner, self.group)


@dataclass(frozen=True)
class Front:
    """nginx before a service, as `fab install --front` sets it up: it asks for the fleet's tokens, not the service.

    `listen` is where clients reach it: an address in numbers, or 0.0.0.0 or [::] for all, and a port. `public`: paths
    that need no token, beside those of `health`. `start`: the command with which the service listens on loopback;
    "": its unit does so by itself. `firewall`: it can only listen on all addresses, and nftables keeps others from it.
    `certificate` and `key`: files on the host, of a front that speaks TLS.
    """

    listen: str
    behind: Service
    certificate: str = ""
    key: str = ""
    ca: str = ""  # with which the certificate is checked; "": those that the host trusts
    verify: bool = True
    public: tuple[str, ...] = ()
    start: str = ""
    firewall: bool = False


FRONTS = "/etc/hivekeys-front"  # a folder for each front: its configuration, and the tokens that it accepts


def fronting(front: Front) -> Service:
    """The service that clients of a fleet reach: the front, with what it needs to be turned like any other.

    Its token file is root's, in a folder of its own, and holds the fleet's token; that of the service behind it holds
    a token that is made on the host and stays there.
    """
    stem, (address, _, port) = front.behind.unit.removesuffix(".service"), front.listen.rpartition(":")
    return Service(
        unit=f"hivekeys-front-{stem}.service",
        port=int(port),
        health=front.behind.health,
        protected=front.behind.protected,
        token=f"{FRONTS}/{stem}/api-token",
        owner="root",
        group="root",
        places=front.behind.places,
        tokenless=front.behind.tokenless,
        address={"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(address, address.strip("[]")),  # noqa: S104
        scheme="https" if front.certificate else "http",
        ca=front.ca,
        verify=front.verify,
        apply=Apply.RELOAD,
        accepts=Accepts.LINES,
        front=front,
    )


def rights(mode: int, owner: str, group: str) -> str:
    """Mode, owner and group as ls and chown have them: 0600 root:root."""
    return f"{mode:04o} {owner}:{group}"


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
SERVICES = {Role.QUEEN: QUEEN_SERVICE, Role.HIVE: HIVE_SERVICE}


@dataclass(frozen=True)
class Host:
    """One host; where `port`, `user`, `key` or `jump` is None, OpenSSH's configuration (`ssh -G`) decides.

    `jump` is written as for `ssh -J`; "none" means straight there, whatever that configuration says. `beside` names the
    host whose machine it shares, as a service of its own.
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

    @property
    def home(self) -> str:
        """The host that its machine is known by: itself, or the one that it stands beside."""
        return self.beside or self.name


@dataclass(frozen=True)
class Policy:
    """How a rollout walks through the fleet.

    `canary` hives turn alone before the others (0: none), then `batch` at a time. `max_failures` counts over
    the whole run, not per wave. `width` bounds the hosts in flight. A service has `health_deadline` to come
    up and must then stay up for `stable_seconds`. A revocation asks again after `revocation_recheck`
    seconds whether the old token is refused: a service may cache.
    """

    order: Order = Order.QUEEN_FIRST
    canary: int = 1
    batch: Amount = Amount(25, percent=True, least=1)
    width: int = 32
    max_failures: Amount = Amount(0)
    health_deadline: float = 60.0
    stable_seconds: float = 3.0
    revocation_recheck: float = 10.0


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


@dataclass(frozen=True)
class Fleet:
    """All hosts of one environment: the queen first, then the hives in the order of the file."""

    name: str
    hosts: tuple[Host, ...]
    policy: Policy = field(default_factory=Policy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    ssh: Ssh = field(default_factory=Ssh)
    token_age: TokenAge = field(default_factory=TokenAge)
    waivers: tuple[Waiver, ...] = ()
    backup: Backups = field(default_factory=Backups)
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
    def hives(self) -> tuple[Host, ...]:
        """Every host that is not the queen."""
        return tuple(host for host in self.hosts if host.role is Role.HIVE)
