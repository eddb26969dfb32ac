"""What a host can be told: a class a verb, frozen. Pure.

A class says of its verb what a step of it holds, what a host answers, and what it does there; the journal, restricted
mode and what is sent to hosts follow from that. The host's half is the function of the same name in `hivekeys.host`,
with the same fields.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args

from hivekeys.protocol.admitted import Admitted
from hivekeys.protocol.audited import Accessed, Audited, Query
from hivekeys.protocol.change import Change
from hivekeys.protocol.drained import Drained
from hivekeys.protocol.inspected import Behind, Inspected
from hivekeys.protocol.listeners import Swept
from hivekeys.protocol.metered import Metered
from hivekeys.protocol.restriction import Restriction
from hivekeys.protocol.seen import HostRecord, Place, Proof, Seen
from hivekeys.protocol.tombstone import Remembered, Stone
from hivekeys.service import Service
from hivekeys.token import Fingerprint, Token

A = TypeVar("A")


class Verb(Enum):
    """The verbs by name, as a request, the journal and the agent's own table have them."""

    HELLO = "hello"
    OBSERVE = "observe"
    PROBE_WRITE = "probe_write"
    STAGE = "stage"
    ACCEPT = "accept"
    SWAP = "swap"
    RESTART = "restart"
    NOTIFY = "notify"
    ADMIT = "admit"
    PROVE = "prove"
    REVERT = "revert"
    RETIRE = "retire"
    DISCARD = "discard"
    RECALL = "recall"
    REVOKE = "revoke"
    FENCE = "fence"
    SWEEP = "sweep"
    END_SURVIVORS = "end_survivors"
    DRAIN = "drain"
    UNCORDON = "uncordon"
    BUSY = "busy"
    METER = "meter"
    INSPECT = "inspect"
    LOOK_BEHIND = "look_behind"
    AUDIT = "audit"
    ACCESSES = "accesses"
    TOMBSTONES = "tombstones"
    FIX = "fix"
    INSTALL = "install"
    UNINSTALL = "uninstall"
    FRONT = "front"
    WATCH = "watch"
    RESTRICT = "restrict"


STEPS: "dict[Verb, type[Step]]" = {}  # the class of each verb


@dataclass(frozen=True)
class Step:
    """A verb for one host."""

    verb: ClassVar[Verb]
    touches: ClassVar[bool]  # the host is another afterwards: a later run asks who changed it last
    moves: ClassVar[bool]  # the service ends, or begins anew
    turns: ClassVar[bool]  # the service may run on another token afterwards
    always: ClassVar[bool]  # asked whatever a host shows: it brings no token there
    module: ClassVar[str]  # of hivekeys.host.verbs, sent when it is asked for; "" for what every agent can do

    def __init_subclass__(
        cls,
        touches: bool = False,
        moves: bool = False,
        turns: bool = False,
        always: bool = False,
        module: str = "",
    ) -> None:
        """Enters the class into STEPS, under the verb that it is named after."""
        super().__init_subclass__()
        name = re.sub(r"\B([A-Z])", r"_\1", cls.__name__).lower()
        if name in (verb.value for verb in Verb):
            cls.verb = Verb(name)
            cls.touches, cls.moves, cls.turns, cls.always, cls.module = touches, moves, turns, always, module
            STEPS[cls.verb] = cls


@dataclass(frozen=True)
class Answered(Step, Generic[A]):
    """A verb to which a host answers more than how it went: an A."""

    @classmethod
    def answer(cls) -> Any:
        """The type A."""
        return get_args(cast("Any", cls).__orig_bases__[0])[0]


# -- what a run does


@dataclass(frozen=True)
class Greeting:
    """Who speaks: sent once per line, before anything else. `write` takes the host's lock."""

    fleet: str
    key: bytes
    run: str
    who: str
    write: bool = False
    epoch: int = 0
    claim: bool = True  # False: the lock alone, for work that is no rotation
    sitting: tuple[int, str] = (0, "")  # how often the run was taken up, and an id of this process's own
    take_over: bool = False  # another run that has the host's lock is ended
    revoked: Mapping[str, str] = field(default_factory=dict)  # keyed fingerprints of leaked tokens → who revoked them


@dataclass(frozen=True)
class Hello(Answered[HostRecord]):
    """Begins a session. With it a host learns all tokens that this process knows, for proofs; none is written.

    `beside`: the service shares the machine of another; restricted mode refuses that. `seen`: the run that had changed
    the host when this process first looked.
    """

    greeting: Greeting
    service: Service
    beside: bool = False
    seen: Place | None = None


@dataclass(frozen=True)
class Observe(Answered[Seen]):
    """What the host shows: its slots, its unit, what the service has loaded."""


@dataclass(frozen=True)
class ProbeWrite(Step):
    """Whether a file can be written where the token will be."""


@dataclass(frozen=True)
class Stage(Step, touches=True):
    """The new token is written, beside the old one."""

    want: Fingerprint


@dataclass(frozen=True)
class Accept(Step, touches=True, turns=True, module="accept"):
    """The list of tokens that the service accepts holds these alone, in this order: the first is the one to present."""

    tokens: tuple[Fingerprint, ...]


@dataclass(frozen=True)
class Swap(Step, touches=True, turns=True):
    """The staged token becomes the active one, and that the previous one."""

    want: Fingerprint


@dataclass(frozen=True)
class Restart(Step, touches=True, moves=True, turns=True):
    """The service is restarted."""


@dataclass(frozen=True)
class Notify(Answered[Admitted], touches=True, turns=True, always=True, module="notify"):
    """The service is told that its token file is another, and reads it without a restart."""


@dataclass(frozen=True)
class Admit(Answered[Admitted], touches=True, turns=True, module="admit"):
    """The front lets in these tokens, the newest first, and no others; none named: the active one.

    Without `at_once` no request breaks, and what was let in before goes on to its end; with it, it is cut.
    """

    tokens: tuple[Fingerprint, ...] = ()
    at_once: bool = False


@dataclass(frozen=True)
class Prove(Answered[Proof], always=True):
    """The service lets in `want` and refuses all else. None: the token that its file holds."""

    want: Fingerprint | None = None
    refuse: tuple[Fingerprint, ...] = ()
    stable: bool = True  # and it does so for as long as the fleet's policy says
    waits: bool = True  # it is given time to come up; False for a mere look, at a service that was not just started
    log: bool = False  # its log is read as well
    also: Fingerprint | None = None  # what it lets in besides `want`; sent only where a service accepts two


@dataclass(frozen=True)
class Revert(Step, touches=True, turns=True):
    """The previous token becomes the active one again."""

    want: Fingerprint


@dataclass(frozen=True)
class Retire(Step, touches=True):
    """The previous token is removed, once the active one is `want`."""

    want: Fingerprint


@dataclass(frozen=True)
class Discard(Step, touches=True):
    """The staged token is removed."""


@dataclass(frozen=True)
class Recall(Answered[Token]):
    """The token itself, for a run that has lost it."""

    want: Fingerprint


@dataclass(frozen=True)
class Revoke(Step, touches=True, always=True):
    """These tokens leaked: their tombstones are laid, and nothing ever writes them there again."""

    tokens: tuple[Fingerprint, ...]


@dataclass(frozen=True)
class Fence(Step, touches=True, moves=True):
    """The service is stopped, and stays so."""


@dataclass(frozen=True)
class Sweep(Answered[Swept], always=True, module="sweep"):
    """Every place on the host that listens is asked whether it takes one of these tokens."""

    refuse: tuple[Fingerprint, ...]


@dataclass(frozen=True)
class EndSurvivors(Step, touches=True, always=True, module="sweep"):
    """Processes that outlived the restart are ended."""

    refuse: tuple[Fingerprint, ...]


@dataclass(frozen=True)
class Drain(Answered[Drained], touches=True, always=True, module="drain"):
    """The service is given no new work (`before`), and is waited for `until` it has none left.

    Host, phase and reason are for the environment of the operator's commands. `hurries`: ten seconds at most, then the
    restart ends the work. `marks`: only noted, for a `before` that is done on the bastion.
    """

    host: str
    phase: str
    reason: str = ""
    hurries: bool = False
    marks: bool = False


@dataclass(frozen=True)
class Uncordon(Answered[Drained], touches=True, always=True, module="drain"):
    """The service is given work again (`after`), if a run has drained it."""

    host: str
    phase: str
    reason: str = ""


@dataclass(frozen=True)
class Busy(Answered[Drained], always=True, module="drain"):
    """Whether the service has work now, by what the inventory's `until` sees."""

    host: str
    phase: str
    reason: str = ""


@dataclass(frozen=True)
class Meter(Answered[Metered], always=True, module="meter"):
    """What was counted since the last time; calls go on with `want`. None: the token that the service's file holds."""

    want: Fingerprint | None = None


# -- what is only asked


@dataclass(frozen=True)
class Inspect(Answered[Inspected], module="inspect"):
    """All that `verify` checks on a host."""


@dataclass(frozen=True)
class LookBehind(Answered[Behind], module="look_behind"):
    """What `verify` checks on a front, and on the service behind it."""


@dataclass(frozen=True)
class Audit(Answered[Audited], module="audit"):
    """What the service's audit records say."""

    query: Query


@dataclass(frozen=True)
class Accesses(Answered[Accessed], module="accesses"):
    """Who opened the token file, by auditd's record."""

    query: Query


@dataclass(frozen=True)
class Tombstones(Answered[Remembered], module="tombstones"):
    """Which leaked tokens the host remembers."""


# -- upkeep, which restricted mode refuses. `options`: what it may do beyond the usual


Changes = tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Fix(Answered[Changes], module="fix"):
    """Permissions and owners are repaired, and what earlier runs left behind goes. Without `apply`: only looked at."""

    apply: bool = False
    options: tuple[str, ...] = ()
    want: Fingerprint | None = None  # the fleet's token, if known: a file that holds it may change hands


@dataclass(frozen=True, kw_only=True)
class Install(Answered[Changes], module="install"):
    """The unit is made to read the token file. Without `apply`: what would be done."""

    apply: bool = False
    options: tuple[str, ...] = ()
    want: Fingerprint | None = None
    stones: tuple[Stone, ...] = ()  # what the host's fellows remember of tokens that leaked


@dataclass(frozen=True, kw_only=True)
class Uninstall(Answered[Changes], module="uninstall"):
    """What hivekeys put there is taken away. Without `apply`: what would be."""

    apply: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Front(Answered[Changes], module="front"):
    """nginx is set up before the service, or taken away. Without `apply`: what would be done.

    `host`: its name, for the environment of the operator's commands, where the service has a drain. `want`: the fleet's
    token, where the service asks for none, so that the front could take over none.
    """

    apply: bool = False
    options: tuple[str, ...] = ()
    host: str = ""
    want: Fingerprint | None = None


@dataclass(frozen=True, kw_only=True)
class Watch(Answered[Changes], module="watch"):
    """auditd is told to note who opens the token file. Without `apply`: what would be done."""

    apply: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Restrict(Answered[Changes], module="restrict"):
    """The agent is installed, and one account may run it and nothing else; without `restriction` that ends."""

    apply: bool = False
    options: tuple[str, ...] = ()
    restriction: Restriction | None = None


UPKEEP = (Fix, Install, Uninstall, Front, Watch, Restrict)
