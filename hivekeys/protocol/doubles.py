"""Finds hosts whose names lead to the same machine. Pure.

What is done under one of the names is done under the other as well, and one of the hosts that were meant is never
reached. The machine itself says which it is (`HostRecord.machine`), in no answer but its own: no other host can say it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from hivekeys.fleet import Host
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.text.names import fold_names


def doubles(hosts: Iterable[Host], machines: Mapping[str, str]) -> dict[str, Cause]:
    """The hosts whose machine has the name of another one too, though the inventory does not put one beside the other.

    `machines`: what stands for the machine of each host that has said it; "" stands for none.
    """
    there: dict[str, list[Host]] = defaultdict(list)
    for host in hosts:
        if machines.get(host.name):
            there[machines[host.name]].append(host)
    return {host.name: cause for one in there.values() for host in one if (cause := _cause(host, one))}


def _cause(host: Host, there: Iterable[Host]) -> Cause | None:
    others = [other.name for other in there if other.home != host.home]
    return Cause(Trouble.SAME_MACHINE, f"the name {fold_names(others)} leads here too") if others else None
