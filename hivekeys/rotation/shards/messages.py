"""What a run tells a worker and what that answers: JSON, versioned, bounded. A worker decides nothing.

Downward: `Begin`, then `Introduction`, `Order`, `News`, `Written`, `Interrupt`, `Alive`, `End`.
Upward: `Ready`, then `Recorded`, `Connecting`, `Done`, `Failed`, `Alive`.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.journal.events import Phase, State, Status
from hivekeys.journal.run import Run
from hivekeys.protocol.audited import Audited, Query
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.steps import Goal
from hivekeys.ssh.excluded import CutOut
from hivekeys.token import Fingerprint

FORM = 1  # of these messages
MOST = 256 * 1024 * 1024  # bytes of one message: a fleet of ten thousand hosts is a tenth of it

# -- what is to be done on one host: `hivekeys.rotation.controller.Controller`, as data


@dataclass(frozen=True)
class Look:
    """Read-only, before the run."""

    act: Literal["look"] = "look"


@dataclass(frozen=True)
class LookAgain:
    """Read-only, in a run that goes on."""

    want: Fingerprint | None
    act: Literal["look-again"] = "look-again"


@dataclass(frozen=True)
class Claim:
    """The host's lock."""

    expected: tuple[Fingerprint | None, ...]
    patient: bool
    act: Literal["claim"] = "claim"


@dataclass(frozen=True)
class Reach:
    """All steps to a goal. `anew`: a worker ended while it did them, so the host is looked at first."""

    phase: Phase
    goal: Goal
    there: State
    anew: bool = False
    act: Literal["reach"] = "reach"


@dataclass(frozen=True)
class Fence:
    """Its service is stopped."""

    act: Literal["fence"] = "fence"


@dataclass(frozen=True)
class Uncordon:
    """Work again, after a phase that ended so."""

    phase: Phase
    status: Status
    state: State
    cause: Cause | None
    act: Literal["uncordon"] = "uncordon"


@dataclass(frozen=True)
class ReadToken:
    """The token itself, for the run's memory."""

    want: Fingerprint
    act: Literal["read-token"] = "read-token"


@dataclass(frozen=True)
class Audit:
    """What the audit records say."""

    query: Query
    act: Literal["audit"] = "audit"


@dataclass(frozen=True)
class ReadMeter:
    """What was counted, into the journal."""

    act: Literal["read-meter"] = "read-meter"


@dataclass(frozen=True)
class Connect:
    """The host's connection is begun; the order is done when there is no SYN to wait for."""

    act: Literal["connect"] = "connect"


@dataclass(frozen=True)
class Close:
    """The host is let go."""

    act: Literal["close"] = "close"


Act = Annotated[
    Look | LookAgain | Claim | Reach | Fence | Uncordon | ReadToken | Audit | ReadMeter | Connect | Close,
    Field(discriminator="act"),
]

# -- downward


@dataclass(frozen=True)
class Begin:
    """A worker's hosts, and the run as it stands. `excluded`: hosts that are never dialled, and which runs say so."""

    form: int
    version: str
    fleet: Fleet
    hosts: tuple[str, ...]
    run: Run
    modules: tuple[str, ...]  # of the agent, beside those of every run
    meters: bool
    excluded: dict[str, CutOut]
    key: str = field(repr=False)  # of the fingerprints, as hex digits
    password: str | None = field(default=None, repr=False)  # for sudo


@dataclass(frozen=True)
class Introduction:
    """Who speaks to hosts from now on, and the tokens that these hosts may know; orders name it by its number."""

    number: int
    greeting: Greeting  # without its key
    tokens: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Order:
    """One host's part in a phase, or a question to it."""

    number: int
    host: str
    introduction: int
    act: Act


@dataclass(frozen=True)
class News:
    """An event that the run recorded itself, as the journal has it: kind and facts."""

    kind: str
    facts: str


@dataclass(frozen=True)
class Written:
    """The events up to this number are on the disk."""

    number: int


@dataclass(frozen=True)
class Interrupt:
    """Nothing more is begun, and no work waited for."""


@dataclass(frozen=True)
class End:
    """All hosts are let go; the worker ends."""


# -- upward


@dataclass(frozen=True)
class Ready:
    """The worker stands."""

    form: int
    version: str


@dataclass(frozen=True)
class Recorded:
    """What happened on hosts of the shard, kind and facts each. The worker goes on when it is written."""

    number: int
    events: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class AuditReply:
    """A host's answer to an audit: the records, and why there are none, or not all."""

    audited: Audited | None
    cause: Cause | None
    lost: bool  # there was no answer at all


@dataclass(frozen=True)
class Done:
    """An order was carried out; what happened is in the events before."""

    number: int
    token: str | None = field(default=None, repr=False)
    reply: AuditReply | None = None


@dataclass(frozen=True)
class Connecting:
    """Of an order to connect: from now on it is the host that lets us wait."""

    number: int


@dataclass(frozen=True)
class Failed:
    """An order (0: all of them) could not be carried out: an operator's mistake, or a bug."""

    number: int
    message: str
    hint: str = ""
    code: ExitCode = ExitCode.INCOMPLETE


@dataclass(frozen=True)
class Alive:
    """A sign of life, either way."""


Downward = Begin | Introduction | Order | News | Written | Interrupt | End | Alive
Upward = Ready | Recorded | Connecting | Done | Failed | Alive
KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*get_args(Downward), *get_args(Upward))}


class GarbledError(Exception):
    """What came is no message of ours."""


def without_key(greeting: Greeting) -> Greeting:
    """The greeting as an introduction has it."""
    return replace(greeting, key=b"", revoked=dict(greeting.revoked))


def with_key(greeting: Greeting, key: bytes) -> Greeting:
    """The greeting of an introduction, with the key that fingerprints are made with."""
    return replace(greeting, key=key)


_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


def _adapter(name: str) -> TypeAdapter[Any]:
    """Made when it is first needed: each side needs its half."""
    if name not in _ADAPTERS:
        _ADAPTERS[name] = TypeAdapter(KINDS[name])
    return _ADAPTERS[name]


def encode(message: Downward | Upward) -> bytes:
    """A message as bytes: its kind, a line end, its fields."""
    name = type(message).__name__
    return name.encode() + b"\n" + _adapter(name).dump_json(message)


def decode(data: bytes) -> Downward | Upward:
    """The message that these bytes are. Raises GarbledError; its text shows nothing of them."""
    name, _, fields = data.partition(b"\n")
    try:
        message: Downward | Upward = _adapter(name.decode()).validate_json(fields)
    except (KeyError, ValueError, RecursionError):  # pydantic's and json's errors quote what they refuse
        raise GarbledError(f"{len(data)} bytes that are no message") from None
    return message
