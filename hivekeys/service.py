"""What runs on a host, as values: a service, where it has its token, how it takes another. Pure."""

from dataclasses import dataclass
from enum import Enum


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


class OnDeadline(Enum):
    """What is done with a service whose work has not ended when its drain is over."""

    FAIL = "fail"  # its host fails, and keeps its token
    RESTART = "restart"  # the restart ends the work
    SKIP = "skip"  # its host keeps its token and owes the new one; the others go on


HURRIED = 10.0  # seconds: the most that a revocation's drain waits (hivekeys.host.verbs.drain.HURRIED)


@dataclass(frozen=True)
class Hook:
    """What frees a service of new work, or gives it work again; of the four ways exactly one.

    `run`: argv on the host, as root, without a shell. `http`: a request to the service with its token, "POST /drain";
    2xx is success. `bastion`: argv on the bastion, {host} and {address} filled in. `front`: nginx before the service
    answers new requests 503, or lets them in again.
    """

    run: tuple[str, ...] = ()
    http: str = ""
    bastion: tuple[str, ...] = ()
    front: bool = False


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
    """How a service is freed of work before a restart: `before`, wait `until` it is idle, restart, `after`.

    Of a front the service behind it is freed. Where `before` is the front's and there is no `until`, the requests that
    the front has let in are waited for.
    """

    before: Hook | None = None
    until: Idle | None = None
    after: Hook | None = None
    deadline: float = 300.0  # for `before` and the wait together; `after` has as long again
    on_deadline: OnDeadline = OnDeadline.FAIL

    @property
    def by_front(self) -> bool:
        """True where the front keeps new requests off."""
        return bool(self.before and self.before.front)


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

    Of a client `port` is 0, and `unit` may be "": then it reads its file by itself, and `apply` is WATCH.
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
    stream: str = ""  # a protected path whose answers are long, for the meter
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
    def is_client(self) -> bool:
        """True for a program that only presents the token: it listens nowhere, so nothing can be asked of it."""
        return not self.port

    @property
    def title(self) -> str:
        """What runs there, in a cell: the unit without its ending, or a file that a program reads by itself."""
        return self.unit.removesuffix(".service") or "token file"

    @property
    def accepted(self) -> str:
        """The file that has the further token, or all; "" where one is accepted."""
        if self.accepts is Accepts.LINES:
            return self.tokens or f"{self.token}s"
        return f"{self.token}.previous" if self.accepts is Accepts.PAIR else ""

    @property
    def where(self) -> str:
        """Where and how it is called, as an address: http://127.0.0.1:8081."""
        if self.address.startswith("unix:"):
            return f"{self.scheme}+{self.address}"
        return (
            f"{self.scheme}://[{self.address}]:{self.port}"
            if ":" in self.address
            else (f"{self.scheme}://{self.address}:{self.port}")
        )

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
    `own_token`: the service asks for a token, one of its own, which nginx presents. False: it asks for none.
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
    own_token: bool = True


FRONTS = "/etc/hivekeys-front"  # a folder for each front: its configuration, and the tokens that it accepts


def fronting(front: Front, drain: Drain | None = None) -> Service:
    """The service that clients of a fleet reach: the front, with what it needs to be turned like any other.

    Its token file is root's, in a folder of its own, and holds the fleet's token; that of the service behind it, if it
    asks for one, holds a token that is made on the host and stays there.
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
        stream=front.behind.stream,
        places=front.behind.places,
        tokenless=(*front.behind.tokenless, *(() if front.own_token else (front.behind.port,))),
        address={"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(address, address.strip("[]")),  # noqa: S104
        scheme="https" if front.certificate else "http",
        ca=front.ca,
        verify=front.verify,
        apply=Apply.RELOAD,
        accepts=Accepts.LINES,
        front=front,
        drain=drain,
    )


def rights(mode: int, owner: str, group: str) -> str:
    """Mode, owner and group as ls and chown have them: 0600 root:root."""
    return f"{mode:04o} {owner}:{group}"
