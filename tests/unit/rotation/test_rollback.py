"""The way back that an operator asked for: "taken back" is said of what was seen there, and of nothing else."""

from pathlib import Path

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import Event, Phase, PhaseStarted, State
from hivekeys.journal.fold import fold
from hivekeys.journal.run import Run
from tests.builders.operator import Operator, serving
from tests.inprocess import InProcessFleet

ONE_MAY_FAIL = Policy(canary=0, batch=Amount(1), max_failures=Amount(1))


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, hives=3, policy=ONE_MAY_FAIL)


def interrupted_in(fleet: InProcessFleet, phase: Phase) -> Run:
    """A rotation with a Ctrl-C as this phase begins, as its journal tells it."""
    operator = Operator(fleet, stops_in=phase)
    assert operator.rotate() is ExitCode.INTERRUPTED
    return fold(operator.events)


def test_every_host_that_was_touched_is_back_and_the_sentence_names_who_was_away(fleet: InProcessFleet) -> None:
    fleet.hosts["hive3"].fault = "link-down"
    operator = Operator(fleet, past=interrupted_in(fleet, Phase.WAVE))
    assert operator.roll_back() is ExitCode.DONE
    run = operator.run
    assert report.summary(run, ExitCode.DONE).startswith(
        "taken back on every host that it had touched (3); 1 unreachable, not touched by it ("
    )
    assert {name: here for name, here in serving(fleet, operator.token).items() if name != "hive3"} == {
        "queen": "old",
        "hive1": "old",
        "hive2": "old",
    }


def test_a_host_that_was_touched_and_is_away_is_no_success(fleet: InProcessFleet) -> None:
    past = interrupted_in(fleet, Phase.WAVE)
    fleet.hosts["hive2"].fault = "link-down"
    operator = Operator(fleet, past=past)
    assert operator.roll_back() is ExitCode.INCOMPLETE
    summary = report.summary(operator.run, ExitCode.INCOMPLETE)
    assert summary.startswith("incomplete: taken back on 3 of the 4 hosts that it had touched (")


@pytest.mark.parametrize("phase", [Phase.LOOK, Phase.CLAIM, Phase.ROLLBACK])
def test_a_way_back_that_is_interrupted_is_not_done(fleet: InProcessFleet, phase: Phase) -> None:
    """The hosts hold a staged token still, whatever they looked like before anybody went back."""
    operator = Operator(fleet, past=interrupted_in(fleet, Phase.QUEEN), stops_in=phase)
    assert operator.roll_back() is ExitCode.INTERRUPTED
    assert operator.run.is_open
    again = Operator(fleet, past=operator.run)
    assert again.roll_back() is ExitCode.DONE
    assert set(again.states.values()) <= {State.UNCHANGED, State.ROLLED_BACK}
    assert not any(host.slots()["staged"] for host in fleet.hosts.values())


def test_a_copy_of_the_journal_takes_no_run_back_that_was_finished_meanwhile(fleet: InProcessFleet) -> None:
    """The copy was made while the run was at work, and knows nothing of its end: the old tokens are retired."""
    copies: list[Run] = []

    def copy(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.WAVE and not copies:
            copies.append(fold(ann.events))

    ann = Operator(fleet, on_event=copy)
    assert ann.rotate() is ExitCode.DONE
    operator = Operator(fleet, past=copies[0])
    assert operator.roll_back() is ExitCode.INCOMPLETE
    assert "was the run finished elsewhere?" in str(operator.run.hosts["queen"].cause)
    assert set(serving(fleet, ann.token).values()) == {"new"}
