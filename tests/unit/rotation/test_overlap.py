"""An overlap: clients have time to change, and the old token is dropped when the operator says so and none uses it."""

from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys import report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import State
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE
from hivekeys.report.verdict import word_of
from hivekeys.service import Accepts, Apply
from hivekeys.token import generate
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessFleet

DAY = 86_400.0
POLICY = Policy(batch=Amount(100, percent=True), revocation_recheck=0.0)


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    return InProcessFleet(tmp_path, service={"accepts": Accepts.LINES, "apply": Apply.RELOAD}, policy=POLICY)


def overlapping(fleet: InProcessFleet) -> Operator:
    ann = Operator(fleet)
    ann.plan = replace(ann.plan, overlap=DAY)
    assert ann.rotate() is ExitCode.DONE
    return ann


def finishing(fleet: InProcessFleet, past: Operator, census: bool = False) -> Operator:
    bob = Operator(fleet, past=fold(past.events), token=past.token, census=census)
    bob.plan = replace(bob.plan, overlap=DAY, finishes=True)
    return bob


def test_a_rotation_ends_while_every_host_accepts_both_tokens(fleet: InProcessFleet) -> None:
    ann = overlapping(fleet)

    assert set(ann.states.values()) == {State.BOTH}
    assert set(serving(fleet, ann.token).values()) == {"both"}
    assert ann.run.is_overlapping
    assert ann.run.overlap_until == pytest.approx(ann.run.started + DAY, abs=60)
    assert ann.run.debts == ()
    assert word_of(ann.run) == "overlapping"
    assert "fab rotate --finish" in report.standing(ann.run, "1 h")
    assert "fab rotate --fleet inprocess --finish" in report.next_step(ann.run, fleet.inventory)


def test_finished_every_host_drops_the_old_token(fleet: InProcessFleet) -> None:
    bob = finishing(fleet, overlapping(fleet))

    assert bob.reconcile() is ExitCode.DONE

    assert set(bob.states.values()) == {State.PROVEN}
    assert set(serving(fleet, bob.token).values()) == {"new"}
    assert not slots_used(fleet)
    assert not bob.run.is_overlapping


def test_a_client_that_has_not_changed_holds_the_old_token(fleet: InProcessFleet) -> None:
    for host in fleet.hosts.values():
        host.is_audited = True
    ann = overlapping(fleet)
    fleet.at("hive2", "audit", lambda host: host.writes(fleet.token, after=1.0))

    bob = finishing(fleet, ann, census=True)

    assert bob.reconcile() is ExitCode.INCOMPLETE
    assert bob.run.is_held
    assert set(serving(fleet, bob.token).values()) == {"both"}


def test_it_can_be_taken_back_as_long_as_it_overlaps(fleet: InProcessFleet) -> None:
    ann = overlapping(fleet)
    bob = Operator(fleet, past=fold(ann.events), token=ann.token)

    assert bob.roll_back() is ExitCode.DONE

    assert set(serving(fleet, ann.token).values()) == {"old"}
    assert not bob.run.is_overlapping
    assert not slots_used(fleet)


def test_taken_up_without_an_end_it_goes_on_to_overlap(fleet: InProcessFleet) -> None:
    """As when a bastion dies while it finishes, before the first host has dropped the old token."""
    ann = overlapping(fleet)
    bob = Operator(fleet, past=fold(ann.events), token=ann.token)
    bob.plan = replace(bob.plan, overlap=DAY)

    assert bob.resume(generate) is ExitCode.DONE

    assert bob.run.is_overlapping
    assert bob.run.overlap_until == ann.run.overlap_until, "clients have not got more time"


def test_a_host_that_is_away_when_it_is_finished_keeps_the_old_token_everywhere(fleet: InProcessFleet) -> None:
    ann = overlapping(fleet)
    fleet.hosts["hive1"].fault = "link-down"

    assert finishing(fleet, ann).reconcile() is ExitCode.INCOMPLETE

    fleet.hosts["hive1"].fault = None
    assert set(serving(fleet, ann.token).values()) == {"both"}


def test_a_revocation_has_no_overlap(fleet: InProcessFleet) -> None:
    overlapping(fleet)
    eve = Operator(fleet, run="run-2", task=REVOKE)

    assert eve.revoke() is ExitCode.DONE

    assert set(serving(fleet, eve.token).values()) == {"new"}
