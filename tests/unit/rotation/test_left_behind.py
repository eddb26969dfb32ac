"""Whoever is slow or quiet in a revocation is left behind, holds up no other, and is come back to."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, OfEach, Order, Policy
from hivekeys.journal.events import TURNS, Event, Intent, Outcome, Phase, PhaseStarted, Retried, State
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.token import generate
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import InProcessFleet, SimulatedHost

DONE = ExitCode.DONE
POLICY = Policy(revocation_recheck=0.0)


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """A queen and three hives with one token, which has leaked."""
    return InProcessFleet(tmp_path, policy=POLICY)


def responder(fleet: InProcessFleet, **settings: object) -> Operator:
    """Whoever is called that night."""
    return Operator(fleet, task=REVOKE, **settings)  # type: ignore[arg-type]  # a test's own keywords


class Waits:
    """A host that stands still at one moment until another; whoever waited for it would wait for ever."""

    def __init__(self, fleet: InProcessFleet, host: str, verb: str, *, nth: int = 1, seconds: float = 60.0) -> None:
        self.goes_on = threading.Event()
        self.went_on: list[bool] = []
        fleet.at(host, verb, lambda _: self.went_on.append(self.goes_on.wait(seconds)), nth=nth)

    def until(self, is_it: Callable[[Event], bool]) -> Callable[[Event], None]:
        """For `on_event`: it goes on when such an event is recorded."""

        def told(event: Event) -> None:
            if is_it(event):
                self.goes_on.set()

        return told


def ended(phase: Phase, *hosts: str) -> Callable[[Event], bool]:
    """True once all of them are through with a phase."""
    left = set(hosts)

    def is_it(event: Event) -> bool:
        if isinstance(event, Outcome) and event.phase is phase:
            left.discard(event.host)
        return not left

    return is_it


def order(ann: Operator, phase: Phase) -> list[str]:
    """The hosts as they came through a phase."""
    return [event.host for event in ann.events if isinstance(event, Outcome) and event.phase is phase]


@pytest.mark.parametrize("verb", ["observe", "probe_write", "stage", "swap", "restart"])
def test_whoever_is_slow_in_any_phase_is_left_behind_until_the_others_are_proven_and_retired(
    fleet: InProcessFleet, verb: str
) -> None:
    """And is then come back to, and turned."""
    slow = Waits(fleet, "hive3", verb)
    ann = responder(fleet, on_event=slow.until(ended(Phase.RETIRE, "queen", "hive1", "hive2")))
    assert ann.revoke(attempts=2, patience=0.6) is DONE
    assert slow.went_on == [True], "somebody waited for it"
    assert order(ann, Phase.RETIRE)[-1] == "hive3"
    assert set(serving(fleet, ann.token).values()) == {"new"}
    assert slots_used(fleet) == []


@pytest.mark.parametrize("verb", ["prove", "retire"])
def test_whoever_is_slow_when_all_have_turned_holds_up_no_other_either(fleet: InProcessFleet, verb: str) -> None:
    """The second proof is the one that is asked for at the end."""
    slow = Waits(fleet, "hive3", verb, nth=2 if verb == "prove" else 1)
    ann = responder(fleet, on_event=slow.until(ended(Phase.RETIRE, "queen", "hive1", "hive2")))
    assert ann.revoke(attempts=2, patience=0.6) is DONE
    assert slow.went_on == [True], "somebody waited for it"
    assert slots_used(fleet) == []


def test_a_host_that_cannot_be_turned_is_fenced_without_waiting_for_one_that_is_slow(fleet: InProcessFleet) -> None:
    fleet.hosts["hive2"].fault = "keeps-old-token"
    slow = Waits(fleet, "hive3", "swap")
    ann = responder(fleet, fence=True, on_event=slow.until(ended(Phase.FENCE, "hive2")))
    assert ann.revoke(attempts=2, patience=0.6) is ExitCode.INCOMPLETE
    assert slow.went_on == [True], "it served those with the old token until then"
    assert (ann.states["hive2"], ann.states["hive3"]) == (State.FENCED, State.PROVEN)


def test_what_a_host_brings_to_light_that_comes_late_the_others_are_asked_with_too(fleet: InProcessFleet) -> None:
    """hive3 owes an earlier rotation, and hive1 still takes that older token: it was finished long before."""
    older = generate()
    fleet.hosts["hive3"].write(older)
    fleet.hosts["hive3"].start()
    fleet.hosts["hive1"].also_accepts.add(older.reveal())
    slow = Waits(fleet, "hive3", "observe")
    ann = responder(fleet, on_event=slow.until(ended(Phase.RETIRE, "queen", "hive1", "hive2")))
    assert ann.revoke(attempts=2, patience=0.6) is ExitCode.INCOMPLETE
    assert ann.troubles == {"hive1": Trouble.OLD_ACCEPTED}


def test_a_host_that_fails_at_first_and_is_slow_then_holds_up_nobody(fleet: InProcessFleet) -> None:
    """It is alone when it is tried again; those that are through already count as the half that is."""
    fleet.hosts["hive3"].fault = "link-down"
    slow = Waits(fleet, "hive3", "observe")
    retired = slow.until(ended(Phase.RETIRE, "queen", "hive1", "hive2"))

    def told(event: Event) -> None:
        retired(event)
        if isinstance(event, Retried):
            fleet.hosts["hive3"].fault = None

    ann = responder(fleet, on_event=told)
    assert ann.revoke(attempts=3, patience=0.6) is DONE
    assert slow.went_on == [True], "somebody waited for it"


def test_a_host_that_is_back_is_not_kept_waiting_by_one_that_is_not(fleet: InProcessFleet) -> None:
    """hive2 is only slow to be looked at; hive3 stands still until hive2 has been turned."""
    still = Waits(fleet, "hive3", "observe")
    slow = Waits(fleet, "hive2", "observe")
    turned = still.until(ended(Phase.WAVE, "hive2"))

    def told(event: Event) -> None:
        turned(event)
        if isinstance(event, Outcome) and event.phase is Phase.WAVE and event.host == "hive1":
            slow.goes_on.set()

    ann = responder(fleet, on_event=told)
    assert ann.revoke(attempts=3, patience=0.6, pause=0.2) is DONE
    assert still.went_on == slow.went_on == [True]


def test_hosts_that_wait_for_their_turn_are_not_slow(tmp_path: Path) -> None:
    """Two at once of a large fleet: the last ones begin long after half are through, and nobody is left behind."""
    fleet = InProcessFleet(tmp_path, hives=20, policy=replace(POLICY, width=2))

    def takes_a_while(_: SimulatedHost) -> None:
        threading.Event().wait(0.3)

    for host in fleet.hosts:
        fleet.at(host, "swap", takes_a_while)
    ann = responder(fleet)
    assert ann.revoke(attempts=2, patience=1.0) is DONE
    assert [event.phase for event in ann.events if isinstance(event, PhaseStarted)].count(Phase.RETIRE) == 1
    assert not any(isinstance(event, Retried) for event in ann.events)


def test_a_hive_that_is_left_behind_while_it_turns_keeps_its_place_in_the_waves(tmp_path: Path) -> None:
    """Two at once were asked for: it is one of them until it is through, and the others turn one by one."""
    fleet = InProcessFleet(tmp_path, hives=5, policy=POLICY)
    slow = Waits(fleet, "hive1", "prove")
    ann = responder(fleet, batch=Amount(2), on_event=slow.until(ended(Phase.WAVE, "hive2", "hive3", "hive4", "hive5")))
    assert ann.revoke(attempts=2, patience=0.6) is DONE
    assert slow.went_on == [True], "the other waves waited for it"
    assert max(map(len, fleet.out_together)) == 2
    assert [out for out in fleet.out_together if "queen" in out] == [{"queen"}]


def test_only_the_rack_of_a_hive_that_is_left_behind_waits_for_it(tmp_path: Path) -> None:
    """One of each rack was asked for: hives of the other rack turn meanwhile, and none of its own."""
    fleet = InProcessFleet(tmp_path, hives=4, policy=POLICY)
    racks = {"hive1": ("rack1",), "hive2": ("rack1",), "hive3": ("rack2",), "hive4": ("rack2",)}
    hosts = tuple(replace(host, groups=racks.get(host.name, ())) for host in fleet.inventory.hosts)
    fleet.inventory = replace(fleet.inventory, hosts=hosts)
    slow = Waits(fleet, "hive1", "prove")
    ann = responder(fleet, batch=OfEach(Amount(1), "rack"), on_event=slow.until(ended(Phase.WAVE, "hive3", "hive4")))
    assert ann.revoke(attempts=2, patience=0.6) is DONE
    assert slow.went_on == [True], "the other rack waited for it"
    assert not [out for out in fleet.out_together if {"hive1", "hive2"} <= out or {"hive3", "hive4"} <= out]
    assert {"hive1", "hive4"} in fleet.out_together


@pytest.mark.parametrize(("first", "then"), [(Order.HIVES_FIRST, "queen"), (Order.QUEEN_FIRST, "hive1")])
def test_a_queen_never_turns_together_with_a_hive_that_was_left_behind_nor_a_hive_with_her(
    tmp_path: Path, first: Order, then: str
) -> None:
    """One after the other, however slow: here the run waits, for as long as a host may take for its turn."""
    fleet = InProcessFleet(tmp_path, hives=2, policy=Policy(order=first, revocation_recheck=0.0))
    slow = Waits(fleet, "hive2" if then == "queen" else "queen", "prove", seconds=2.0)
    ann = responder(fleet, on_event=slow.until(lambda e: isinstance(e, Intent) and e.host == then and e.phase in TURNS))
    assert ann.revoke(attempts=2, patience=0.5) is DONE
    assert slow.went_on == [False], "the next wave began while it was out"
    assert [out for out in fleet.out_together if "queen" in out] == [{"queen"}]
