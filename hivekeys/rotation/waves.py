"""Which hosts change together, and whether the run goes on after each wave. Pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from hivekeys.fleet import Amount, GroupByGroup, Host, OfEach, Order, Policy, Ramp, Role, Step, is_of_kind
from hivekeys.journal.events import Phase

HIVES = (Phase.CANARY, Phase.WAVE)


@dataclass(frozen=True)
class Wave:
    """Hosts that may be out of service at the same time; `step` says how many, and None that all of them may."""

    phase: Phase
    title: str
    hosts: tuple[Host, ...]
    step: Step | None = None


def plan(hosts: Sequence[Host], policy: Policy, *, canary: bool = True) -> tuple[Wave, ...]:
    """The order of change: never the queen together with hives, canaries before the rest, and clients last of all."""
    queen = tuple(host for host in hosts if host.role is Role.QUEEN)
    hives = tuple(host for host in hosts if host.role is Role.HIVE)
    first = hives[: policy.canary] if canary else ()
    queen_wave = [Wave(Phase.QUEEN, "queen", queen)] if queen else []
    hive_waves = [Wave(Phase.CANARY, "canary", first)] if first else []
    steps = policy.batch.steps if isinstance(policy.batch, Ramp) else (policy.batch,)
    batches = list(_ramped(hives[len(first) :], hives, steps))
    hive_waves += [
        Wave(Phase.WAVE, f"wave {number} of {len(batches)}", batch, step)
        for number, (batch, step) in enumerate(batches, 1)
    ]
    in_order = queen_wave + hive_waves if policy.order is Order.QUEEN_FIRST else hive_waves + queen_wave
    clients = tuple(host for host in hosts if host.role is Role.CLIENT)
    return (*in_order, *([Wave(Phase.CLIENTS, "clients", clients)] if clients else []))


def way_back(planned: Sequence[Wave]) -> tuple[Wave, ...]:
    """The same waves, but clients first: a host that goes back refuses the token that they have."""
    return tuple(sorted(planned, key=lambda wave: wave.phase is not Phase.CLIENTS))


def _ramped(
    left: Sequence[Host], hives: Sequence[Host], steps: Sequence[Step]
) -> Iterator[tuple[tuple[Host, ...], Step]]:
    """A wave of each step, and of the last one as many as it takes for those who are left."""
    for step in steps[:-1]:
        if left:
            batch = _batches(left, hives, step)[0]
            yield batch, step
            names = {host.name for host in batch}
            left = [host for host in left if host.name not in names]
    yield from ((batch, steps[-1]) for batch in _batches(left, hives, steps[-1]))


def _batches(left: Sequence[Host], hives: Sequence[Host], step: Step) -> list[tuple[Host, ...]]:
    """Those who are left in batches of this size, each in its place of the order."""
    found: dict[int, list[Host]] = defaultdict(list)
    before: Counter[str] = Counter()
    most = _most(step, hives)
    places = {group: place for place, group in enumerate(most)}  # where the canary is comes first
    for place, host in enumerate(left):
        group = group_of(host, step)
        match step:
            case Amount():
                number = place // most[group]
            case OfEach():
                number = before[group] // most[group]
            case GroupByGroup():
                number = places[group]
        before[group] += 1
        found[number].append(host)
    return [tuple(found[number]) for number in sorted(found)]


def group_of(host: Host, step: Step) -> str:
    """The group that counts for a host in such a wave; "" where none does. A host that is in none is its own group."""
    if isinstance(step, Amount):
        return ""
    return next((group for group in host.groups if is_of_kind(group, step.kind)), host.name)


def _most(step: Step, hives: Sequence[Host]) -> dict[str, int]:
    """How many hives of each group may be out of service at once."""
    sizes = Counter(group_of(host, step) for host in hives)
    if isinstance(step, GroupByGroup):
        return dict(sizes)
    amount = step if isinstance(step, Amount) else step.amount
    return {group: max(1, amount.of(size)) for group, size in sizes.items()}


def beside(wave: Wave, ready: Sequence[Host], turning: Sequence[Host], hives: Sequence[Host]) -> list[Host]:
    """Those `ready` hosts of a wave that may turn while others, which were left behind in an earlier one, still do.

    Together they are never more than the wave allows: in all, of each group, or of one group alone. The queen waits
    for every other host, and every other for her; clients only for clients.
    """
    clients = wave.phase is Phase.CLIENTS
    others = [host for host in turning if (host.role is Role.CLIENT) is clients]
    if wave.phase is Phase.QUEEN or any(host.role is Role.QUEEN for host in others):
        return [] if others else list(ready)
    step = wave.step or Amount(len(wave.hosts))
    if isinstance(step, GroupByGroup) and {group_of(host, step) for host in (*ready, *others)} != {
        group_of(ready[0], step)
    }:
        return []
    most, out = _most(step, hives or ready), Counter(group_of(host, step) for host in others)
    found = []
    for host in ready:
        group = group_of(host, step)
        if out[group] < most.get(group, 1):
            out[group] += 1
            found.append(host)
    return found


def among(planned: Sequence[Wave], standing: Collection[Host]) -> tuple[Wave, ...]:
    """The planned waves of these hosts only; where a canary is missing, the next hive takes its place."""
    there = {host.name for host in standing}  # a whole host takes long to hash
    canaries = next((len(wave.hosts) for wave in planned if wave.phase is Phase.CANARY), 0)
    hives = [host for wave in planned if wave.phase in HIVES for host in wave.hosts if host.name in there]
    first = tuple(hives[:canaries])
    others = there - {host.name for host in first}

    def hosts_of(wave: Wave) -> tuple[Host, ...]:
        if wave.phase is Phase.CANARY:
            return first
        return tuple(host for host in wave.hosts if host.name in others)

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
