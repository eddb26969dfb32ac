"""How a run is told: events for programs, lines for logs, a screen that is resized."""

import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import termios
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console
from rich.text import Text

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Amount, Fleet, Policy
from hivekeys.journal.events import (
    Approved,
    OperatorAnswered,
    OperatorAsked,
    Phase,
    Resumed,
    RunStarted,
    Signed,
    Waiting,
)
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.report.stream import line_of, not_due_line, result_line
from hivekeys.tasks.options.output import OutputOptions
from hivekeys.tasks.terminal import stream
from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.terminal.screen import Screen, fitted, rows_of
from hivekeys.tasks.terminal.stream import Stream
from hivekeys.text.documents import refusal
from tests.builders.operator import Operator, breaks
from tests.builders.project import PROJECT
from tests.builders.running import at, fails, midway, names, show_all
from tests.inprocess import InProcessFleet

SCHEMA = json.loads((PROJECT / "docs" / "events.schema.json").read_text())
BLUE = Fleet("blue", ())
VALID = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


def lines_of(operator: Operator, code: ExitCode) -> list[dict[str, Any]]:
    """What `--events` says of a run."""
    run = operator.runner.run
    lines = [line_of(event, run.id, operator.runner.fleet) for event in operator.events]
    return json.loads(json.dumps([*lines, result_line(run, code, 1_790_000_000.0, operator.runner.fleet)]))  # type: ignore[no-any-return]


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path / "hosts", policy=Policy(revocation_recheck=0.0))


# -- events


def stories(fleet: InProcessFleet) -> Iterator[tuple[list[dict[str, Any]], Operator]]:
    """A rotation that goes well, one that goes back, a revocation that leaves a host, a run that is taken up again."""
    well = Operator(fleet, meters=True)
    yield lines_of(well, well.rotate()), well
    fleet.at("hive2", "restart", breaks("start-fails"))
    back = Operator(fleet, run="run-2")
    yield lines_of(back, back.rotate()), back
    leaked = Operator(fleet, run="run-3", task=REVOKE)
    yield lines_of(leaked, leaked.revoke(attempts=2)), leaked
    fleet.hosts["hive2"].fault = None
    again = Operator(fleet, past=fold(leaked.events), token=leaked.token)
    yield lines_of(again, again.revoke()), again


def test_every_line_of_every_kind_of_run_fits_the_schema(fleet: InProcessFleet) -> None:
    seen = set()
    for lines, _ in stories(fleet):
        for line in lines:
            VALID.validate(line)
            seen.add(line["type"])
        assert lines[0]["type"] in ("run-started", "run-resumed")
        assert lines[-1]["type"] == "result"
        assert lines[-1]["states"].keys() == set(fleet.hosts)
    line = not_due_line("blue", 86400.4, 1_790_000_000.0)
    VALID.validate(line)
    assert line["age_seconds"] == 86400
    VALID.validate(line_of(midway_event(), "blue-1", BLUE))
    missed = set(SCHEMA["$defs"]) - seen - {"host", "run", "time", "fp6", "phase", "state", "cause", "use", "mistake"}
    rare = {
        "not-due",
        "run-interrupted",
        "census-taken",
        "host-waits",
        "operator-asked",
        "operator-answered",
        "approved",
    }
    assert missed == {*rare, "fell-back", "overlap-began", "refusal"}
    VALID.validate(line_of(OperatorAsked(at(1)), "blue-1", BLUE))
    VALID.validate(line_of(OperatorAnswered(True, at(2)), "blue-1", BLUE))
    VALID.validate(line_of(waiting(), "blue-1", BLUE))
    VALID.validate(refusal.line(refusal.document("another run is at work", "`fab status` shows it", 5, ()), 1.0))
    signed = Signed("bob@example", "ssh-ed25519 AAAA", "SHA256:abc", ())
    VALID.validate(line_of(Approved("0123456789abcdef", "00" * 32, (), (signed,), at(3)), "blue-1", BLUE))


def waiting() -> Waiting:
    holder = "run blue-1 of bob@bastion, at work for 12 s, since 2026-11-25 02:00:00 UTC by the host's clock"
    return Waiting("queen", Cause(Trouble.HOST_BUSY, holder), 32.0, at(12))


def test_whose_lock_is_waited_for_is_a_line_that_stays(capfd: pytest.CaptureFixture[str]) -> None:
    show = Show()
    show_all(show, [midway_event(), waiting()])
    assert "waiting for the lock of run blue-1 of bob@bastion on queen, at most 32 s" in capfd.readouterr().err


def test_of_a_wave_that_is_turned_and_then_watched_each_host_is_named_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    operator = Operator(InProcessFleet(tmp_path, policy=Policy(canary=0, batch=Amount(3), width=1)))
    assert operator.rotate() is ExitCode.DONE
    show_all(Show(), operator.events)
    lines = capfd.readouterr().err.splitlines()
    waves = [line.partition(" ")[2] for line in lines if "wave" in line]
    assert waves == ["wave 1 of 1: 3 hosts", "wave 1 of 1, watched: 3 hosts"]
    assert len([line for line in lines if "hive2" in line]) == 1


def test_the_schema_knows_every_trouble() -> None:
    assert SCHEMA["$defs"]["cause"]["properties"]["trouble"]["enum"] == [trouble.value for trouble in Trouble]


def midway_event() -> RunStarted:
    return next(event for event in midway(5, 2) if isinstance(event, RunStarted))


def test_the_schema_refuses_what_nobody_promised() -> None:
    line = line_of(midway_event(), "blue-1", BLUE)
    for wrong in (
        {**line, "version": 2},
        {**line, "type": "other"},
        {**line, "token": "a" * 64},
        {**line, "time": "x"},
    ):
        assert not VALID.is_valid(wrong)


def test_no_token_and_no_keyed_fingerprint_is_in_a_stream(fleet: InProcessFleet) -> None:
    for lines, operator in stories(fleet):
        text = json.dumps(lines)
        for token in (fleet.token, operator.token):
            assert token.reveal() not in text
            assert operator.runner.fingerprint(token).keyed not in text
        assert operator.token.fingerprint(b"").fp6 in text


def test_what_a_host_says_stays_inside_its_line() -> None:
    failed = fails("hive1", Phase.CANARY, 4, Trouble.UNHEALTHY, 'x"\n{"type": "result"}\u2028\x1b[2J')
    encoded = json.dumps(line_of(failed, "blue-1", BLUE))
    assert encoded.isprintable() and encoded.isascii()
    assert json.loads(encoded)["cause"]["detail"] == 'x" {"type": "result"} [2J'


def test_every_kind_of_event_has_a_line(fleet: InProcessFleet) -> None:
    resumed = Resumed("ann", ("queen",), ((Phase.QUEEN, ("queen",)),), (), at(0))
    assert line_of(resumed, "blue-1", BLUE)["type"] == "run-resumed"


def test_the_first_line_says_whether_it_was_an_allowed_time() -> None:
    """As `--json` does; a fleet without [windows] has none."""
    begun = replace(midway_event(), window="open until Mon 16:00")
    for event in (begun, Resumed("ann", ("queen",), (), (), at(0), window="open until Mon 16:00")):
        line = line_of(event, "blue-1", BLUE)
        VALID.validate(line)
        assert line["window"] == "open until Mon 16:00"
    assert line_of(midway_event(), "blue-1", BLUE)["window"] is None


# -- the stream and its reader


def test_a_reader_that_never_reads_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PATIENCE", 0.1)
    theirs, ours = os.pipe()
    warnings: list[str] = []
    writer = Stream(ours, warnings.append)
    for number in range(3000):  # a pipe takes 64 KiB
        writer.write({"number": number, "fill": "x" * 200})
    writer.close()
    assert warnings == ["no program reads the events on standard output: some of them are lost"]
    os.close(theirs)


def test_a_reader_that_has_gone_is_one_warning() -> None:
    theirs, ours = os.pipe()
    os.close(theirs)
    warnings: list[str] = []
    writer = Stream(ours, warnings.append)
    for number in range(10):
        writer.write({"number": number})
    writer.close()
    os.close(ours)
    assert warnings == ["the events cannot be written to standard output: Broken pipe; the run goes on"]


def test_a_slow_reader_gets_every_line_in_order() -> None:
    theirs, ours = os.pipe()
    warnings: list[str] = []
    writer = Stream(ours, warnings.append)
    found: list[dict[str, Any]] = []

    def read() -> None:
        with os.fdopen(theirs) as reader:
            found.extend(json.loads(line) for line in reader)

    reader = threading.Thread(target=read)
    for number in range(5000):
        writer.write({"number": number, "fill": "x" * 50})
    reader.start()
    writer.close()
    os.close(ours)
    reader.join(30)
    assert [line["number"] for line in found] == list(range(5000))
    assert warnings == []


# -- options


def test_events_and_json_do_not_go_together() -> None:
    with pytest.raises(UserError, match="--events and --json both want standard output") as refused:
        OutputOptions(json=True, events=True)
    assert refused.value.hint


def test_quiet_leaves_only_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    for how, lines in ((OutputOptions(quiet=True), 1), (OutputOptions(), 10)):
        show = Show(how)
        show_all(show, [*midway(5, 2), fails("hive3", Phase.WAVE, 13, Trouble.UNHEALTHY, "[red]no\x1b[0m[/]")])
        err = capsys.readouterr().err.splitlines()
        assert len(err) == lines
        assert err[-1].endswith("hive3: failed: unhealthy: [red]no [0m[/]")


def test_piped_lines_have_a_zone_are_never_broken_and_tell_each_hosts_outcome(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = Show()
    show_all(show, [*midway(5, 2), fails("hive3", Phase.WAVE, 13, Trouble.UNHEALTHY, "no " * 60)])
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d[+-]\d{4} ", line) for line in lines), lines
    told = [line.split(" ", 1)[1] for line in lines]
    assert [line for line in told if ": proven" in line] == [f"  {name}: proven, 0.0 s" for name in names(2)]
    assert told[-1] == "  hive3: failed: unhealthy: " + ("no " * 60).strip()
    show.line("a" + " b" * 400)
    assert len(capsys.readouterr().out.splitlines()) == 1


# -- the screen


class Pane:
    """A terminal that is looked at as bytes, and resized."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.file = os.fdopen(theirs, "w")
        self.console = Console(file=self.file, force_terminal=True, color_system=None, highlight=False)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, words: str) -> str:
        """What was written, to these words."""
        shown = ""
        while words not in shown:
            ready, _, _ = select.select([self.ours], [], [], 10)
            assert ready, f"no {words!r} in {shown!r}"
            shown += os.read(self.ours, 65536).decode()
        return shown


@pytest.fixture
def pane() -> Iterator[Pane]:
    pane = Pane()
    pane.resize(80, 24)
    yield pane
    pane.file.close()
    os.close(pane.ours)


def test_a_narrower_terminal_is_cleared_of_the_lines_that_it_broke(pane: Pane) -> None:
    sizes: list[tuple[int, int]] = []

    def draw(width: int, height: int) -> list[Text]:
        sizes.append((width, height))
        return [Text("x" * width), Text(f"[red]{width} columns[/]")]

    screen = Screen(pane.console, draw)
    assert "[red]79 columns[/]" in pane.until("columns[/]\x1b[K")
    pane.resize(30, 10)
    narrow = pane.until("[red]29 columns[/]\x1b[K")
    assert "\x1b[4F" in narrow, "79 characters are three rows of 30, and there is another line"
    screen.end(keep=True)
    assert pane.until("\x1b[?25h")
    assert sizes[-1] == (29, 9)


def test_nothing_is_written_while_nothing_changes_and_nothing_is_left_when_it_is_not_kept(pane: Pane) -> None:
    frames = threading.Semaphore(0)

    def draw(_: int, __: int) -> list[Text]:
        frames.release()
        return [Text("the same")]

    screen = Screen(pane.console, draw)
    assert all(frames.acquire(timeout=10) for _ in range(4))
    screen.end(keep=False)
    assert pane.until("\x1b[?25h").count("the same") == 1


def test_a_question_stands_below_the_picture_and_afterwards_both_are_drawn_over(pane: Pane) -> None:
    pictures = iter(["wave 1 of 2 is over"])
    words = ["wave 1 of 2"]

    def draw(_: int, __: int) -> list[Text]:
        words[:] = [next(pictures, words[0])]
        return [Text("rotation of fleet blue"), Text(words[0])]

    screen = Screen(pane.console, draw)
    with screen.held("Next is wave 2 of 2.\nGo on? [y/N] "):
        assert "wave 1 of 2 is over" in pane.until("\x1b[?25h"), "the picture is as new as can be"
        pane.console.print(Text("Next is wave 2 of 2.\nGo on? [y/N] "), end="")
        shown = pane.until("Go on? [y/N] ")
        assert "\x1b[2F" not in shown and "\x1b[K" not in shown, "nothing of it is taken away"
        pane.console.print("y")
        words[:] = ["wave 2 of 2"]
    assert "\x1b[4Frotation of fleet blue" in pane.until("wave 2 of 2"), "two lines and the two of the question"
    screen.end(keep=True)


def test_a_terminal_that_is_lost_disturbs_nobody() -> None:
    with os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0) as full:
        file = io.TextIOWrapper(full, write_through=True)
        frames = threading.Semaphore(0)

        def draw(_: int, __: int) -> list[Text]:
            frames.release()
            return [Text("x")]

        screen = Screen(Console(file=file, force_terminal=True), draw)
        assert frames.acquire(timeout=10)
        screen.end(keep=True)
        file.detach()


def test_rows_are_counted_as_a_terminal_breaks_lines() -> None:
    assert rows_of([Text("x" * 60), Text(""), Text("漢" * 40)], 60) == 1 + 1 + 2


def test_a_question_is_broken_between_words_and_waits_behind_its_last() -> None:
    told = fitted("restarts: queen-rbee.service on queen\nGo on? [y/N] ", 20)
    assert told == "restarts:\nqueen-rbee.service\non queen\nGo on? [y/N] "
