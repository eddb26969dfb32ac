"""What is said of a run that is over, was cut off or never begun: one verdict, whoever tells it."""

import json
import os
import pty
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hivekeys import report
from hivekeys.errors import ExitCode, UserError
from hivekeys.metrics import metrics
from hivekeys.model import Event, Paused, Phase, PhaseStarted, RunEnded
from hivekeys.report.page import page
from hivekeys.report.verdict import came_to, ended
from hivekeys.run import Run, fold
from hivekeys.status import status_of
from hivekeys.verify.findings import Record
from tasks.frame import Told
from tasks.live import Show
from tasks.rotation import confirm
from tests.inprocess import InProcessFleet
from tests.unit.rotating import Operator
from tests.unit.telling import NEW, OLD, Teller, fleet_of

PAPER = fleet_of(4)


def back_again() -> Teller:
    """Ctrl-C when two waves had turned, then `fab rollback`, which reaches every host."""
    teller = Teller(PAPER)
    teller.before()
    teller.turn()
    teller.cut(60.0)
    teller.phase(Phase.ROLLBACK, [host.name for host in PAPER.hosts])
    teller.tell(RunEnded(ExitCode.DONE, teller.now()))
    return teller


def labels(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """A metric's samples, without the fleet's label."""
    found = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return [
        ({key: value for key, value in one.labels.items() if key != "fleet"}, one.value)
        for one in found
        if one.name == f"hivekeys_{name}"
    ]


def numbers(run: Run) -> str:
    """`fab status --metrics` of a fleet whose hosts say nothing, with this as its newest run."""
    return metrics(status_of(PAPER, {}, Record({}), (), 0.0), (run,), None)


# -- taken back


def test_a_run_that_was_taken_back_is_told_so_with_the_old_token_wherever_it_is_told() -> None:
    teller = back_again()
    run = fold(teller.events)
    document = report.document(run, PAPER)
    digest = report.digest(run)
    told = page(run, teller.events, PAPER)
    for facts in (document, digest):
        assert (facts["token"], facts["new_token"], facts["exit_code"]) == (str(OLD), str(NEW), 3)
        assert facts["verdict"] == "taken back on every host that it had touched (5)"
    assert ended(run) == "3 taken back"
    assert report.standing(run, "1 h").endswith("taken back on every host that it had touched (5)")
    assert told.headline == "Taken back on every host that it had touched (5)"
    assert [tile.value for tile in told.tiles if tile.name == "exit code"] == ["3"]
    assert "exit code 3)" in report.past_summary(run)
    assert labels(numbers(run), "rotation_last_exit_code") == [({}, 3.0)]
    assert labels(numbers(run), "rotation_last_verdict") == [({"verdict": "taken back"}, 1.0)]


def test_the_command_that_took_it_back_did_what_it_was_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """`fab rollback --json` ends with 0, and its document says so; the run itself was taken back."""
    Show(Told(json=True)).result(fold(back_again().events), PAPER, ExitCode.DONE)
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["token"]) == (0, str(OLD))
    assert document["verdict"] == "taken back on every host that it had touched (5)"


# -- interrupted


def interrupted(fleet: InProcessFleet) -> Operator:
    def stop(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.CANARY:
            ann.runner.interrupt()

    ann = Operator(fleet, on_event=stop)
    assert ann.rotate() is ExitCode.INTERRUPTED
    return ann


def test_a_run_that_is_interrupted_ends_with_130_in_its_document_and_in_every_later_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = InProcessFleet(tmp_path)
    run = interrupted(fleet).runner.run
    Show(Told(json=True)).result(run, fleet.inventory, ExitCode.INTERRUPTED)
    assert json.loads(capsys.readouterr().out)["exit_code"] == 130
    assert report.document(run, fleet.inventory)["exit_code"] == report.digest(run)["exit_code"] == 130
    assert ended(run) == "cut off"
    assert labels(numbers(run), "rotation_open") == [({}, 1.0)]
    assert labels(numbers(run), "rotation_last_exit_code") == [], "it is open"


def test_an_interruption_that_an_older_release_wrote_down_is_one_too() -> None:
    teller = Teller(PAPER)
    teller.before()
    teller.tell(Paused(teller.now()))
    assert came_to(fold(teller.events)) is ExitCode.INTERRUPTED
    teller.cut(1.0)
    assert came_to(fold(teller.events)) is None, "it was taken up again, and then killed"


# -- not begun


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], int]]:
    """Somebody at the terminal, who has typed ahead."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield lambda keys: os.write(ours, keys.encode())
        os.close(ours)


def test_whoever_says_no_has_begun_nothing_and_asked_for_no_way_back(
    tmp_path: Path, keyboard: Callable[[str], int]
) -> None:
    fleet = InProcessFleet(tmp_path)
    ann = Operator(fleet)
    assert ann.rollout.look()
    keyboard("n\n")
    with pytest.raises(UserError, match="not confirmed: nothing was changed"):
        confirm(ann.runner, Show(), "to a new token")
    run = fold(ann.events)
    assert ended(run) == "2 not begun"
    document = report.document(run, fleet.inventory)
    assert (document["verdict"], document["stopped"]) == ("not begun: nothing was changed", None)
    assert {host["state"] for host in document["hosts"]} == {"unchanged"}
    assert page(run, ann.events, fleet.inventory).headline == "Not begun: nothing was changed"
    assert labels(numbers(run), "rotation_last_verdict") == [({"verdict": "not begun"}, 1.0)]
    assert labels(numbers(run), "rotation_last_exit_code") == [], "nothing failed: nobody is to be woken"


def test_a_run_that_died_at_the_question_was_not_begun(tmp_path: Path) -> None:
    ann = Operator(InProcessFleet(tmp_path))
    assert ann.rollout.look()
    ann.runner.close()
    run = fold(ann.events)
    assert ended(run) == "not begun"
    assert report.standing(run, "1 h") == "not begun: nothing was changed, 1 h ago"


def test_a_run_that_stopped_before_it_changed_a_host_took_nobody_back(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    fleet.hosts["hive2"].fault = "link-down"
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    assert ended(fold(ann.events)) == "3 nothing changed"
