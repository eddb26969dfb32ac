"""The sentences about a run: durations, failures by cause, summary. Pure."""

from collections.abc import Iterable, Iterator

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Batch, Fleet, Host
from hivekeys.journal.events import Outcome, State, Stopped
from hivekeys.journal.exposure import exposure_of
from hivekeys.journal.gap import Gap
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.hints import hint, limit_of
from hivekeys.report.approvals import approval_lines
from hivekeys.report.cuts import cut_lines
from hivekeys.report.drains import drain_lines
from hivekeys.report.meter import meter_lines
from hivekeys.report.onward import next_step, typed, unasked
from hivekeys.report.past import OUT, because_lines, by_cause, out_lines
from hivekeys.report.places import place_lines
from hivekeys.report.uses import census_lines
from hivekeys.report.verdict import came_to, counts, past_verdict, verdict
from hivekeys.text.commands import as_typed
from hivekeys.text.durations import ago, seconds_of
from hivekeys.text.names import fold_names

GAP = "gap: how long clients could not use both this host and the queen with the same token"
GAP_MARKS = {
    "~": "spans an interruption, measured by the wall clock",
    "+": "still open when the run ended",
    "not known": "its beginning or end was not seen",
}
CALLS = ("new", "old", "none", "garbage")
TONES = {
    State.PROVEN: "good",
    State.BOTH: "fair",
    State.HEALTHY: "fair",
    State.UNCHANGED: "plain",
    State.ROLLED_BACK: "fair",
    State.FENCED: "fair",
}  # a host in any other state needs an operator


def gap_of(gap: Gap | None) -> str:
    """A gap in a cell; `GAP_MARKS` says what its marks mean."""
    if gap is None:
        return "–"
    if gap.seconds is None:
        return "not known"
    return f"{'~' if gap.by_wall else ''}{seconds_of(gap.seconds)}{'' if gap.over else '+'}"


def gap_lines(run: Run) -> list[str]:
    """What a gap is, and each mark that one of the run's has."""
    found = [gap for gap in map(run.gap, run.hosts.values()) if gap]
    if not found:
        return []
    marks = {
        "~": any(gap.by_wall and gap.seconds is not None for gap in found),
        "+": any(not gap.over and gap.seconds is not None for gap in found),
        "not known": any(gap.seconds is None for gap in found),
    }
    return [GAP, *(f"{mark}: {said}" for mark, said in GAP_MARKS.items() if marks[mark])]


def longest_gap(gaps: Iterable[Gap | None]) -> str:
    """The longest of these gaps, as a cell; "not known" where an unknown gap may be the longest."""
    known = [gap for gap in gaps if gap]
    if any(gap.seconds is None for gap in known):
        return "not known"
    return gap_of(max(known, key=lambda gap: gap.seconds or 0.0, default=None))


def age(host: HostRun) -> str:
    """How long ago the active token file was written, by the host's own clock."""
    if host.seen is None or host.seen.active is None or not host.seen.active.modified:
        return "–"
    return ago(host.seen.clock - host.seen.active.modified)


def settled_age(run: Run) -> float | None:
    """Seconds since the oldest active file was written; None unless every host is settled on one and the same token."""
    out = (*run.left_out, *run.excluded)
    seen = [host.seen for name, host in run.hosts.items() if name not in out]
    settled = [one for one in seen if one and one.active and one.token and not one.staged and not one.previous]
    if not settled or len(settled) < len(seen) or len({one.token for one in settled}) > 1:
        return None
    return max(one.clock - one.active.modified for one in settled if one.active)


def calls(host: HostRun) -> str:
    """The HTTP status of the four calls: new, old, none, garbage. For a service that is down no answer counts."""
    if host.is_out:
        return OUT
    if host.proof is None or not host.proof.calls:
        return "–"
    return " ".join(str(host.proof.calls.get(name, "–")) for name in CALLS)


def members(run: Run, fleet: Fleet) -> Iterator[tuple[HostRun, Host | None]]:
    """The run's hosts in the inventory's order; None for a host that is gone from the inventory."""
    known = {host.name: host for host in fleet.hosts}
    order = [name for name in known if name in run.hosts] + [name for name in run.hosts if name not in known]
    return ((run.hosts[name], known.get(name)) for name in order)


def wave_lines(run: Run, batch: Batch | None = None) -> list[str]:
    """The order of change, a line a wave; before it, where services accept two tokens, what is done in that order.

    `batch`: how the waves were made, which is said where it is more than a number.
    """
    said = ["no token is refused meanwhile: accept both, use the new one, drop the old one, each in this order:"]
    lines = [
        f"{number}. {phase.value}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}"
        for number, (phase, names) in enumerate(run.waves, 1)
    ]
    by = [f"waves: {batch}"] if batch and not isinstance(batch, Amount) else []
    window = [f"window: {run.window}"] if run.window else []
    return [*(said if run.passes else []), *lines, *by, *window]


def failures(run: Run) -> list[tuple[Cause, list[str]]]:
    """Failures grouped by cause, most hosts first; the detail is the first host's."""
    return by_cause((host.name, host.cause) for host in run.hosts.values() if host.cause)


STILL = "as far as is known it still accepts the old token"
PRESENTS = "a client: it accepts no token, and as far as is known presents the old one"


def left_behind(run: Run, fleet: Fleet) -> Iterator[tuple[list[str], str, str]]:
    """Hosts that a run went on without, what that means, and what is to be done."""
    here = [host for host in run.hosts.values() if host.name not in run.gone]
    owing, fenced, cordoned, cut = (
        [host.name for host in here if host.state is state]
        for state in (State.OWES, State.FENCED, State.CORDONED, State.EXCLUDED)
    )
    reconcile = typed("reconcile", fleet)
    groups = [
        (owing, "still on the old token", f"repair the cause, then `{reconcile}`"),
        (fenced, "the service is stopped: it accepts no token", f"repair the cause, then `{reconcile}` starts it"),
        (
            cordoned,
            "drained, and not given work again",
            f"repair `after` of its drain, then `{typed('rollback', fleet) if run.rolled_back else reconcile}`",
        ),
    ]
    for is_client, words in ((False, STILL), (True, PRESENTS)):
        out = [name for name in cut if (name in run.clients) is is_client]
        gone = [name for name in run.gone if (name in run.clients) is is_client]
        back = typed("install", fleet, "--limit", limit_of(out), "--readmit")
        stop = "stop its program" if is_client else "stop its service, or cut its network"
        groups += [
            (out, f"excluded by the operator; {words}", f"rebuild it, then `{back}`; or remove it from the inventory"),
            (gone, f"gone from the inventory; {words}", f"if the machine still runs: {stop}"),
        ]
    return (group for group in groups if group[0])


def failure_lines(run: Run, fleet: Fleet) -> list[str]:
    """Each cause with its hosts and the next step."""
    lines = []
    for cause, names in failures(run):
        lines += [f"{fold_names(names)}: {cause}", f"    next: {hint(cause, fleet, *names)}"]
    for names, said, step in left_behind(run, fleet):
        lines += [f"{fold_names(names)}: {said}", f"    next: {step}"]
    return [*lines, *out_lines(run), *because_lines(run, fleet)]


def exposure_lines(run: Run) -> list[str]:
    """How long the hosts of a revocation accepted the old token, and which may still accept it."""
    found, total = exposure_of(run), len(run.services)
    if found.median is None or found.p95 is None or found.longest is None:
        return [f"no host of {total} was seen to refuse the old token"]
    figures = f"median {found.median:.1f} s, 95 % {found.p95:.1f} s, last {found.longest:.1f} s"
    lines = [f"the old token was refused on {len(found.closed)} of {total} hosts after: {figures}"]
    if found.open:
        lines.append(f"{len(found.open)} of {total} may still accept it: {fold_names(found.open)}")
    return lines


def unshared_lines(run: Run) -> list[str]:
    """Lines: old tokens that only one host held, so that no other host was tried with them."""
    return [f"only {name} held token:{token}: no other host was tried with it" for name, token in run.unshared]


def exposure_in_short(run: Run) -> list[str]:
    """The first of these lines for a narrow terminal, if any host refuses the old token."""
    found = exposure_of(run)
    if found.median is None or found.longest is None:
        return []
    return [
        f"refused on {len(found.closed)} of {len(run.services)} hosts after: median {found.median:.1f} s, "
        f"last {found.longest:.1f} s"
    ]


def failure_line(event: Outcome) -> str:
    """A host that did not come through a phase, and why."""
    return f"{event.host}: {event.status.value}: {event.cause}"


def stop_line(event: Stopped) -> str:
    """Where a run went no further, and why."""
    return f"stopped in phase {event.phase.value}: {event.why}"


def summary(run: Run, code: ExitCode) -> str:
    """The result of a run, in one line; `code`: the exit code of its command."""
    return f"{verdict(run, code).words} ({_figures(run, code)})"


def past_summary(run: Run) -> str:
    """The result of an earlier run, in one line."""
    return f"{past_verdict(run).words} ({_figures(run, came_to(run))})"


def _figures(run: Run, code: ExitCode | None) -> str:
    ended = "" if code is None else f"; exit code {int(code)}"
    return f"{counts(run.hosts.values())}; {run.seconds:.1f} s{ended}"


def summary_lines(run: Run, code: ExitCode, fleet: Fleet, backup: Iterable[str] = ()) -> list[str]:
    """How it went without a table: what failed, why it stopped, who used which token, what to type next."""
    lines = failure_lines(run, fleet)
    if run.fell_back:
        lines.append(f"one token at a time: {run.fell_back}")
    if run.stopped:
        lines.append(as_typed(f"stopped: {run.stopped}"))
    if run.is_revocation:
        lines += exposure_lines(run)
    lines += [
        *unshared_lines(run),
        *place_lines(run),
        *drain_lines(run),
        *cut_lines(run),
        *census_lines(run),
        summary(run, code),
        *meter_lines(run),
        *approval_lines(run, fleet),
        *backup,
    ]
    step = next_step(run, fleet)
    return [*lines, step] if step else lines


def disagreement(run: Run, newest: Run | None, fleet: Fleet) -> str:
    """A line when the hosts that were looked at do not all hold the same token; `newest`: the run whose token the fleet
    went on with, where this bastion's journal has one.
    """
    holding = [host for host in run.hosts.values() if host.now]
    held = f"the hosts hold {len({host.now for host in holding})} different tokens"
    if len({host.now for host in holding}) < 2:
        return ""
    if newest is None:
        return f"{held}, and this bastion does not know what they owe: there is nothing to reconcile"
    owing = [host.name for host in holding if host.now != newest.want]
    if len(owing) == len(holding):
        return f"{held}, none of them is that of the last run from here ({newest.id}): a rotation gives all one token"
    return f"{held}: {fold_names(owing)} do not hold the newest one, token:{newest.want}: {typed('reconcile', fleet)}"


def standing(run: Run, since: str) -> str:
    """The state of an earlier run and what to type, in one line; `since` is how long ago it began."""
    return as_typed(_standing(run, since))


def _standing(run: Run, since: str) -> str:
    if run.at_work or run.is_settled:
        return f"begun {since} ago; {past_verdict(run).words}"
    if run.is_open:
        back = "" if run.is_revocation else ", fab rollback goes back"
        back = back if run.left_a_trace else "; nothing was changed, so another run may begin as well"
        return f"{past_verdict(run).words}, begun {since} ago: fab resume goes on{back}"
    if run.is_overlapping:
        return f"{past_verdict(run).words}: fab rotate --finish"
    if run.is_held:
        on = "rotate --finish" if run.overlap_until else "reconcile"
        return f"all hosts serve token:{run.want}; the old one is kept, because it was still used: fab {on}"
    if run.debts and (said := _owed(run, since)):
        return said
    if run.behind:
        verb = "reconcile" if run.behind == run.barred else "rollback"
        return f"{len(run.behind)} of {len(run.hosts)} hosts are not back on their token for {since}: fab {verb}"
    said = past_verdict(run).words
    return f"begun {since} ago; {said}" if run.was_begun else f"{said}, {since} ago"


def _owed(run: Run, since: str) -> str:
    """What the hosts of such a run owe, for how long, and what to type; "" for a run that was taken back."""
    hosts, of_all = fold_names(run.debts), f"{len(run.debts)} of {len(run.hosts)} hosts"
    if set(run.debts) <= set(unasked(run)):
        return f"{of_all} could not be tried with the old token: fab revoke --token-file"
    if run.is_revocation:
        leaked = ", ".join(f"token:{fingerprint}" for fingerprint in run.revoked)
        accepting = fold_names(name for name in run.debts if name not in run.clients)
        if not accepting:
            return f"{hosts} may still present the token that leaked ({leaked}), which is refused: fab reconcile"
        return f"{accepting} may still accept the token that leaked ({leaked}), for {since}: fab reconcile"
    if run.rolled_back:
        return ""
    if all(run.hosts[name].state is State.CORDONED for name in run.debts):
        return f"{hosts}: drained, and not given work again, for {since}: fab reconcile"
    return f"{of_all} owe token:{run.want} for {since}: fab reconcile"
