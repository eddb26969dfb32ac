"""The documents of inventories: checked, and written for the first time. Pure."""

from typing import Literal, NotRequired, TypedDict

from hivekeys.text.documents.head import Code, Head, RoleWord


class Hook(TypedDict):
    """What frees a service of work, or gives it work again."""

    run: list[str]
    """a program on the host"""
    http: str
    """a request to the service"""
    bastion: list[str]
    """a program on the bastion"""
    front: bool
    """the front keeps new requests off"""


class Idle(TypedDict):
    """How a host tells that no work is running."""

    get: str
    """a path of the service"""
    none: str
    """what no line of its answer may have"""
    run: list[str]
    """a program on the host"""
    every: float
    """seconds between two questions"""


class DrainSettings(TypedDict):
    """How a service is freed of work before a restart."""

    before: NotRequired[Hook]
    """what frees it"""
    until: NotRequired[Idle]
    """what is waited for"""
    after: NotRequired[Hook]
    """what gives it work again"""
    deadline: float
    """in seconds"""
    on_deadline: str
    """fail, restart, skip"""


class ServiceSettings(TypedDict):
    """What runs on a host; the reference has each key below [services]."""

    unit: str
    """empty for a program that reads the file by itself"""
    port: int
    """0 for a client"""
    health: list[str]
    """paths, tried in order"""
    protected: list[str]
    """paths, tried in order"""
    token: str
    """the path of the token file"""
    owner: str
    """of the token file"""
    group: str
    """of the token file"""
    mode: str
    """octal"""
    directory_mode: str
    """octal"""
    places: list[str]
    """where else on the host the token is taken"""
    stream: str
    """a path with long answers"""
    tokenless: list[int]
    """ports that take no token"""
    address: str
    """where the host itself reaches it"""
    scheme: str
    """http or https"""
    ca: str
    """with which its certificate is checked"""
    verify: bool
    """whether it is"""
    format: str
    """token or environment"""
    apply: str
    """restart, reload, signal, watch"""
    signal: str
    """for apply = "signal\""""
    drain: NotRequired[DrainSettings]
    """how it is freed of work"""
    accepts: str
    """one, lines, pair"""
    tokens: str
    """the list, for accepts = "lines\""""


class FrontSettings(TypedDict):
    """nginx before a service."""

    listen: str
    """where clients reach it"""
    behind: ServiceSettings
    """the service behind it"""
    certificate: str
    """of a front that speaks TLS"""
    key: str
    """of a front that speaks TLS"""
    ca: str
    """with which the certificate is checked"""
    verify: bool
    """whether it is"""
    public: list[str]
    """paths that need no token"""
    start: str
    """the command with which the service listens on loopback"""
    firewall: bool
    """nftables keeps others from the service"""
    own_token: bool
    """the service asks for a token of its own"""


class Service(ServiceSettings):
    """What runs on a host, and what stands before it."""

    front: NotRequired[FrontSettings]
    """the front, where there is one"""


class InventoryHost(TypedDict):
    """A host of an inventory; null is what OpenSSH's configuration decides."""

    name: str
    """its name"""
    role: RoleWord
    """queen, hive, client"""
    address: str
    """where it is"""
    port: int | None
    """of its sshd"""
    user: str | None
    """as whom to log in"""
    key: str | None
    """with which key"""
    jump: str | None
    """through which hosts"""
    become: str
    """how to become root"""
    beside: str | None
    """the host whose machine it shares"""
    groups: list[str]
    """its groups"""
    service: Service
    """what runs there"""


class Tried(TypedDict):
    """A trial notification."""

    told: bool
    """it arrived, as far as can be told"""
    wrong: str | None
    """what went wrong"""


class Inventory(Head):
    """A fleet as its inventory describes it: fab inventory.check."""

    form: Literal["inventory"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """6 when a trial notification failed"""
    source: str
    """the fleet's file"""
    files: list[str]
    """files of other forms that its hosts come from"""
    not_read: list[str]
    """settings in them that were not read"""
    hosts: list[InventoryHost]
    """in their order"""
    notify: dict[str, Tried] | None
    """each of [notify], with --try-notify"""


class Init(Head):
    """A first inventory: fab init."""

    form: Literal["init"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0"""
    file: str
    """the file that was written; with --print the one that it would be"""
    hosts: list[str]
    """the names of its hosts"""
    text: str | None
    """what stands in the file; only with --print, which writes none"""
