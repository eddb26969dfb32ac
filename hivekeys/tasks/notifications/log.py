"""`--log journald` and `--log syslog`: writes a run into the bastion's own log, an entry a phase and a host's outcome.

systemd's journal gets fields (systemd.io/JOURNAL_NATIVE_PROTOCOL): HIVEKEYS_RUN, _FLEET, _TASK, _EVENT, and where there
is one _PHASE, _HOST, _STATE, _TROUBLE, _EXIT_CODE. syslog gets the same line with the run before it. A log that takes
nothing is a warning, once, and changes no run.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.journal.events import (
    Approved,
    Event,
    FellBack,
    OperatorAsked,
    Outcome,
    OverlapBegan,
    Paused,
    PhaseStarted,
    Resumed,
    RunEnded,
    RunStarted,
    Status,
    Stopped,
    TokensRevoked,
)
from hivekeys.journal.run import Run
from hivekeys.report.words import failure_line, stop_line, summary
from hivekeys.text.clean import one_line
from hivekeys.text.names import fold_names

JOURNALD, SYSLOG = "journald", "syslog"
SOCKETS = {JOURNALD: "/run/systemd/journal/socket", SYSLOG: "/dev/log"}
NAME = "hivekeys"
PATIENCE = 1.0  # seconds that a log may take for an entry
INFO, WARNING, ERR = 6, 4, 3  # syslog(3): the priority
DAEMON = 3 << 3  # the facility


@dataclass(frozen=True)
class Entry:
    """A line of the log, how urgent it is, and the fields that a journal finds it by."""

    line: str
    priority: int
    fields: dict[str, str]


def entry_of(event: Event, run: Run) -> Entry | None:
    """The entry for an event of the run, which has it already; None for one that a log need not have."""
    line, priority, own = _line(event, run) or ("", INFO, {})
    if not line:
        return None
    fields = {"RUN": run.id, "FLEET": run.fleet, "TASK": run.task, "EVENT": type(event).__name__, **own}
    return Entry(one_line(line), priority, {name: one_line(text) for name, text in fields.items()})


def _line(event: Event, run: Run) -> tuple[str, int, dict[str, str]] | None:
    match event:
        case RunStarted():
            why = f": {event.reason}" if event.reason else ""
            return f"{event.task} of fleet {event.fleet} by {event.who}, {len(event.hosts)} hosts{why}", INFO, {}
        case Resumed():
            return f"taken up again by {event.who}, {len(event.hosts)} hosts", INFO, {}
        case PhaseStarted() if event.hosts:
            words = f"{event.title or event.phase.value}: {fold_names(event.hosts)}"
            return words, INFO, {"PHASE": event.phase.value}
        case Outcome():
            return _outcome(event)
        case TokensRevoked():
            return f"revoked: {', '.join(map(str, event.fingerprints))}", WARNING, {}
        case _:
            return _of_the_run(event, run)


def _of_the_run(event: Event, run: Run) -> tuple[str, int, dict[str, str]] | None:
    match event:
        case Approved():
            return f"plan {event.plan}, approved by {', '.join(event.persons)}", INFO, {"PLAN": event.plan}
        case FellBack():
            return f"one token at a time: {event.why}", WARNING, {}
        case Stopped():
            return stop_line(event), ERR, {"PHASE": event.phase.value}
        case OperatorAsked():
            return "waits for the operator's answer", INFO, {}
        case OverlapBegan():
            return "both tokens are accepted", INFO, {}
        case Paused():
            return "interrupted", WARNING, {"EXIT_CODE": str(int(event.code))}
        case RunEnded():
            code = {"EXIT_CODE": str(int(event.code))}
            return summary(run, event.code), ERR if event.code else INFO, code
    return None


def _outcome(event: Outcome) -> tuple[str, int, dict[str, str]]:
    fields = {"PHASE": event.phase.value, "HOST": event.host, "STATE": event.state.value}
    if event.status is Status.OK:
        return f"{event.host}: {event.phase.value}: {event.state.value}", INFO, fields
    trouble = {"TROUBLE": event.cause.trouble.value} if event.cause else {}
    return failure_line(event), ERR, fields | trouble


class Log:
    """Where entries go. Raises UserError where the bastion has no such log."""

    def __init__(self, kind: str, warn: Callable[[str], None]) -> None:
        self._kind, self._warn = kind, warn
        refuse_missing(kind)
        self._form = _for_journald if kind == JOURNALD else _for_syslog
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.settimeout(PATIENCE)  # whatever the daemon at the other end does
        self._takes = True

    def on_event(self, event: Event, run: Run) -> None:
        """An event of the run, which has it already."""
        entry = entry_of(event, run)
        if entry is None or not self._takes:
            return
        try:
            self._line.sendto(self._form(entry).encode(), SOCKETS[self._kind])
        except OSError as error:
            self._takes = False
            self._warn(f"--log {self._kind}: {error.strerror or error}: the rest of this run is not in the log")

    def close(self) -> None:
        self._line.close()


def refuse_missing(kind: str) -> None:
    """Raises UserError for a log that this bastion has not."""
    if kind not in SOCKETS:
        raise UserError(f"--log {kind}: expected {' or '.join(SOCKETS)}")
    if not Path(SOCKETS[kind]).is_socket():
        other = next((name for name, place in SOCKETS.items() if Path(place).is_socket()), "")
        hint = f"--log {other}" if other else "leave it out"
        raise UserError(f"--log {kind}: this bastion has none ({SOCKETS[kind]})", hint=hint)


def _for_journald(entry: Entry) -> str:
    """NAME=VALUE lines; no value has a line break in it."""
    own = "".join(f"HIVEKEYS_{name}={text}\n" for name, text in entry.fields.items() if text)
    return f"MESSAGE={entry.line}\nPRIORITY={entry.priority}\nSYSLOG_IDENTIFIER={NAME}\n{own}"


def _for_syslog(entry: Entry) -> str:
    return f"<{DAEMON | entry.priority}>{NAME}: {entry.fields['RUN']}: {entry.line}"
