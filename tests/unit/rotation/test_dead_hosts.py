"""Hosts that answer no SYN: who is at work shares few places, and these hosts take none of them."""

from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Host, Policy
from hivekeys.journal.events import Event, Outcome, Phase, PhaseStarted, State
from hivekeys.journal.run import REVOKE
from hivekeys.ssh.line import Applicant
from tests.builders.operator import Operator
from tests.inprocess import InProcessDialer, InProcessFleet

DEAD = ("hive1", "hive2")


class Waits(InProcessDialer):
    """Some hosts answer no SYN; their time is over when the test says so."""

    def __init__(self, fleet: InProcessFleet) -> None:
        super().__init__(fleet)
        self.waiting: list[Applicant] = []
        self.is_over = False

    def connect(self, host: Host, applicant: Applicant) -> None:
        if host.name in DEAD and not self.is_over:
            self.waiting.append(applicant)
            applicant.connecting()
        else:
            applicant.ready()

    def give_up(self) -> None:
        """From now on it is known that they do not answer."""
        self.is_over = True
        while self.waiting:
            self.waiting.pop().ready()


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """Of six hosts two are dead, and one place is there for all that are at work."""
    fleet = InProcessFleet(tmp_path, hives=5, policy=Policy(width=1, revocation_recheck=0.0))
    for name in DEAD:
        fleet.hosts[name].fault = "link-down"
    return fleet


def looked_at(events: list[Event]) -> list[str]:
    return [event.host for event in events if isinstance(event, Outcome) and event.phase is Phase.LOOK]


def test_every_other_host_is_looked_at_while_they_are_waited_for(fleet: InProcessFleet) -> None:
    """They are given up only then, so a place that they had would never have become free."""
    dialer, events = Waits(fleet), list[Event]()

    def on_event(event: Event) -> None:
        events.append(event)
        if len(looked_at(events)) == len(fleet.hosts) - len(DEAD):
            dialer.give_up()

    ann = Operator(fleet, dialer=dialer, on_event=on_event)
    ann.look()
    assert looked_at(events) == ["queen", "hive3", "hive4", "hive5", "hive2", "hive1"]
    assert {name: ann.states[name] for name in DEAD} == dict.fromkeys(DEAD, State.UNREACHABLE)
    ann.runner.end()


def test_a_revocation_goes_on_without_them(fleet: InProcessFleet) -> None:
    """Every other host has turned before they are given up, and in the end they are named."""
    dialer = Waits(fleet)

    def on_event(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.SETTLE:
            dialer.give_up()

    ann = Operator(fleet, dialer=dialer, on_event=on_event, task=REVOKE)
    assert ann.revoke(attempts=2, patience=0.2) is ExitCode.INCOMPLETE
    assert {name: ann.states[name] for name in DEAD} == dict.fromkeys(DEAD, State.UNREACHABLE)
    assert {ann.states[name] for name in fleet.hosts.keys() - set(DEAD)} == {State.PROVEN}


def test_after_ctrl_c_none_of_them_begins(fleet: InProcessFleet) -> None:
    """Those that were waited for have no outcome: nothing was asked of them."""
    dialer, events = Waits(fleet), list[Event]()

    def on_event(event: Event) -> None:
        events.append(event)
        if len(looked_at(events)) == len(fleet.hosts) - len(DEAD):
            ann.runner.interrupt()
            dialer.give_up()

    ann = Operator(fleet, dialer=dialer, on_event=on_event)
    assert ann.rotate() is ExitCode.INTERRUPTED
    assert looked_at(events) == ["queen", "hive3", "hive4", "hive5"]
