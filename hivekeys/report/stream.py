"""The events of a run as JSON lines (docs/events.md). Holds no token and no keyed fingerprint. Pure.

The form is a promise: what is added keeps VERSION, what is changed or taken away raises it.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from hivekeys.errors import ExitCode
from hivekeys.fleet import Fleet
from hivekeys.journal.events import (
    Approved,
    CensusTaken,
    Claimed,
    Event,
    FellBack,
    Intent,
    MeterRead,
    OperatorAnswered,
    OperatorAsked,
    Outcome,
    OverlapBegan,
    Paused,
    PhaseStarted,
    Readmitted,
    Resumed,
    Retried,
    RunEnded,
    RunStarted,
    Stopped,
    Superseded,
    TokenChosen,
    TokensRevoked,
    Waiting,
)
from hivekeys.journal.run import Run
from hivekeys.protocol import hints
from hivekeys.protocol.audited import Use
from hivekeys.report.onward import looked_next, next_step
from hivekeys.report.verdict import looked_verdict, verdict
from hivekeys.report.words import CALLS
from hivekeys.text.clean import one_line
from hivekeys.text.commands import first_command
from hivekeys.token import Fingerprint

VERSION = 1
_Asked = OperatorAsked | OperatorAnswered
_End = OverlapBegan | FellBack | Stopped | Paused | Superseded | RunEnded


def line_of(event: Event, run: str, fleet: Fleet) -> dict[str, Any]:
    """One event of a run over `fleet`, as it happened."""
    kind, facts = _facts(event, fleet)
    return _line(kind, event.when.at, run, facts)


def looked_line(run: Run, code: ExitCode, at: float, fleet: Fleet, next_line: str = "") -> dict[str, Any]:
    """The last line of a run that only looked."""
    then = next_line or looked_next(run, fleet)
    said = {"verdict": looked_verdict(run, code).words, "next": then or None, "command": first_command(then) or None}
    return {**result_line(run, code, at, fleet), **said}


def result_line(run: Run, code: ExitCode, at: float, fleet: Fleet) -> dict[str, Any]:
    """The last line: what the shell is told, where every host ended, what to type next."""
    facts = {
        "fleet": run.fleet,
        "exit_code": int(code),
        "seconds": round(run.seconds, 3),
        "states": {name: host.state.value for name, host in run.hosts.items()},
        "debts": list(run.debts),
        "causes": {
            name: hints.document(host.cause or host.failed, fleet, name)
            for name, host in run.hosts.items()
            if host.cause or (run.rolled_back and host.failed)
        },
        "verdict": verdict(run, code).words,
        "next": next_step(run, fleet) or None,
        "command": first_command(next_step(run, fleet)) or None,
    }
    return _line("result", at, run.id, facts)


def not_due_line(fleet: str, age: float, at: float) -> dict[str, Any]:
    """The only line when `--if-older-than` found nothing to do."""
    return _line("not-due", at, None, {"fleet": fleet, "exit_code": 0, "age_seconds": round(age)})


def _line(kind: str, at: float, run: str | None, facts: dict[str, Any]) -> dict[str, Any]:
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return {"version": VERSION, "type": kind, "time": time, "run": run, **facts}


def _facts(event: Event, fleet: Fleet) -> tuple[str, dict[str, Any]]:
    match event:
        case RunStarted():
            return "run-started", {"task": event.task, "fleet": event.fleet, "reason": event.reason, **_plan(event)}
        case Resumed():
            return "run-resumed", {**_plan(event), "gone": list(event.gone)}
        case PhaseStarted():
            title = event.title or event.phase.value
            return "phase-started", {"phase": event.phase.value, "title": title, "hosts": list(event.hosts)}
        case Intent():
            steps = [verb.value for verb in event.verbs]
            return "host-begins", {"host": event.host, "phase": event.phase.value, "steps": steps}
        case Waiting():
            return "host-waits", {
                "host": event.host,
                "cause": hints.document(event.cause, fleet, event.host),
                "seconds": event.seconds,
            }
        case MeterRead():
            return "meter-read", {"host": event.host, **asdict(event.counted)}
        case Outcome():
            return "host-answered", _outcome(event, fleet)
        case _:
            return _of_the_run(event)


def _of_the_run(
    event: Claimed | TokenChosen | TokensRevoked | Retried | Readmitted | Approved | CensusTaken | _Asked | _End,
) -> tuple[str, dict[str, Any]]:
    match event:
        case Claimed():
            return "hosts-claimed", {"epoch": event.epoch}
        case TokenChosen():
            return "token-chosen", {"token": str(event.fingerprint), "given": event.given}
        case TokensRevoked():
            return "tokens-condemned", {"tokens": _fp6(event.fingerprints)}
        case OperatorAsked() | OperatorAnswered():
            return _question(event)
        case Retried():
            return "again", {"attempt": event.attempt, "hosts": list(event.hosts)}
        case Readmitted() | Approved():
            return _permission(event)
        case CensusTaken():
            return "census-taken", {
                "uses": [_use(use) for use in event.uses],
                "unread": [{"host": name, "why": one_line(why)} for name, why in event.unread],
            }
        case _:
            return _of_the_end(event)


def _permission(event: Readmitted | Approved) -> tuple[str, dict[str, Any]]:
    if isinstance(event, Readmitted):
        return "hosts-readmitted", {"hosts": list(event.hosts)}
    keys = [{"person": signed.person, "key": signed.fingerprint} for signed in event.signatures]
    return "approved", {"plan": event.plan, "sha256": event.digest, "signatures": keys}


def _question(event: _Asked) -> tuple[str, dict[str, Any]]:
    return ("operator-answered", {"yes": event.yes}) if isinstance(event, OperatorAnswered) else ("operator-asked", {})


def _of_the_end(event: _End) -> tuple[str, dict[str, Any]]:
    match event:
        case Stopped():
            return "stopped", {"phase": event.phase.value, "why": one_line(event.why)}
        case OverlapBegan():
            return "overlap-began", {"until": datetime.fromtimestamp(event.until, UTC).isoformat(timespec="seconds")}
        case FellBack():
            return "fell-back", {"why": one_line(event.why)}
        case Paused():
            return "run-interrupted", {}
        case Superseded():
            return "run-superseded", {"by": event.by}
        case RunEnded():
            return "run-ended", {"exit_code": int(event.code)}


def _plan(event: RunStarted | Resumed) -> dict[str, Any]:
    return {
        "who": event.who,
        "hosts": list(event.hosts),
        "left_out": list(event.left_out),
        "excluded": list(event.excluded),
        "window": one_line(event.window) or None,
        "waves": [{"phase": phase.value, "hosts": list(names)} for phase, names in event.waves],
    }


def _outcome(event: Outcome, fleet: Fleet) -> dict[str, Any]:
    token = event.seen.token if event.seen else None
    calls = event.proof.calls if event.proof else {}
    return {
        "host": event.host,
        "phase": event.phase.value,
        "status": event.status.value,
        "state": event.state.value,
        "cause": hints.document(event.cause, fleet, event.host),
        "token": str(token) if token else None,
        "proofs": {call: status for call, status in calls.items() if call in CALLS} if calls else None,
        "seconds": round(sum(step.seconds for step in event.steps), 3),
    }


def _use(use: Use) -> dict[str, Any]:
    """A use of a token after it was replaced, by a host's own records."""
    return {
        "host": use.host,
        "token": use.token,
        "address": one_line(use.address) or None,
        "path": one_line(use.path) or None,
        "let_in": use.ok,
        "count": use.count,
    }


def _fp6(fingerprints: Iterable[Fingerprint]) -> list[str]:
    return [str(fingerprint) for fingerprint in fingerprints]
