"""What must not be forgotten: why a run was taken back, and whose service is out, in every form in which it is told."""

import json
from pathlib import Path

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Event, Phase, PhaseStarted
from hivekeys.journal.fold import fold
from hivekeys.journal.progress import Direction, Progress
from hivekeys.report.page import page
from hivekeys.report.stream import result_line
from hivekeys.report.view import view
from hivekeys.report.words import calls
from hivekeys.report.writing import html, markdown
from hivekeys.tasks.terminal.live import Show
from tests.builders.operator import Operator, breaks
from tests.builders.printed import printed, row
from tests.builders.running import show_all, then
from tests.inprocess import InProcessFleet, SharedClock

TWO_MAY_FAIL = Policy(canary=0, batch=Amount(1), max_failures=Amount(2))
LAST_WORDS = "cannot bind: permission denied"


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    fleet = InProcessFleet(tmp_path, hives=3, policy=TWO_MAY_FAIL)
    fleet.hosts["hive3"].last_words = LAST_WORDS
    fleet.at("hive3", "restart", breaks("start-fails"))
    return fleet


def left_behind(fleet: InProcessFleet) -> Operator:
    """A rotation that went on without hive3, whose service does not start any more."""
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.INCOMPLETE
    return operator


def taken_back(fleet: InProcessFleet) -> tuple[Operator, list[Event]]:
    """The same, hive3 mended, and the operator has asked for the way back: with all that both sittings recorded."""
    first = left_behind(fleet)
    fleet.hosts["hive3"].fault = None
    second = Operator(fleet, past=fold(first.events))
    assert second.roll_back() is ExitCode.DONE
    return second, [*first.events, *second.events]


def said_in_every_form(operator: Operator, events: list[Event], code: ExitCode) -> dict[str, str]:
    run, inventory = operator.runner.run, operator.fleet.inventory
    shown = page(run, events, inventory)
    return {
        "lines": "\n".join(report.summary_lines(run, code, inventory)),
        "json": json.dumps(report.document(run, inventory, code)),
        "html": html(shown),
        "markdown": markdown(shown).replace("\\", ""),
        "events": json.dumps(result_line(run, code, 0.0, inventory)),
    }


def test_a_run_that_was_taken_back_says_in_every_form_why_that_was_needed(fleet: InProcessFleet) -> None:
    operator, events = taken_back(fleet)
    for form, said in said_in_every_form(operator, events, ExitCode.DONE).items():
        assert "start-failed" in said, form
        assert LAST_WORDS in said, form
        assert "hive3" in said, form


def test_the_live_view_of_the_way_back_says_it_from_its_first_phase_on(fleet: InProcessFleet) -> None:
    _, events = taken_back(fleet)
    first = next(place for place, event in enumerate(events) if type(event).__name__ == "Resumed")
    progress = Progress(fold(events[:first]), Direction.BACK)
    for event in events[first:]:
        progress = then(progress, event)
        lines = [line.plain for line in view(progress, Moment(0.0, 0.0), 120, 30)]
        assert any(line.startswith(f"hive3: start-failed: {LAST_WORDS}") for line in lines), event


def test_piped_lines_of_the_way_back_say_it(fleet: InProcessFleet, capsys: pytest.CaptureFixture[str]) -> None:
    first = left_behind(fleet)
    fleet.hosts["hive3"].fault = None
    past = fold(first.events)
    show = Show(past=past, way=Direction.BACK)
    second = Operator(fleet, past=past)
    second.roll_back()
    show_all(show, second.events)
    said = capsys.readouterr().err
    assert f"hive3: start-failed: {LAST_WORDS} (the run was taken back because of this)" in said
    assert "hive2: rolled back, " in said


def test_why_it_stopped_at_first_stays_beside_why_it_was_taken_back_in_the_end(tmp_path: Path) -> None:
    """The queen did not come back, so the way back was gone a second time."""
    fleet = InProcessFleet(tmp_path, hives=2, policy=Policy(canary=0, batch=Amount(1), max_failures=Amount(0)))
    fleet.at("hive2", "restart", breaks("start-fails"))

    def goes_away(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.ROLLBACK:
            fleet.hosts["queen"].fault = "link-down"

    first = Operator(fleet, on_event=goes_away)
    assert first.rotate() is ExitCode.INCOMPLETE
    fleet.hosts["queen"].fault = fleet.hosts["hive2"].fault = None
    second = Operator(fleet, past=fold(first.events), clock=SharedClock(fleet))
    assert second.roll_back() is ExitCode.DONE
    said = said_in_every_form(second, [*first.events, *second.events], ExitCode.DONE)
    for form in ("lines", "json", "html", "markdown"):
        assert "1 of 3 hosts failed (hive2); max_failures is 0" in said[form], form
        assert "the operator asked to roll back" in said[form], form


def test_a_host_whose_service_is_down_is_out_of_service_and_not_what_it_answered_before(fleet: InProcessFleet) -> None:
    operator = left_behind(fleet)
    run, inventory = operator.runner.run, fleet.inventory
    assert "out of service now" in row(report.result_table(run, inventory, 120), "hive3", 120)
    assert "200" not in row(report.result_table(run, inventory, 120), "hive3", 120)
    assert "200 401 401 401" in row(report.result_table(run, inventory, 120), "hive2", 120)
    last = f"hive3: out of service now (the unit is failed); last lines: {LAST_WORDS}"
    assert last in report.failure_lines(run, inventory)
    hive3 = next(host for host in report.document(run, inventory)["hosts"] if host["host"] == "hive3")
    assert (hive3["in_service"], hive3["proofs"]) == (False, None)
    (group,) = page(run, operator.events, inventory).groups
    assert [line.out for line in group.lines] == ["", "", "", "out of service now"]
    for text in (html(page(run, operator.events, inventory)), markdown(page(run, operator.events, inventory))):
        assert "out of service now" in text


def test_a_host_that_was_lost_while_it_restarted_is_not_shown_with_its_answers_from_before(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=2, policy=TWO_MAY_FAIL)
    fleet.at("hive2", "restart", breaks("link-down"))
    operator = Operator(fleet)
    operator.rotate()
    hive2 = operator.runner.run.hosts["hive2"]
    assert (calls(hive2), hive2.state.value) == ("–", "unknown")


def test_of_a_program_that_said_nothing_systemds_own_words_are_the_last_lines(fleet: InProcessFleet) -> None:
    fleet.hosts["hive3"].last_words = ""
    run = left_behind(fleet).runner.run
    last = "last lines: rbee-hive.service: Failed with result 'exit-code'."
    (line,) = [line for line in report.failure_lines(run, fleet.inventory) if "out of service" in line]
    assert line.endswith(last)


def test_a_large_fleet_that_is_out_is_told_in_a_few_lines(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=12, policy=Policy(canary=0, batch=Amount(12), max_failures=Amount(12)))
    for name in list(fleet.hosts)[1:]:
        fleet.at(name, "restart", breaks("start-fails"))
    operator = Operator(fleet)
    operator.rotate()
    lines = [line for line in report.failure_lines(operator.runner.run, fleet.inventory) if "out of service" in line]
    assert len(lines) == 9
    assert lines[-1].startswith("out of service now as well: hive[9:12]")


def test_a_table_of_a_host_that_is_out_still_fits(fleet: InProcessFleet) -> None:
    run = left_behind(fleet).runner.run
    for width in (60, 80, 120):
        table = report.result_table(run, fleet.inventory, width)
        assert all(len(line) <= width for line in printed(table, width).splitlines())
        assert "hive3" in printed(table, width)
