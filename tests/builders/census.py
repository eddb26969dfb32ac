"""A census of a fleet of one hive, in which the old token was used or not."""

from dataclasses import replace
from typing import Any

from hivekeys.audit.census import Census, HostCensus, Tokens
from hivekeys.protocol.audited import Audited, Group
from tests.builders.observations import NOW, TOKEN

OLD, NEW = "0ddba1", TOKEN.fp6
TOKENS = Tokens(frozenset({NEW}), frozenset({OLD}))
READ = Audited(
    on=True,
    folder="/var/log/llama-orch/audit",
    found=True,
    clock=NOW,
    groups=(),
    newest=(),
    files=1,
    size=1 << 20,
    lines=10,
    matched=3,
    broken=0,
    folded=0,
    places=(),
    unread=(),
    cut="",
    breaks=(),
    chained=10,
    chain_cut="",
    replaced=NOW - 100,
)


def group(**changes: Any) -> Group:
    usual = Group("rbee-hive", False, OLD, "/v1/workers/list", "10.0.0.9", 5, 2, NOW - 900, NOW - 10)
    return replace(usual, **changes)


def census(*groups: Group, audited: Audited = READ) -> Census:
    return Census("prod", TOKENS, (HostCensus("hive1", replace(audited, groups=groups), None, 0.0),))
