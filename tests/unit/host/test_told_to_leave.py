"""An agent that is told to leave while a step is in hand: sudo's command_timeout, logind, anybody with `kill`.

It says so with its last breath, and that is a broken line like any other: dialed again, and the host looked into.
"""

from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.host.serving import ENDED_EARLY
from hivekeys.journal.events import State
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessFleet, SimulatedHost


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """A queen and three hives with one token."""
    return InProcessFleet(tmp_path, policy=Policy(revocation_recheck=0.0))


def leaves(host: SimulatedHost) -> None:
    """SIGTERM, as `serving.serve` takes it while a step is in hand."""
    agent = host.lines[-1].agent
    agent.deadline.farewell = ENDED_EARLY
    agent.deadline.gone.set()


@pytest.mark.parametrize("verb", ["probe_write", "stage", "swap", "restart", "prove", "retire"])
def test_the_line_is_dialed_again_and_the_run_goes_on_where_it_was(fleet: InProcessFleet, verb: str) -> None:
    """Of the canary: were it called the host's failure, the whole fleet would go back. The look proves once, too."""
    fleet.at("hive1", verb, leaves, nth=2 if verb == "prove" else 1)
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.DONE
    assert ann.troubles == {}
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert slots_used(fleet) == []
    assert fleet.dialled.count("hive1") == 2
    assert fleet.verbs("hive1").count("restart") == (2 if verb == "restart" else 1), "it was looked at before"


@pytest.mark.parametrize("verb", ["stage", "swap", "restart", "prove"])
def test_a_revocation_goes_on_as_well(fleet: InProcessFleet, verb: str) -> None:
    fleet.at("hive2", verb, leaves)
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}


def test_a_host_whose_agents_are_all_told_to_leave_is_unknown_and_says_by_what(fleet: InProcessFleet) -> None:
    """A limit that is shorter than one step: nobody knows how the host is, and nobody says that its service failed."""
    for nth in range(3):
        fleet.at("hive1", "prove", leaves, nth=2 + nth)
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    canary = next(outcome for outcome in ann.outcomes("hive1") if outcome.state is State.UNKNOWN)
    assert canary.cause
    assert (canary.cause.trouble, canary.cause.detail) == (Trouble.LINE_BROKEN, ENDED_EARLY)
