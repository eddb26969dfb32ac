"""The events of a run, as frozen values. Pure.

`run.fold` makes a run of them; `store` keeps them. All times are seconds.
"""

from dataclasses import dataclass
from enum import Enum

from hivekeys.errors import ExitCode
from hivekeys.journal.clock import Moment
from hivekeys.protocol.audited import Use
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.change import Change
from hivekeys.protocol.drained import Drained
from hivekeys.protocol.messages import Result
from hivekeys.protocol.metered import Metered
from hivekeys.protocol.seen import HostRecord, Proof, Seen
from hivekeys.protocol.verbs import Verb
from hivekeys.token import Fingerprint


class Phase(Enum):
    """The named parts of a run."""

    LOOK = "look"
    CLAIM = "claim"
    STAGE = "stage"
    QUEEN = "queen"
    CANARY = "canary"
    WAVE = "wave"
    CLIENTS = "clients"
    ACCEPT = "accept"
    USE = "use"
    DROP = "drop"
    SETTLE = "settle"
    RETIRE = "retire"
    FENCE = "fence"
    REUSE = "reuse"
    ROLLBACK = "rollback"
    FIX = "fix"
    INSTALL = "install"
    UNINSTALL = "uninstall"
    WATCH = "watch"
    BACKUP = "backup"


# The course of a run that brings a token.
PREPARING = (Phase.LOOK, Phase.CLAIM, Phase.STAGE)
TURNS = (Phase.QUEEN, Phase.CANARY, Phase.WAVE, Phase.CLIENTS)  # services are restarted, and proven
ENDING = (Phase.SETTLE, Phase.RETIRE)
# Instead of TURNS, where all services accept two tokens: each on every host, before any host begins the next.
PASSES = (Phase.ACCEPT, Phase.USE, Phase.DROP)
# The way back. Of hosts that accept two tokens all use their old one again, before any drops the new one.
RETURN = (Phase.REUSE, Phase.ROLLBACK)


class Status(Enum):
    """How one host did in one phase."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"  # not reached, and nothing was sent in this phase
    UNKNOWN = "unknown"  # the line broke after something was sent, and no second look was possible


class State(Enum):
    """Where a host ended. Every host of a run has exactly one; the runbook has a heading for each."""

    PROVEN = "proven"
    BOTH = "both"  # it accepts the new token and the old one, between the passes; a client: it has the new one
    HEALTHY = "healthy"  # serves the new token as far as can be told: no protected path is configured
    UNCHANGED = "unchanged"
    ROLLED_BACK = "rolled back"
    OWES = "owes"  # the fleet went on without it: it serves the old token
    FENCED = "fenced"  # it could not be turned, and its service was stopped: it accepts no call
    CORDONED = "cordoned"  # it was drained, and could not be given work again
    EXCLUDED = "excluded"  # excluded from the fleet by the operator, or gone from the inventory: it is not contacted
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


TURNED = (State.PROVEN, State.HEALTHY)  # on the token that the run brings


@dataclass(frozen=True)
class RunStarted:
    """A run begins; the order of `waves` is the order of change."""

    run: str
    fleet: str
    who: str
    reason: str
    hosts: tuple[str, ...]
    waves: tuple[tuple[Phase, tuple[str, ...]], ...]
    left_out: tuple[str, ...]
    when: Moment
    task: str = "rotate"  # or revoke; or fix, install, uninstall, backup: upkeep, which can't be resumed
    version: str = ""  # of hivekeys
    inventory: str = ""  # SHA-256 of the file that the fleet was read from
    fence: bool = False  # services that cannot be turned are stopped
    excluded: tuple[str, ...] = ()  # excluded from the fleet: never contacted, in no wave, no debt
    clients: tuple[str, ...] = ()  # hosts that only present the token, whether or not they are in a wave
    passes: bool = False  # all services accept two tokens: accept, use and drop instead of one turn
    window: str = ""  # whether it was an allowed time, and until when; "" for a fleet without windows
    plan: str = ""  # the approved plan that it carries out
    approvers: int = 0  # so many persons must approve it, before or, for a revocation, afterwards


@dataclass(frozen=True)
class Signed:
    """A person's SSH signature, the lines of its file, and the public key that it was checked with."""

    person: str
    key: str
    fingerprint: str  # of the key, as `ssh-keygen -l` shows it
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Approved:
    """Persons have approved the run: what they signed, line by line, and their signatures, which anybody can check.

    They signed the plan that it carries out; or, of a revocation, the statement of what was done.
    """

    plan: str  # its id
    digest: str  # SHA-256 of what was signed
    lines: tuple[str, ...]
    signatures: tuple[Signed, ...]
    when: Moment
    afterwards: bool = False
    namespace: str = "hivekeys-plan@v1"  # what it was signed for

    @property
    def persons(self) -> tuple[str, ...]:
        """Who signed, each once."""
        return tuple(dict.fromkeys(signed.person for signed in self.signatures))


@dataclass(frozen=True)
class PhaseStarted:
    """A phase begins on these hosts."""

    phase: Phase
    hosts: tuple[str, ...]
    when: Moment
    title: str = ""


@dataclass(frozen=True)
class TokenChosen:
    """The token that this run brings: made once, before the first host holds it."""

    fingerprint: Fingerprint
    when: Moment
    given: bool = False  # by the operator (--token-file), not made here


@dataclass(frozen=True)
class TokensRevoked:
    """These tokens leaked, or lay on a host beside one that leaked: nothing may write them again."""

    fingerprints: tuple[Fingerprint, ...]
    when: Moment
    unshared: tuple[tuple[str, Fingerprint], ...] = ()  # (host, token): held there alone, no other is asked with it
    shared: bool = False  # not one host's alone: all are asked with them, those as well that were asked before


@dataclass(frozen=True)
class Retried:
    """Hosts that failed are tried once more; their failures are cleared."""

    attempt: int  # from 2 on
    hosts: tuple[str, ...]
    when: Moment


@dataclass(frozen=True)
class Waiting:
    """Another run has the host's lock, as `cause` says; this run waits for it, at most so many seconds."""

    host: str
    cause: Cause
    seconds: float
    when: Moment


@dataclass(frozen=True)
class Intent:
    """Recorded before a host is sent anything that changes it."""

    host: str
    phase: Phase
    verbs: tuple[Verb, ...]
    when: Moment


@dataclass(frozen=True)
class Outcome:
    """How a host did in a phase. The loop decides from these; every report is made of them."""

    host: str
    phase: Phase
    status: Status
    state: State  # where this leaves the host
    when: Moment
    cause: Cause | None = None
    seen: Seen | None = None
    proof: Proof | None = None
    met: HostRecord | None = None
    results: tuple[Result, ...] = ()
    changes: tuple[Change, ...] = ()
    broke: Result | None = None  # the step that failed: it is none of `results`
    drained: Drained | None = None
    cut: int = 0  # connections of clients that a front had let in with a token that leaked

    @property
    def steps(self) -> tuple[Result, ...]:
        """Every step that was begun, in order: after a failure only a last look is done."""
        if self.broke is None:
            return self.results
        looks = self.results[-1:] if self.results and self.results[-1].verb is Verb.OBSERVE else ()
        return (*self.results[: len(self.results) - len(looks)], self.broke, *looks)


@dataclass(frozen=True)
class OperatorAsked:
    """The operator is asked whether the run goes on. Until the answer nothing is done."""

    when: Moment


@dataclass(frozen=True)
class OperatorAnswered:
    """What the operator said."""

    yes: bool
    when: Moment


@dataclass(frozen=True)
class Claimed:
    """The run's place in the order of all runs over this fleet: hosts refuse what comes from an earlier one."""

    epoch: int
    when: Moment


@dataclass(frozen=True)
class Resumed:
    """The run is taken up again with all that happened before; every host gets another chance."""

    who: str
    hosts: tuple[str, ...]
    waves: tuple[tuple[Phase, tuple[str, ...]], ...]
    left_out: tuple[str, ...]
    when: Moment
    excluded: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()  # hosts of the run that the inventory has no longer
    clients: tuple[str, ...] = ()
    fence: bool = False  # from now on services that cannot be turned are stopped
    window: str = ""  # as of `RunStarted`


@dataclass(frozen=True)
class Readmitted:
    """Excluded hosts come back into the fleet: the operator says that they were rebuilt."""

    hosts: tuple[str, ...]
    when: Moment


@dataclass(frozen=True)
class Superseded:
    """The run was cut off, and a later revocation does everything that was left to do."""

    by: str  # that run
    when: Moment


@dataclass(frozen=True)
class Paused:
    """The run was interrupted and can be resumed; with `code` its command ended."""

    when: Moment
    code: ExitCode = ExitCode.INTERRUPTED


@dataclass(frozen=True)
class Stopped:
    """The run does not go on: why, in one sentence. What follows is the way back."""

    phase: Phase
    why: str
    when: Moment


@dataclass(frozen=True)
class OverlapBegan:
    """Every host uses the new token and accepts the old one as well: clients have `until` then to change (epoch)."""

    until: float
    when: Moment


@dataclass(frozen=True)
class FellBack:
    """Services do not accept two tokens as the inventory says: the run goes on with one at a time."""

    why: str
    when: Moment


@dataclass(frozen=True)
class RunEnded:
    """The run is over."""

    code: ExitCode
    when: Moment


@dataclass(frozen=True)
class CensusTaken:
    """What the services' records said of the old tokens just before these were to be retired.

    `unread`: hosts whose records say nothing, and why. `anyway`: the operator has them retired whatever it says.
    """

    uses: tuple[Use, ...]
    unread: tuple[tuple[str, str], ...]
    anyway: bool
    when: Moment

    @property
    def holds(self) -> bool:
        """True when an old token was accepted: to retire it would cut its user off."""
        return not self.anyway and any(use.ok for use in self.uses)


@dataclass(frozen=True)
class MeterRead:
    """What a host's meter has counted since it was read the last time."""

    host: str
    counted: Metered
    when: Moment


_Begun = RunStarted | Claimed | Resumed | PhaseStarted | TokenChosen | TokensRevoked | Retried
_Asked = OperatorAsked | OperatorAnswered
_Over = OverlapBegan | FellBack | Stopped | Paused | Superseded | RunEnded
Event = _Begun | Approved | Readmitted | Waiting | Intent | Outcome | MeterRead | CensusTaken | _Asked | _Over
# Kinds as older journals have them → today's.
FORMER = {"Again": "Retried", "Condemned": "TokensRevoked"}
