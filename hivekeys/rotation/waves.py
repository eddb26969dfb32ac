"""Which hosts change together, and whether the run goes on after each wave. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from hivekeys.fleet import Host, Order, Policy, Role
from hivekeys.journal.events import Phase

HIVES = (Phase.CANARY, Phase.WAVE)


@dataclass(frozen=True)
class Wave:
    """Hosts that may be out of service at the same time."""

    phase: Phase
    title: str
    hosts: tuple[Host, ...]


def plan(hosts: Sequence[Host], policy: Policy, *, canary: bool = True) -> tuple[Wave, ...]:
    """The order of change: never the queen together with hives, canaries before the rest, and clients last of all."""
    queen = tuple(host for host in hosts if host.role is Role.QUEEN)
    hives = tuple(host for host in hosts if host.role is Role.HIVE)
    first = hives[: policy.canary] if canary else ()
    queen_wave = [Wave(Phase.QUEEN, "queen", queen)] if queen else []
    hive_waves = [Wave(Phase.CANARY, "canary", first)] if first else []
    batches = list(_batches(hives[len(first) :], max(1, policy.batch.of(len(hives)))))
    hive_waves += [
        Wave(Phase.WAVE, f"wave {number} of {len(batches)}", batch) for number, batch in enumerate(batches, 1)
    ]
    in_order = queen_wave + hive_waves if policy.order is Order.QUEEN_FIRST else hive_waves + queen_wave
    clients = tuple(host for host in hosts if host.role is Role.CLIENT)
    return (*in_order, *([Wave(Phase.CLIENTS, "clients", clients)] if clients else []))


def way_back(planned: Sequence[Wave]) -> tuple[Wave, ...]:
    """The same waves, but clients first: a host that goes back refuses the token that they have."""
    return tuple(sorted(planned, key=lambda wave: wave.phase is not Phase.CLIENTS))


def _batches(hosts: tuple[Host, ...], size: int) -> Iterator[tuple[Host, ...]]:
    for start in range(0, len(hosts), size):
        yield hosts[start : start + size]


def among(planned: Sequence[Wave], standing: Collection[Host]) -> tuple[Wave, ...]:
    """The planned waves of these hosts only; where a canary is missing, the next hive takes its place."""
    there = frozenset(standing)
    canaries = next((len(wave.hosts) for wave in planned if wave.phase is Phase.CANARY), 0)
    hives = [host for wave in planned if wave.phase in HIVES for host in wave.hosts if host in there]
    first = tuple(hives[:canaries])

    def hosts_of(wave: Wave) -> tuple[Host, ...]:
        if wave.phase is Phase.CANARY:
            return first
        return tuple(host for host in wave.hosts if host in there and host not in first)

    kept = (replace(wave, hosts=hosts_of(wave)) for wave in planned)
    return tuple(wave for wave in kept if wave.hosts)


def stop_reason(
    phase: Phase, failed_now: Sequence[str], failed_in_all: int, total: int, policy: Policy, queen: str
) -> str:
    """Why the run must not go on after a phase, or "".

    `failed_now` names the hosts that did not make it in this phase, `failed_in_all` counts hosts over the whole
    run, so that one failure a wave adds up (gitlab-com/gl-infra/delivery#951). Queen and canary may not fail, the
    queen in no phase: hives on a new token beside a queen on the old one could not talk to her.
    """
    if not failed_now:
        return ""
    names = ", ".join(failed_now[:5]) + (" …" if len(failed_now) > 5 else "")
    if phase in (Phase.QUEEN, Phase.CANARY):
        return f"{phase.value} failed ({names})"
    if queen in failed_now:
        return f"the queen failed ({queen})"
    budget = policy.max_failures.of(total)
    if failed_in_all > budget:
        return f"{failed_in_all} of {total} hosts failed ({names}); max_failures is {policy.max_failures}"
    return ""
