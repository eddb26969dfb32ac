"""A step for one host, and the reply to it. Frozen values. Pure.

What a host shows of itself is in `shown`. All times are seconds.
"""

from dataclasses import dataclass
from enum import Enum

from hivekeys.protocol.audited import Accesses, Audited, Query
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.change import Change
from hivekeys.protocol.inspected import Inspected
from hivekeys.protocol.restriction import Restriction
from hivekeys.protocol.shown import HostRecord, Proof, Seen
from hivekeys.protocol.tombstone import Remembered, Stone
from hivekeys.token import Fingerprint, Token


class Verb(Enum):
    """What an agent can do; the same names as in agent.py."""

    HELLO = "hello"
    OBSERVE = "observe"
    PROBE_WRITE = "probe_write"
    STAGE = "stage"
    SWAP = "swap"
    RESTART = "restart"
    PROVE = "prove"
    REVERT = "revert"
    RETIRE = "retire"
    DISCARD = "discard"
    RECALL = "recall"
    REVOKE = "revoke"
    FENCE = "fence"
    SWEEP = "sweep"
    END_SURVIVORS = "end_survivors"
    INSPECT = "inspect"
    AUDIT = "audit"
    ACCESSES = "accesses"
    TOMBSTONES = "tombstones"
    FIX = "fix"
    INSTALL = "install"
    UNINSTALL = "uninstall"
    WATCH = "watch"
    RESTRICT = "restrict"


@dataclass(frozen=True)
class Step:
    """One verb for one host. `want` must work afterwards, `refuse` must not; REVOKE never lets the latter come back."""

    verb: Verb
    want: Fingerprint | None = None
    refuse: tuple[Fingerprint, ...] = ()
    stable: bool = True  # a proof also watches for the stability window
    waits: bool = True  # and waits for health: False for a mere look, at a service that nobody has just started
    log: bool = False  # a proof also reads the service's log
    apply: bool = False  # upkeep is done, not only shown
    options: tuple[str, ...] = ()  # of upkeep: what it may do beyond the usual
    query: Query | None = None  # of audit and accesses
    restriction: Restriction | None = None  # what restrict puts there; none to take it away
    stones: tuple[Stone, ...] = ()  # install: what the host's fellows remember of tokens that leaked


@dataclass(frozen=True)
class Result:
    """How one step went, and how many seconds it took on the host."""

    verb: Verb
    changed: bool
    seconds: float


@dataclass(frozen=True)
class Reply:
    """A host's answer to a list of steps: what was done, why it stopped, what it shows now."""

    results: tuple[Result, ...]
    cause: Cause | None = None
    broke: Result | None = None  # the step that failed: it is none of `results`
    seen: Seen | None = None
    proof: Proof | None = None
    met: HostRecord | None = None
    token: Token | None = None  # only after recall
    inspected: Inspected | None = None
    audited: Audited | None = None
    accesses: Accesses | None = None
    remembered: Remembered | None = None
    changes: tuple[Change, ...] = ()  # of upkeep: done, or with `apply` left out only found
