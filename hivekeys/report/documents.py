"""A run as one JSON document. Holds no token and no keyed fingerprint. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.events import CensusTaken
from hivekeys.journal.exposure import exposure_of
from hivekeys.journal.gap import Gap
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol import hints
from hivekeys.report.approvals import approval_document
from hivekeys.report.cuts import streams_cut
from hivekeys.report.drains import drain_of
from hivekeys.report.meter import meter_of
from hivekeys.report.onward import looked_next, next_of, next_step, typed
from hivekeys.report.places import places_of, survivors_of
from hivekeys.report.verdict import came_to, looked_verdict, past_verdict, verdict
from hivekeys.report.words import members
from hivekeys.text.clean import one_line
from hivekeys.text.documents import run as documents
from hivekeys.text.documents.head import head


def document(run: Run, fleet: Fleet, code: ExitCode | None = None) -> documents.Run:
    """The run as one JSON document; `code`: the exit code of its command, None for an earlier run.

    Holds no token and no keyed fingerprint.
    """
    return {
        "form": "run",
        **head(_words(run, code), next_step(run, fleet)),
        **_came_to(run, code, "milliseconds"),
        "fleet": run.fleet,
        "window": run.window or None,
        "approval": approval_document(run),
        "stopped": run.stopped or None,
        "fell_back": run.fell_back or None,
        "reasons": list(run.reasons),
        "revoked": [str(fingerprint) for fingerprint in run.revoked],
        "exposure": _exposure(run) if run.is_revocation else None,
        "census": _census(run),
        "meter": meter_of(run),
        "streams_cut": streams_cut(run),
        "gone": list(run.gone),
        "waves": [{"phase": phase.value, "hosts": list(names)} for phase, names in run.waves],
        "hosts": [_host(run, part, host, fleet) for part, host in members(run, fleet)],
        "debts": list(run.debts),
        "open": run.is_open,
        "backup": None,
        "dry_run": False,
        "would": None,
    }


def looked_document(
    run: Run, fleet: Fleet, code: ExitCode, would: list[documents.Foreseen] | None = None, next_line: str = ""
) -> documents.Run:
    """A run that only looked; `would`: what another would do to each host. `next_line`: "" for what the first
    host with a problem needs.
    """
    return {
        **document(run, fleet, code),
        **head(looked_verdict(run, code).words, next_line or looked_next(run, fleet)),
        "dry_run": True,
        "would": would,
    }


def _words(run: Run, code: ExitCode | None) -> str:
    return (past_verdict(run) if code is None else verdict(run, code)).words


def _came_to(run: Run, code: ExitCode | None, precision: str) -> documents.CameTo:
    """What it came to, and the token that the fleet now has: for a run that was rolled back the earlier one."""
    code = came_to(run) if code is None else code
    return {
        "run": run.id,
        "task": run.task,
        "who": run.who,
        "reason": run.reason,
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec=precision),
        "seconds": round(run.seconds, 3),
        "token": str(run.left_with) if run.left_with else None,
        "new_token": str(run.want) if run.want else None,
        "at_work": run.at_work or None,
        "exit_code": None if code is None else int(code),
        "excluded": list(run.excluded),
        "superseded_by": run.superseded_by or None,
    }


def _census(run: Run) -> documents.Census | None:
    """Who used an old token after it was replaced; None when the hosts were not asked."""
    if run.census is None:
        return None
    return {"held": run.is_held, "anyway": run.census.anyway, **uses_document(run.census)}


def uses_document(census: CensusTaken) -> documents.Uses:
    """Who used an old token, and which hosts' records say nothing of it."""
    return {
        "uses": [
            {
                "host": use.host,
                "service": use.service,
                "token": use.token,
                "path": use.path,
                "address": use.address,
                "ok": use.ok,
                "count": use.count,
                "last": use.last,
            }
            for use in census.uses
        ],
        "unread": [{"host": name, "why": why} for name, why in census.unread],
    }


def _exposure(run: Run) -> documents.Exposure:
    found = exposure_of(run)
    return {
        "median": _rounded(found.median),
        "p95": _rounded(found.p95),
        "longest": _rounded(found.longest),
        "closed": {name: round(seconds, 3) for name, seconds in found.closed.items()},
        "fenced": list(found.fenced),
        "open": list(found.open),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _host(run: Run, part: HostRun, host: Host | None, fleet: Fleet) -> documents.Host:
    gap = run.gap(part)
    seen = part.seen
    active = seen.active if seen else None
    return {
        "host": part.name,
        "role": host.role.value if host else None,
        "address": host.address if host else None,
        "unit": host.service.unit or None if host else None,
        "groups": list(host.groups) if host else [],
        "state": part.state.value,
        "old": str(part.was) if part.was else None,
        "now": str(part.now) if part.now else None,
        "age_seconds": round(seen.clock - active.modified) if seen and active and active.modified else None,
        "loaded_by": one_line(seen.loaded.evidence) if seen else None,
        "in_service": not part.is_out if seen else None,
        "proofs": dict(part.proof.calls) if part.proof and part.proof.calls and not part.is_out else None,
        "path": one_line(part.proof.path) if part.proof else None,
        "certificate_unchecked": part.proof.unchecked if part.proof else None,
        "places": places_of(part),
        "survivors": survivors_of(part),
        "drain": drain_of(part),
        "streams_cut": part.cut,
        "logged": list(part.proof.logged) if part.proof and part.proof.logged is not None else None,
        "gap_seconds": None if gap is None or gap.seconds is None else round(gap.seconds, 3),
        "gap": _gap(gap),
        "seconds": round(part.seconds, 3),
        "cause": hints.document(part.cause, fleet, part.name),
        "earlier_cause": hints.document(part.failed, fleet, part.name),
    }


def _gap(gap: Gap | None) -> documents.Gap | None:
    """The gap for clients, and how it is known; None where there is none. `known` is false where it can't be told."""
    if gap is None:
        return None
    return {
        "known": gap.seconds is not None,
        "by_wall_clock": gap.by_wall,
        "over": gap.over,
        "spans": [{"begin": round(begin, 3), "end": round(end, 3)} for begin, end in gap.spans],
    }


def history_document(
    runs: Sequence[Run], fleet: Fleet, faults: Sequence[str], code: ExitCode, set_aside: str = ""
) -> documents.History:
    """A list of runs, newest first; `faults`: of the journal; `set_aside`: where it was put because of these."""
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'} over fleet {fleet.name} from this bastion"
    newest = f"; the newest: {past_verdict(runs[0]).words}" if runs else ""
    words = f"the journal is damaged or not whole; {count}" if faults else f"{count}{newest}"
    mend = "" if set_aside or not faults else typed("history", fleet, "--set-aside")
    return {
        "form": "history",
        **head(words, mend or next_of(runs, fleet)),
        "fleet": fleet.name,
        "exit_code": int(code),
        "runs": [digest(run) for run in runs],
        "faults": list(faults),
        "set_aside": set_aside or None,
    }


def digest(run: Run) -> documents.PastRun:
    """A run in a few words, for a list of runs."""
    return {
        **_came_to(run, None, "seconds"),
        "verdict": _words(run, None),
        "hosts": len(run.hosts),
        "debts": list(run.debts),
        "approval": approval_document(run),
    }
