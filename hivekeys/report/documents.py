"""A run as one JSON document. Holds no token and no keyed fingerprint. Pure."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from hivekeys import __version__
from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet, Host
from hivekeys.journal.events import CensusTaken
from hivekeys.journal.exposure import exposure_of
from hivekeys.journal.gap import Gap
from hivekeys.journal.hostrun import HostRun
from hivekeys.journal.run import Run
from hivekeys.protocol import hints
from hivekeys.report.cuts import streams_cut
from hivekeys.report.drains import drain_of
from hivekeys.report.meter import meter_of
from hivekeys.report.onward import next_step
from hivekeys.report.places import places_of, survivors_of
from hivekeys.report.verdict import came_to, past_verdict, verdict
from hivekeys.report.words import members
from hivekeys.text.clean import one_line


def document(run: Run, fleet: Fleet, code: ExitCode | None = None) -> dict[str, Any]:
    """The run as one JSON document; `code`: the exit code of its command, None for an earlier run.

    Holds no token and no keyed fingerprint.
    """
    return {
        "hivekeys": __version__,
        "run": run.id,
        "task": run.task,
        "fleet": run.fleet,
        "who": run.who,
        "reason": run.reason,
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="milliseconds"),
        "seconds": round(run.seconds, 3),
        **_came_to(run, code),
        "window": run.window or None,
        "stopped": run.stopped or None,
        **({"fell_back": run.fell_back} if run.fell_back else {}),
        "reasons": list(run.reasons),
        "next": next_step(run, fleet) or None,
        "revoked": [str(fingerprint) for fingerprint in run.revoked],
        "exposure": _exposure(run) if run.is_revocation else None,
        "census": _census(run),
        "meter": meter_of(run),
        "streams_cut": streams_cut(run),
        "excluded": list(run.excluded),
        "gone": list(run.gone),
        "superseded_by": run.superseded_by or None,
        "waves": [{"phase": phase.value, "hosts": list(names)} for phase, names in run.waves],
        "hosts": [_host(run, part, host, fleet) for part, host in members(run, fleet)],
    }


def _came_to(run: Run, code: ExitCode | None = None) -> dict[str, Any]:
    """The verdict, and the token that the fleet now has: for a run that was rolled back the earlier one."""
    said = past_verdict(run) if code is None else verdict(run, code)
    code = came_to(run) if code is None else code
    return {
        "token": str(run.left_with) if run.left_with else None,
        "new_token": str(run.want) if run.want else None,
        "verdict": said.words,
        "at_work": run.at_work or None,
        "exit_code": None if code is None else int(code),
    }


def _census(run: Run) -> dict[str, Any] | None:
    """Who used an old token after it was replaced; None when the hosts were not asked."""
    if run.census is None:
        return None
    return {"held": run.is_held, "anyway": run.census.anyway, **uses_document(run.census)}


def uses_document(census: CensusTaken) -> dict[str, Any]:
    """Who used an old token, and which hosts' records say nothing of it."""
    silent = [{"host": name, "why": why} for name, why in census.unread]
    return {"uses": [asdict(use) for use in census.uses], "unread": silent}


def _exposure(run: Run) -> dict[str, Any]:
    found = exposure_of(run)
    figures = {"median": found.median, "p95": found.p95, "longest": found.longest}
    return {
        **{name: None if seconds is None else round(seconds, 3) for name, seconds in figures.items()},
        "closed": {name: round(seconds, 3) for name, seconds in found.closed.items()},
        "fenced": list(found.fenced),
        "open": list(found.open),
    }


def _host(run: Run, part: HostRun, host: Host | None, fleet: Fleet) -> dict[str, Any]:
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


def _gap(gap: Gap | None) -> dict[str, Any] | None:
    """The gap for clients, and how it is known; None where there is none. `known` is false where it can't be told."""
    if gap is None:
        return None
    spans = [{"begin": round(begin, 3), "end": round(end, 3)} for begin, end in gap.spans]
    return {"known": gap.seconds is not None, "by_wall_clock": gap.by_wall, "over": gap.over, "spans": spans}


def digest(run: Run) -> dict[str, Any]:
    """A run in a few words, for a list of runs."""
    return {
        "run": run.id,
        "task": run.task,
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="seconds"),
        "who": run.who,
        "reason": run.reason,
        **_came_to(run),
        "hosts": len(run.hosts),
        "debts": list(run.debts),
        "excluded": list(run.excluded),
        "superseded_by": run.superseded_by or None,
        "seconds": round(run.seconds, 3),
    }
