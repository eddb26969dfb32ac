"""Decides whether a host's claim about runs and tokens is confirmed: by the journal, the queen or another host. Pure.

One host of the fleet may be hostile, with root, and may answer anything. So what one host says counts for that host
alone. For the others it counts when the queen says it too, or a second host, or when the journal has it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hivekeys.journal.hostrun import HostRun, is_barred
from hivekeys.journal.run import Run
from hivekeys.protocol.seen import MAX_EPOCH, HostRecord
from hivekeys.token import Fingerprint

LEAD = 1000  # how many places the queen may be ahead of all others: by runs that reached only her


@dataclass(frozen=True)
class History:
    """What this bastion's journal says of the earlier runs over a fleet.

    `tokens`: every token that one of them brought, newest first. `epoch`: the last place in the order of runs.
    """

    tokens: tuple[Fingerprint, ...] = ()
    epoch: int = 0


def next_epoch(run: Run, history: History) -> int:
    """The place after all confirmed runs.

    A single hive's place does not count, so that its word changes nothing that another host stores; the queen's counts
    within LEAD, so that it cannot use up the numbers.
    """
    said = {
        name: max(host.host_record.epoch, host.host_record.changed.epoch)
        for name, host in run.hosts.items()
        if host.host_record
    }
    second = sorted(said.values())[-2] if len(said) > 1 else 0
    last = max(history.epoch, second)
    queens = said.get(_queen(run), 0)
    return min(1 + (max(last, queens) if queens <= last + LEAD else last), MAX_EPOCH)


def later_runs(run: Run) -> dict[str, bool]:
    """The runs that changed hosts after this one, as the hosts say; True for one that the queen or two hosts name."""
    met: Mapping[str, HostRecord] = {name: host.host_record for name, host in run.hosts.items() if host.host_record}
    later = {name: one.changed.run for name, one in met.items() if one.changed.epoch > run.epoch}
    times = Counter(later.values())
    return {other: times[other] > 1 or later.get(_queen(run)) == other for other in times}


def tokens_held(hosts: Iterable[HostRun]) -> Counter[Fingerprint]:
    """How many hosts hold each token now, or held it when the run first looked."""
    return Counter(token for host in hosts for token in {*host.held, host.was} if token)


def gone_back(runs: Iterable[Run]) -> frozenset[str]:
    """Those of the runs that are over, or changed nothing, and left every host as it was: an earlier run may go on.

    A host that can't go back, since its own token was revoked, has no other way than that. Never a revocation that
    revoked anything: that stays so, whomever it reached.
    """
    over = (run for run in runs if not run.left_a_trace or (run.code is not None and not run.is_revocation))
    return frozenset(run.id for run in over if all(one.is_as_before or is_barred(one) for one in run.counted))


def _queen(run: Run) -> str:
    return run.queen.name if run.queen else ""
