"""`--log`: a run in the bastion's own log, as systemd's journal and as syslog take it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Policy
from hivekeys.journal.events import Outcome, Phase, State, Status
from hivekeys.journal.fold import advance
from hivekeys.journal.run import Run
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.tasks.notifications import log
from hivekeys.tasks.notifications.log import JOURNALD, SYSLOG, Log, entry_of
from tests.builders.operator import Operator, breaks
from tests.builders.running import at
from tests.inprocess import InProcessFleet


@contextmanager
def daemon(path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> Iterator[list[str]]:
    """A log's daemon, and what it has received."""
    entries: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(path))
        monkeypatch.setitem(log.SOCKETS, kind, str(path))

        def receive() -> None:
            while text := line.recv(65536):
                entries.append(text.decode())

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield entries
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"", str(path))
            thread.join()


def logged(operator: Operator, kind: str, warn: list[str]) -> None:
    """All events of a run, as they are recorded."""
    run = Run()
    with closing(Log(kind, warn.append)) as there:
        for event in operator.events:
            run = advance(run, event)
            there.on_event(event, run)


@pytest.fixture
def rotated(tmp_path: Path) -> Operator:
    fleet = InProcessFleet(tmp_path / "hosts", policy=Policy(revocation_recheck=0.0))
    fleet.at("hive1", "restart", breaks("start-fails"))
    fleet.at("hive1", "revert", lambda host: setattr(host, "fault", None))
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    return operator


def test_the_journal_has_a_run_with_fields_that_each_entry_is_found_by(
    rotated: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    with daemon(tmp_path / "socket", monkeypatch, JOURNALD) as texts:
        logged(rotated, JOURNALD, warnings)
    entries = [dict(field.split("=", 1) for field in text.splitlines()) for text in texts]
    assert warnings == []
    assert {entry["HIVEKEYS_RUN"] for entry in entries} == {"run-1"}
    assert {entry["SYSLOG_IDENTIFIER"] for entry in entries} == {"hivekeys"}
    first, last = entries[0], entries[-1]
    assert first["MESSAGE"].startswith("rotate of fleet inprocess by ann@bastion, ")
    assert (last["HIVEKEYS_EXIT_CODE"], last["PRIORITY"]) == ("3", "3")
    failed = next(entry for entry in entries if entry.get("HIVEKEYS_TROUBLE"))
    assert (failed["HIVEKEYS_HOST"], failed["HIVEKEYS_TROUBLE"], failed["PRIORITY"]) == ("hive1", "start-failed", "3")
    back = [entry for entry in entries if entry.get("HIVEKEYS_STATE") == "rolled back"]
    assert ("queen", "rollback") in {(entry["HIVEKEYS_HOST"], entry["HIVEKEYS_PHASE"]) for entry in back}
    assert rotated.token.reveal() not in str(entries)


def test_syslog_has_the_same_lines_with_the_run_before_each(
    rotated: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    with daemon(tmp_path / "socket", monkeypatch, SYSLOG) as entries:
        logged(rotated, SYSLOG, warnings)
    assert warnings == []
    assert entries[0].startswith("<30>hivekeys: run-1: rotate of fleet inprocess by ann@bastion, ")
    assert any(entry.startswith("<27>hivekeys: run-1: hive1: failed: start-failed") for entry in entries)
    assert all(entry.startswith(("<30>", "<27>", "<28>")) for entry in entries), "daemon.info, .err, .warning"


@pytest.mark.parametrize("kind", [JOURNALD, SYSLOG])
def test_a_log_that_went_away_is_a_warning_once(
    rotated: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    warnings: list[str] = []
    with daemon(tmp_path / "socket", monkeypatch, kind):
        pass
    logged(rotated, kind, warnings)
    assert warnings == [f"--log {kind}: Connection refused: the rest of this run is not in the log"]


def test_a_log_whose_daemon_hangs_holds_a_run_up_for_a_second_at_most(
    rotated: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "PATIENCE", 0.1)
    monkeypatch.setitem(log.SOCKETS, SYSLOG, str(tmp_path / "socket"))
    warnings: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:  # nobody reads what comes
        line.bind(str(tmp_path / "socket"))
        logged(rotated, SYSLOG, warnings)
    assert warnings == ["--log syslog: timed out: the rest of this run is not in the log"]


def test_what_a_host_says_makes_no_field_and_no_second_entry() -> None:
    cause = Cause(Trouble.UNHEALTHY, "x\nPRIORITY=0\n\nMESSAGE=all is well")
    entry = entry_of(Outcome("hive1", Phase.WAVE, Status.FAILED, State.FAILED, at(1), cause), Run())
    assert entry is not None
    assert "\n" not in entry.line + "".join(entry.fields.values())


@pytest.mark.parametrize(
    ("kind", "said", "hint"),
    [
        ("journal", "--log journal: expected journald or syslog", ""),
        (JOURNALD, "--log journald: this bastion has none", "--log syslog"),
    ],
)
def test_a_log_that_is_not_there_is_refused_with_the_one_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, said: str, hint: str
) -> None:
    monkeypatch.setitem(log.SOCKETS, JOURNALD, str(tmp_path / "none"))
    with daemon(tmp_path / "socket", monkeypatch, SYSLOG), pytest.raises(UserError) as refused:
        log.refuse_missing(kind)
    assert refused.value.message.startswith(said)
    assert refused.value.hint == hint
