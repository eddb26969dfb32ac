"""What must never be seen of a token, and what a host that lies can do: nothing but be called a liar."""

import dataclasses
import json
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Host
from hivekeys.journal.events import Event, State
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.verbs import Step
from hivekeys.ssh.line import Line
from hivekeys.token import Token, generate
from tests.builders.answers import answers
from tests.builders.documents import valid
from tests.builders.operator import Operator, breaks
from tests.inprocess import InProcessDialer, InProcessFleet, InProcessLine

MARKED = Token("recognisable" + "0123456789abcdef" * 4)


def printed(*things: object) -> str:
    """What a terminal would show."""
    console = Console(width=300, color_system="truecolor", force_terminal=True)
    with console.capture() as capture:
        for thing in things:
            console.print(thing)
    return capture.get()


def everything_shown(operator: Operator) -> str:
    """All that a run gives to people, programs and logs."""
    run, fleet = operator.run, operator.fleet.inventory
    return "\n".join(
        [
            *map(repr, operator.events),
            *map(str, operator.events),
            repr(run),
            repr(vars(operator.runner)),
            json.dumps(valid(report.document(run, fleet))),
            json.dumps(valid(report.history_document([run], fleet, [], ExitCode.DONE))),
            *report.failure_lines(run, fleet),
            printed(report.plan_table(run, fleet), report.result_table(run, fleet), report.history_table([run])),
        ]
    )


def parts(found: object) -> Iterator[object]:
    """A value and all that it is made of."""
    yield found
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        for field in dataclasses.fields(found):
            yield from parts(getattr(found, field.name))
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from parts(key)
            yield from parts(value)
    elif isinstance(found, tuple | list):
        for value in found:
            yield from parts(value)


@pytest.mark.parametrize("fault", [None, "start-fails", "keeps-old-token", "crash-loops", "disk-full", "link-down"])
def test_a_run_shows_neither_the_new_token_nor_the_old(tmp_path: Path, fault: str | None) -> None:
    fleet = InProcessFleet(tmp_path)
    for host in fleet.hosts.values():
        host.last_words = f"error: cannot start with {MARKED.reveal()} or {fleet.token.reveal()}"
    if fault:
        fleet.at("hive2", "swap", breaks(fault))
    operator = Operator(fleet, token=MARKED)
    operator.rotate()
    shown = everything_shown(operator)
    assert "recognisable" not in shown
    assert fleet.token.reveal() not in shown


def test_no_event_and_no_step_holds_a_token(tmp_path: Path) -> None:
    operator = Operator(InProcessFleet(tmp_path), token=MARKED)
    operator.rotate()
    found = [part for event in operator.events for part in parts(event)]
    assert not any(isinstance(part, Token) for part in found)
    assert not any(isinstance(part, str) and MARKED.reveal() in part for part in found)
    assert "Token" not in {field.type for field in dataclasses.fields(Step)}


def test_a_token_travels_only_in_a_greeting_and_to_be_staged(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    carriers: set[str] = set()

    def listen(_: object, request: dict[str, Any]) -> None:
        carriers.update(step["verb"] for step in request["steps"] if MARKED.reveal() in json.dumps(step))

    fleet.on_request = listen
    assert Operator(fleet, token=MARKED).rotate() is ExitCode.DONE
    assert carriers == {"hello", "stage"}


def test_an_exception_from_the_middle_of_a_run_shows_no_token(tmp_path: Path) -> None:
    def journal_is_lost(event: Event) -> None:
        if "STAGE" in repr(event):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone") as caught:
        Operator(InProcessFleet(tmp_path), token=MARKED, on_event=journal_is_lost).rotate()
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "recognisable" not in "".join(told.format())


# -- hosts that lie


class Liar:
    """A line that hands out the dialer's answer in place of the agent's, once its honest requests are used up."""

    def __init__(self, line: InProcessLine, dialer: "LyingDialer") -> None:
        self.line, self.dialer = line, dialer

    def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
        truth = self.line.ask(request, deadline)
        self.dialer.honest -= 1
        if self.dialer.honest >= 0 or isinstance(truth, Cause):
            return truth
        lie = self.dialer.lie
        answer: dict[str, object] = lie(truth) if callable(lie) else lie
        return answer

    @property
    def took(self) -> float:
        return self.line.took

    def call_off(self) -> None:
        self.line.call_off()

    def close(self) -> None:
        self.line.close()


class LyingDialer(InProcessDialer):
    """Hive1 lies, after so many honest answers."""

    def __init__(self, fleet: InProcessFleet, lie: Any, honest: int) -> None:
        super().__init__(fleet)
        self.lie, self.honest = lie, honest

    def dial(self, host: Host) -> Line | Cause:  # type: ignore[override]  # any line will do
        line = super().dial(host)
        return Liar(line, self) if isinstance(line, InProcessLine) and host.name == "hive1" else line


class LiedTo(Operator):
    """An operator whose hive1 lies."""

    def __init__(self, folder: Path, lie: Any, honest: int = 0) -> None:
        fleet = InProcessFleet(folder, hives=1)
        super().__init__(fleet, dialer=LyingDialer(fleet, lie, honest))


@settings(max_examples=25, deadline=None)
@given(answers, st.integers(0, 3))
def test_rubbish_in_place_of_an_answer_is_never_an_exception_and_never_a_success(answer: Any, honest: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        operator = LiedTo(Path(folder), answer, honest)
        assert operator.rotate() in (ExitCode.ROLLED_BACK, ExitCode.INCOMPLETE, ExitCode.LOCKED)
        assert operator.states["hive1"] not in (State.PROVEN, State.HEALTHY)
        assert operator.fleet.hosts["queen"].accepts(operator.fleet.token)
        everything_shown(operator)


def changed_answer(verb: str, change: dict[str, Any]) -> Any:
    """A lie: the agent's own answer, but for these facts of one verb."""

    def lie(truth: dict[str, Any]) -> dict[str, Any]:
        for result in truth["results"]:
            if result["verb"] == verb:
                result["facts"].update(change)
        return truth

    return lie


def test_a_host_that_recalls_another_token_is_not_believed(tmp_path: Path) -> None:
    """Or it would have the run bring a token to the fleet that somebody else knows."""
    for name, said in (("true", None), ("false", generate())):
        lie = changed_answer("recall", {"token": said.reveal()} if said else {})
        operator = LiedTo(tmp_path / name, lie)
        operator.fleet.hosts["hive1"].write(operator.token, ".new")
        assert operator.look()
        operator.runner.introduce()
        want = operator.runner.fingerprint(operator.token)
        operator.runner.read_tokens({want})
        operator.runner.end()
        assert operator.runner.tokens == ({} if said else {want: operator.token})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e308, -1e308, "1", "nan", True])
def test_a_clock_that_is_no_time_is_rubbish(tmp_path: Path, number: object) -> None:
    operator = LiedTo(tmp_path, changed_answer("observe", {"clock": number}))
    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert operator.troubles == {"hive1": Trouble.RUBBISH}
    everything_shown(operator)


@pytest.mark.parametrize("facts", [{"calls": {}, "proven": False}, {"proven": False}])
def test_a_proof_that_proves_nothing_never_counts_as_proven(tmp_path: Path, facts: dict[str, Any]) -> None:
    def lie(truth: dict[str, Any]) -> dict[str, Any]:
        for result in truth["results"]:
            if result["verb"] == "prove":
                result["facts"] = {"calls": {}} | facts
        return truth

    operator = LiedTo(tmp_path, lie)
    assert operator.rotate() is ExitCode.INCOMPLETE
    assert operator.states["hive1"] is State.HEALTHY
    assert operator.fleet.hosts["queen"].slots()["previous"] == operator.fleet.token.reveal(), "nothing is retired"


def test_a_proof_without_any_facts_is_no_proof(tmp_path: Path) -> None:
    def lie(truth: dict[str, Any]) -> dict[str, Any]:
        for result in truth["results"]:
            if result["verb"] == "prove":
                result["facts"] = {}
        return truth

    operator = LiedTo(tmp_path, lie)
    assert operator.rotate() is not ExitCode.DONE
    assert operator.states["hive1"] is not State.PROVEN


def test_an_answer_to_another_question_is_rubbish(tmp_path: Path) -> None:
    def lie(truth: dict[str, Any]) -> dict[str, Any]:
        for result in truth["results"]:
            result["verb"] = "retire"
        return truth

    operator = LiedTo(tmp_path, lie)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert operator.troubles == {"hive1": Trouble.RUBBISH}


def test_what_a_host_says_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    """Colours, links, cursor moves and line breaks out of a service's last words stay plain text on one line."""
    fleet = InProcessFleet(tmp_path, hives=2)
    fleet.hosts["hive1"].last_words = "[bold red]boo[/] [link=http://evil]x[/link] \x1b[2J\x1b]0;owned\x07 a\r\nb\u202e"
    fleet.hosts["hive1"].fault = "start-fails"
    operator = Operator(fleet)
    operator.rotate()
    cause = operator.run.hosts["hive1"].cause
    assert cause is not None
    assert "[bold red]boo[/] [link=http://evil]x[/link]" in cause.detail
    assert cause.detail.isprintable()
    shown = printed(report.result_table(operator.run, fleet.inventory))
    assert "\x1b[2J" not in shown
    assert "owned" not in shown


@pytest.mark.parametrize("place", ["detail", "verb", "facts"])
def test_a_host_that_sends_the_token_back_is_not_written_down(tmp_path: Path, place: str) -> None:
    """An agent takes tokens out of what it says. A host that does not must not get them into a report."""

    class Echo:
        def __init__(self, line: Line) -> None:
            self.line = line

        def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
            answer: Any = self.line.ask(request, deadline)
            if MARKED.reveal() in str(request) and not isinstance(answer, Cause):
                answer["results"][-1][place] = {"x": MARKED.reveal()} if place == "facts" else MARKED.reveal()
            return cast("dict[str, object]", answer)

        @property
        def took(self) -> float:
            return self.line.took

        def call_off(self) -> None:
            self.line.call_off()

        def close(self) -> None:
            self.line.close()

    class EchoDialer(InProcessDialer):
        def dial(self, host: Host) -> Line | Cause:  # type: ignore[override]  # any line will do
            line = super().dial(host)
            return Echo(line) if isinstance(line, InProcessLine) and host.name == "hive2" else line

    fleet = InProcessFleet(tmp_path)
    operator = Operator(fleet, token=MARKED, dialer=EchoDialer(fleet))
    operator.rotate()
    assert operator.run.hosts["hive2"].state is not State.PROVEN
    shown = everything_shown(operator)
    assert MARKED.reveal() not in shown
    assert "sent the token back" in shown
