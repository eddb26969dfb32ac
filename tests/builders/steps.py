"""A step of every verb, as bastions send it."""

from hivekeys.fleet import HIVE_SERVICE
from hivekeys.protocol import verbs
from hivekeys.protocol.audited import Query, Time
from hivekeys.protocol.restriction import Restriction
from hivekeys.protocol.seen import Place
from hivekeys.protocol.tombstone import Stone
from hivekeys.protocol.verbs import Greeting, Hello, Step
from hivekeys.token import Fingerprint, Token

TOKEN = Token("recognisable" * 6)
PRINT = TOKEN.fingerprint(b"key")
GREETING = Greeting("blue", b"\x01\xff", "run-1", "ann@bastion", write=True, epoch=7)
QUERY = Query(Time(3600.0, before_now=True), Time(1.7e9), ("0a1b2c",), True, 100, 1.7e9, 86400.0, 1 << 40, 600.0, False)


def every_step(want: Fingerprint = PRINT) -> tuple[Step, ...]:
    """One of each verb, all fields filled in, all about this token."""
    stone = Stone("a" * 32, "b" * 64, "run-0")
    restriction = Restriction("deploy", "#!/usr/bin/python3", "deploy ALL=(root) NOPASSWD: /x", "restrict key")
    return (
        Hello(GREETING, HIVE_SERVICE, seen=Place(6, "run-0", "bob@bastion")),
        verbs.Observe(),
        verbs.ProbeWrite(),
        verbs.Stage(want),
        verbs.Accept((want,)),
        verbs.Swap(want),
        verbs.Restart(),
        verbs.Notify(),
        verbs.Admit((want,), at_once=True),
        verbs.Prove(want, (want,), also=want),
        verbs.Revert(want),
        verbs.Retire(want),
        verbs.Discard(),
        verbs.Recall(want),
        verbs.Revoke((want,)),
        verbs.Fence(),
        verbs.Sweep((want,)),
        verbs.EndSurvivors((want,)),
        verbs.Drain("hive1", "wave", "it leaked", hurries=True, marks=True),
        verbs.Uncordon("hive1", "wave", "it leaked"),
        verbs.Busy("hive1", "look", "it leaked"),
        verbs.Meter(want),
        verbs.Inspect(),
        verbs.LookBehind(),
        verbs.Audit(QUERY),
        verbs.Accesses(QUERY),
        verbs.Tombstones(),
        verbs.Fix(apply=True, options=("strays",), want=want),
        verbs.Install(apply=True, options=("harden",), want=want, stones=(stone,)),
        verbs.Uninstall(apply=True, options=("last",)),
        verbs.Front(apply=True, host="hive1", want=want),
        verbs.Watch(apply=True, options=("remove",)),
        verbs.Restrict(apply=True, restriction=restriction),
    )
