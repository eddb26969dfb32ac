"""What a run may do, what this process knows beside its events, and what it does next, as data. Pure."""

from dataclasses import dataclass
from enum import Enum

from hivekeys.fleet import Fleet
from hivekeys.journal.events import Phase
from hivekeys.rotation.steps import Part
from hivekeys.rotation.waves import Wave
from hivekeys.token import Fingerprint


@dataclass(frozen=True)
class Plan:
    """What a run may do. All times are seconds."""

    goes_back: bool = True  # a failure takes back every change
    back: bool = False  # the operator asked to roll back
    revokes: bool = False
    attempts: int = 1  # times that a host is tried
    pause: float = 0.0  # between two waves, and before hosts are tried again
    patience: float | None = None  # that the slower half of the hosts may take longer; then it is left behind
    may_be_missing: frozenset[str] = frozenset()  # hosts that do not stop the others when they cannot be reached
    census: bool = False  # the services' records are asked who still uses the old tokens (the verb `audit`)
    retire_anyway: bool = False  # the old tokens are retired whatever the census says
    leaked: frozenset[Fingerprint] = frozenset()  # tokens to revoke besides those that hosts show
    ends_survivors: bool = False  # processes that outlived a restart and were not shown to refuse are ended
    overlap: float = 0.0  # that clients have to change, where services accept two tokens; none: the old one is dropped
    finishes: bool = False  # the operator ends the overlap
    no_refusal: bool = False  # a client's request that was refused, or broke, takes back every change
    gone_back: frozenset[str] = frozenset()  # later runs that left the hosts as they were; others supersede it


ROTATION = Plan()


RECONCILE = Plan(goes_back=False)


REVOCATION = Plan(goes_back=False, revokes=True, attempts=3, pause=3.0, patience=2.0)


@dataclass(frozen=True)
class Here:
    """What this process knows beside the run's events. `names`: the run's hosts, the queen first."""

    fleet: Fleet
    waves: tuple[Wave, ...]
    names: tuple[str, ...]
    interrupted: bool = False
    holds: bool = False  # the run's token is in its memory
    asked_for_tokens: bool = False  # whether hosts were asked for the tokens that they hold
    rested: bool = False  # no retry and no wait is left before the next phase
    stragglers: frozenset[str] = frozenset()  # hosts that were left behind and are still at work
    back: frozenset[str] = frozenset()  # hosts that were left behind and have answered: they begin anew


@dataclass(frozen=True)
class Do:
    """One phase on these hosts at once; of a wave perhaps only a part, and the other next."""

    phase: Phase
    hosts: tuple[str, ...]
    title: str = ""
    part: Part = Part.WHOLE


@dataclass(frozen=True)
class Rest:
    """Between two waves: the pause, and the operator's word."""

    wave: Wave


@dataclass(frozen=True)
class Census:
    """Ask who still uses the old tokens."""

    old: frozenset[Fingerprint]


@dataclass(frozen=True)
class Stop:
    """The run does not go on as it was meant to, and why."""

    phase: Phase
    why: str


@dataclass(frozen=True)
class Overlap:
    """Clients have so many seconds to change to the new token: the run ends before the old one is dropped."""

    seconds: float


@dataclass(frozen=True)
class FallBack:
    """Services do not accept two tokens after all: one at a time from here, and why."""

    why: str


class Act(Enum):
    """A move that concerns the whole run, not single hosts."""

    BRING = "choose the run's token"
    READ_TOKENS = "have the run's tokens back in memory, from hosts that hold them"
    RETRY = "after a pause, try those again that failed, or were left behind and have come back"
    GATHER = "wait for a host that was left behind"
    WAIT = "nothing can be decided now: the run stays open"


@dataclass(frozen=True)
class End:
    """The run is over, or interrupted. `retired`: hosts that have no way back, because their old tokens are gone."""

    retired: tuple[str, ...] = ()


Move = Do | Rest | Census | Stop | Overlap | FallBack | Act | End
