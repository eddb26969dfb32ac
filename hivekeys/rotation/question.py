"""The text before a run or a wave: what restarts, for how long, which work ends. Pure.

What a host says of its workers is the number of processes that its unit has beside the service's own.
"""

from collections import defaultdict
from collections.abc import Sequence

from hivekeys.fleet import Fleet, Host, Role, takes_two
from hivekeys.journal.estimate import RunTimes, at_least, likely
from hivekeys.journal.events import PASSES, TURNED, Phase
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.rotation.waves import Wave
from hivekeys.service import HURRIED, Apply, OnDeadline
from hivekeys.text.clean import cut
from hivekeys.text.durations import ago
from hivekeys.text.names import fold_names

FEW, WIDEST = 5, 100  # hosts, and characters of what each says of its work
THEN = {
    OnDeadline.FAIL: "then the host fails and keeps its token",
    OnDeadline.RESTART: "then the restart ends the work",
    OnDeadline.SKIP: "then the host keeps its token and owes the new one",
}
SPARING = ("process", "none")  # KillMode= of a unit whose workers outlive a restart


def before_run(fleet: Fleet, order: Sequence[Wave], paces: Sequence[RunTimes], run: Run) -> list[str]:
    """What a rotation, or a revocation, is about to do; `run` knows what its hosts have shown so far."""
    hosts = [host for wave in order for host in wave.hosts]
    lines = [_restarts(order, run.is_revocation), *drains(hosts, run), _takes(fleet, order, paces, run)]
    return [*lines, f"ends: {_ends(hosts, run)}"]


def before_wave(run: Run, wave: Wave) -> str:
    """What the next wave is, and which hosts cannot be used until all have turned."""
    names = [host.name for host in wave.hosts]
    title = "" if wave.title == wave.phase.value == fold_names(names) else f"{wave.title}: "
    said = f"Next is {title}{fold_names(names)}. It ends {_ends(wave.hosts, run)}."
    if wave.phase in PASSES:
        return f"{said}\nNo host is cut off meanwhile: every host accepts the token that clients have."
    return f"{said}\n{_cut_off(run)}"


def _restarts(order: Sequence[Wave], revokes: bool) -> str:
    hosts = [host for wave in order for host in wave.hosts]
    said = [_units([host for host in hosts if is_restarted(host)])]
    told = _units([host for host in hosts if not is_restarted(host)])
    said += [f"without a restart: {told}"] if told else []
    times = "three times " if takes_two(hosts) and not revokes else ""  # accept, use, drop
    others = [wave for wave in order if wave.phase is not Phase.CLIENTS]
    waves = [f"{times}in {len(others)} waves, one after the other"] if len(others) > 1 else []
    waves += ["clients last"] if len(others) < len(order) else []
    return f"restarts: {'; '.join([*(said if said[0] else ['none', *said[1:]]), *waves])}"


def _units(hosts: Sequence[Host]) -> str:
    units: dict[str, list[str]] = defaultdict(list)
    for host in hosts:
        units[host.service.unit or host.service.title].append(host.name)
    return "; ".join(f"{unit} on {fold_names(names)}" for unit, names in units.items())


def is_restarted(host: Host) -> bool:
    """True for a host whose service takes a new token by a restart alone."""
    return host.service.apply is Apply.RESTART


def drains(hosts: Sequence[Host], run: Run) -> list[str]:
    """Which services are freed of work before they restart, for how long at most, and what work they have now."""
    groups: dict[tuple[float, OnDeadline], list[str]] = defaultdict(list)
    for host in hosts:
        if is_restarted(host) and (drain := host.service.drain):
            groups[drain.deadline, drain.on_deadline].append(host.name)
    lines = []
    for (deadline, then), names in groups.items():
        most = min(deadline, HURRIED) if run.is_revocation else deadline
        what = THEN[OnDeadline.RESTART if run.is_revocation else then]
        lines.append(f"drains: {fold_names(names)} before each restart, for at most {ago(most)}; {what}")
    parts = [run.hosts.get(host.name, HostRun(host.name)) for host in hosts]
    busy = [f"{part.name}: {cut(part.drained.busy, WIDEST)}" for part in parts if part.drained and part.drained.busy]
    more = f"; and {len(busy) - FEW} more" if len(busy) > FEW else ""
    return [*lines, *([f"work now: {'; '.join(busy[:FEW])}{more}"] if busy else [])]


def _spares(host: Host, run: Run) -> bool:
    """True for a host whose restart ends no work: it does not come before there is none."""
    drain = host.service.drain
    return bool(drain and drain.until and drain.on_deadline is not OnDeadline.RESTART and not run.is_revocation)


def _takes(fleet: Fleet, order: Sequence[Wave], paces: Sequence[RunTimes], run: Run) -> str:
    policy = fleet.policy
    if paces:
        runs = "run" if len(paces) == 1 else f"{len(paces)} runs"
        return f"takes: about {ago(likely(paces, len(order)))}, by the last {runs} that finished from this bastion"
    least = at_least(policy, len(order), revokes=run.is_revocation)
    waits = f"stable_seconds = {policy.stable_seconds:g}"
    waits += f" beside revocation_recheck = {policy.revocation_recheck:g}" if run.is_revocation else " in each wave"
    more = f"each service has health_deadline = {policy.health_deadline:g} s to come up"
    unknown = "no run from this bastion has finished yet, so there is no better estimate"
    return f"takes: at least {ago(least)} ({waits}), {more}; {unknown}"


def _ends(hosts: Sequence[Host], run: Run) -> str:
    """The work that the restarts of these hosts end."""
    hosts = [host for host in hosts if is_restarted(host)]
    if not hosts:
        return "nothing: no service restarts"
    spared = [host.name for host in hosts if _spares(host, run)]
    hosts = [host for host in hosts if host.name not in spared]
    if not hosts:
        return "nothing: no service restarts before its work has ended"
    hives = [(host.name, run.hosts.get(host.name, HostRun(host.name))) for host in hosts if host.role is Role.HIVE]
    told = [(name, part.seen.unit) for name, part in hives if part.seen and part.seen.unit.beside is not None]
    ends = {name: unit.beside or 0 for name, unit in told if unit.beside and unit.kill_mode not in SPARING}
    live = [name for name, unit in told if unit.beside and unit.kill_mode in SPARING]
    silent = [name for name, part in hives if part.seen is None or part.seen.unit.beside is None]
    said = ["requests in flight"]
    if ends:
        count = sum(ends.values())
        said.append(f"the inference of {count} worker{'s' if count > 1 else ''} ({_workers_by_host(ends)})")
    if silent:
        said.append(f"and that of all workers of {fold_names(silent)}, whose number is not known")
    if live:
        said.append(f"but no worker of {fold_names(live)}: workers there keep running with the old token (KillMode)")
    if hives and not (ends or silent or live):
        said.append("no inference: these hives have no worker now")
    return "; ".join(said)


def _workers_by_host(counts: dict[str, int]) -> str:
    first = [f"{count} on {name}" for name, count in list(counts.items())[:5]]
    return ", ".join([*first, f"the rest on {len(counts) - 5} more"] if len(counts) > 5 else first)


def _cut_off(run: Run) -> str:
    """The hosts that have another token than the queen; without a queen, the hosts that have the old token."""
    new = {host.name for host in run.counted if host.state in TURNED}
    hives = [host.name for host in run.counted if run.queen is None or host.name != run.queen.name]
    if run.queen is None or run.queen.name in new:
        left = [name for name in hives if name not in new]
        said = "they have the old token" + (", and the queen the new one" if run.queen else "")
    else:
        left = [name for name in hives if name in new]
        said = "they have the new token, and the queen the old one"
    if not left:
        return "No host is cut off meanwhile: all hosts have the same token."
    return f"Cut off meanwhile: {fold_names(left)}: {said}."
