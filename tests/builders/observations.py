"""A host as it should be, as the checklist sees it, and one that nobody could ask."""

from hivekeys.fleet import HIVE_SERVICE, QUEEN_SERVICE, Host, Role
from hivekeys.protocol.inspected import Chain, InEnvironment, Inspected, Lock, Log, Login, Parent, Quality, Trail
from hivekeys.protocol.seen import Directory, LoadedToken, Proof, Seen, Slot, Unit
from hivekeys.token import Fingerprint
from hivekeys.verify.findings import Baseline, Observation, Other, Record

DAY = 86400.0
NOW = 1_800_000_000.0
TOKEN = Fingerprint(keyed="ab" * 32, fp6="abcdef")
HIVE = Host("hive1", Role.HIVE, "10.0.0.1", service=HIVE_SERVICE)
QUEEN = Host("queen", Role.QUEEN, "10.0.0.2", service=QUEEN_SERVICE)
SEEN = Seen(
    directory=Directory(mode=0o700, owner="llama-orch", group="llama-orch"),
    active=Slot(TOKEN, mode=0o600, owner="llama-orch", group="llama-orch", size=65, modified=NOW - DAY),
    staged=None,
    previous=None,
    unit=Unit("loaded", "active", "running", 42, 0, NOW - 60, HIVE_SERVICE.token, "api-token", env_token=False),
    loaded=LoadedToken(TOKEN, "credential"),
    clock=NOW,
)
INSPECTED = Inspected(
    parents=(Parent("/", 0o755, "root"), Parent("/etc/llama-orch", 0o755, "llama-orch")),
    hardening={"NoNewPrivileges": "yes", "PrivateTmp": "yes", "ProtectSystem": "strict", "ProtectHome": "yes"},
    kill_signal="15",
    kill_mode="control-group",
    survivors=(),
    enabled="enabled",
    environment=InEnvironment((), ()),
    systemd=252,
    log=Log(loaded=True, dev_mode=False),
    audit=Trail(on=True, folder="/var/log/llama-orch/audit", mode=0o750, owner="llama-orch", newest=NOW),
    watch=True,
    temporary=(),
    chain=Chain(files=2, records=1000),
    lock=Lock(held=False),
    login=Login("deploy", restricted=False, rules=("(ALL : ALL) NOPASSWD: ALL",)),
    free=1 << 30,
    acl=(),
    links=1,
    quality=Quality(64, 16, 3, 64, 40, 0),
    strays=(),
    reused=(),
)
SWEPT = Proof({}, proven=False, places=(), survivors=())
GOOD = Observation(
    HIVE,
    SEEN,
    INSPECTED,
    Proof({"new": 200}, proven=True),
    off=0.0,
    held=frozenset(),
    swept=SWEPT,
    machine="a" * 64,
)
UNMET = Observation(HIVE, complaint="no-connection: no answer in time", unproven="no-connection")
NORM = Baseline(TOKEN, now=NOW, record=Record({}, "lab-1", TOKEN), other=Other("staging", {}, {}))
