"""The state of a host as it reports it: token files, unit, process, the service's answers, its records. Pure.

Frozen values, as an agent's answers are read into them. All times are seconds.
"""

import re
from dataclasses import dataclass, replace

from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.listeners import Listener, Survivor
from hivekeys.service import Format, Service
from hivekeys.token import Fingerprint

# What a look may say would keep a run from its work on this host.
BARS = (
    Trouble.IMMUTABLE,
    Trouble.MOUNT_POINT,
    Trouble.TOKEN_UNSAFE,
    Trouble.WRITE_FAILED,
    Trouble.RESTART_REFUSED,
    Trouble.NOTIFY_REFUSED,
)
ANSWERED = ("touched", "answers")  # evidence that says nothing without the service's own answers
NO_UNIT = "no unit"  # hivekeys.host.unit.NO_UNIT: `load` of a client without one
MAX_EPOCH = 10**9  # hivekeys.host.state.MAX_EPOCH: each run adds one, so a larger number is none that hivekeys wrote


@dataclass(frozen=True)
class Slot:
    """A token file as the host shows it. `fault` says why it holds no usable token."""

    fingerprint: Fingerprint | None = None
    fault: str = ""
    mode: int = 0
    owner: str = ""
    group: str = ""
    size: int = 0
    modified: float = 0.0  # the host's clock, seconds since the epoch
    revoked: str = ""  # the run that revoked this token
    regular: bool = True  # a file, and not a link, a pipe, a directory


def _check(bar: Cause | None) -> None:
    """Refuses a bar that means something for other hosts, as a newer run does: hosts can lie."""
    if bar and bar.trouble not in BARS:
        raise ValueError("not a bar")


@dataclass(frozen=True)
class Directory:
    """The token directory. `bar`: what would keep a run from writing, there or in hivekeys' own, as far as is seen."""

    fault: str = ""
    mode: int = 0
    owner: str = ""
    group: str = ""
    bar: Cause | None = None

    def __post_init__(self) -> None:
        _check(self.bar)


@dataclass(frozen=True)
class Unit:
    """What systemd and /proc say of the service."""

    load: str
    state: str
    sub: str
    pid: int
    restarts: int
    started: float | None  # the running process, the host's clock; rounded down to a tick (10 ms)
    reads: str  # the token file that the service is told to read, "" when it cannot be told
    credential: str  # name of the systemd credential it is read through, or ""
    env_token: bool  # LLORCH_API_TOKEN is set: the service would ignore the file
    sources: tuple[str, ...] = ()  # where else than from its file the running service gets its token
    unnamed: str = ""  # why it cannot be told which file the service reads
    beside: int | None = None  # processes beside the service's own: workers; None: it cannot be told
    kill_mode: str = ""  # whom systemd ends with the service
    bar: Cause | None = None  # why systemd would refuse to restart it
    stop_seconds: float | None = None  # that systemd may wait for its end; None: its processes end at once

    def __post_init__(self) -> None:
        _check(self.bar)

    @property
    def runs(self) -> bool:
        """True for a service that runs; and for a client without a unit, whose program starts when it likes."""
        return self.state == "active" or self.load == NO_UNIT


@dataclass(frozen=True)
class LoadedToken:
    """The token that the running process read, and how that is known.

    `evidence`: credential, younger, older, none; touched and answers, where only its answers tell (ANSWERED); file,
    where there is no unit whose process could be looked at.
    """

    fingerprint: Fingerprint | None
    evidence: str


@dataclass(frozen=True)
class Accepted:
    """The file of the tokens that a service accepts: the one to present, the second one, and how many it has beyond.

    `is_read`: the running process began after it was written, or takes a change without a restart. `revoked`: of
    each of the two, whether it leaked, as the host and this bastion know.
    """

    first: Fingerprint | None = None
    second: Fingerprint | None = None
    more: int = 0
    fault: str = ""
    mode: int = 0
    owner: str = ""
    group: str = ""
    is_read: bool = True
    revoked: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Seen:
    """One look at a host: everything that decisions are made from."""

    directory: Directory
    active: Slot | None
    staged: Slot | None
    previous: Slot | None
    unit: Unit
    loaded: LoadedToken
    clock: float
    cordoned: str = ""  # the run that has drained the service, and not given it work again
    accepted: Accepted | None = None  # of a service that accepts two; None: there is no such file, or it accepts one

    @property
    def listed(self) -> tuple[Fingerprint, ...]:
        """The first two tokens that the service's list has, the one to present first; () where there is no list."""
        tokens = (self.accepted.first, self.accepted.second) if self.accepted else ()
        return tuple(token for token in tokens if token)

    @property
    def revoked(self) -> tuple[Fingerprint, ...]:
        """Those of them that leaked."""
        leaked = self.accepted.revoked if self.accepted else ()
        return tuple(token for token, is_revoked in zip(self.listed, leaked, strict=False) if is_revoked)

    @property
    def token(self) -> Fingerprint | None:
        """The fingerprint of the active slot."""
        return self.active.fingerprint if self.active else None

    def revoked_by(self, token: Fingerprint | None) -> str:
        """The run that revoked this token, where a slot holds it; "" for a token that may be used, or is not here."""
        slots = [slot for slot in (self.active, self.staged, self.previous) if slot and slot.fingerprint]
        return next((slot.revoked for slot in slots if slot.fingerprint == token), "")


@dataclass(frozen=True)
class Answer:
    """A path and the HTTP status it gave."""

    path: str
    status: int


@dataclass(frozen=True)
class Proof:
    """What the service answered: `calls` maps new, also, old, none, garbage to HTTP statuses."""

    calls: dict[str, int]
    proven: bool
    path: str = ""
    health: Answer | None = None
    healthy_after: float | None = None  # seconds from the beginning of the proof
    refused_after: float | None = None  # the same, when every old token had been refused for the first time
    logged: tuple[str, ...] | None = None  # fp6 that its service loaded or let in since its start, by its log
    places: tuple[Listener, ...] | None = None  # what every place made of the old tokens; None: not asked
    survivors: tuple[Survivor, ...] | None = None  # of the service's restart; None: not looked for
    unchecked: bool = False  # it speaks TLS, and its certificate was not checked

    def after(self, old: "Proof | None") -> "Proof":
        """This one, with what only an earlier one asked."""
        if old is None:
            return self
        places = old.places if self.places is None else self.places
        return replace(self, places=places, survivors=old.survivors if self.survivors is None else self.survivors)


@dataclass(frozen=True)
class Place:
    """A run, and its place in the order of all runs over a fleet; 0 when there was none. `who` made it."""

    epoch: int = 0
    run: str = ""
    who: str = ""


@dataclass(frozen=True)
class HostRecord:
    """What a host's own records say when a session begins: its fleet, and the last run that took its lock to write.

    `changed`: the last run that did change something there. Only that one supersedes another.
    """

    python: str = ""
    fleet: str = ""
    epoch: int = 0
    run: str = ""
    changed: Place = Place()
    machine: str = ""  # stands for the one that runs there now, under the fleet's key; "" where it cannot be told
    sudo_log: tuple[str, ...] = ()  # "input", "output": what sudo records of what passes between us and the agent

    def __post_init__(self) -> None:
        """Refuses what stands for no machine: hosts can lie."""
        if self.machine and not re.fullmatch("[0-9a-f]{64}", self.machine):
            raise ValueError("not a machine")


def not_read(seen: Seen, service: Service) -> Cause | None:
    """Why a new token file would not be read, or why that is not known."""
    unit = seen.unit
    cause = in_environment(seen, service)
    if cause or service.is_client:  # any program may be one: how it is told of its file is the operator's to know
        return cause
    if service.format is Format.TOKEN and unit.env_token and not unit.reads:
        return Cause(Trouble.TOKEN_IN_ENVIRONMENT, f"{service.unit} gets LLORCH_API_TOKEN")
    if not unit.reads:
        return Cause(Trouble.UNIT_NAMES_NO_FILE, f"{service.unit}: {unit.unnamed or 'it names no token file'}")
    if unit.reads != service.token:
        return Cause(
            Trouble.UNIT_READS_ANOTHER_FILE,
            f"{service.unit} reads {unit.reads}, the inventory says {service.token}",
        )
    return None


def in_environment(seen: Seen, service: Service) -> Cause | None:
    """Why a new token file would change nothing: the service gets its token from somewhere else as well."""
    sources = ", ".join(seen.unit.sources)
    return Cause(Trouble.TOKEN_IN_ENVIRONMENT, f"{service.unit} gets it from {sources}") if sources else None
