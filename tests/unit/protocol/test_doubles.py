"""Two names that lead to one machine: nothing is called proven of a host that was never touched."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Amount, Policy
from hivekeys.journal.events import Event, Phase, State
from hivekeys.journal.exposure import exposure_of
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE, Run
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.verbs import Greeting
from hivekeys.report.incident import checklist
from hivekeys.token import Token, generate
from hivekeys.upkeep.current_token import Grounds
from hivekeys.upkeep.first_token import TokenSource
from hivekeys.upkeep.install import install, uninstall
from hivekeys.upkeep.upkeep import Upkeep, fix
from hivekeys.verify.survey import Watch, survey
from tests.builders.operator import Operator, serving, slots_used
from tests.inprocess import KEY, InProcessFleet

POLICY = Policy(batch=Amount(100, percent=True), revocation_recheck=0.0)


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """The name hive3 leads to hive2."""
    fleet = InProcessFleet(tmp_path, hives=4, policy=POLICY)
    fleet.leads["hive3"] = "hive2"
    return fleet


def responder(fleet: InProcessFleet, past: Run | None = None, token: Token | None = None) -> Operator:
    return Operator(fleet, task=REVOKE, past=past, token=token)


def verbs(fleet: InProcessFleet) -> set[str]:
    return {entry.verb for entry in fleet.log}


# -- a rotation


@pytest.mark.parametrize("policy", [POLICY, replace(POLICY, max_failures=Amount(4))], ids=["no-budget", "a-budget"])
def test_a_rotation_is_refused_before_anything_is_changed(tmp_path: Path, policy: Policy) -> None:
    """A budget is for hosts that are broken; nobody can tell which of the two this one is."""
    fleet = InProcessFleet(tmp_path, hives=4, policy=policy)
    fleet.leads["hive3"] = "hive2"
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert operator.troubles == {"hive2": Trouble.SAME_MACHINE, "hive3": Trouble.SAME_MACHINE}
    causes = {name: str(host.cause) for name, host in operator.runner.run.hosts.items() if host.cause}
    assert causes["hive2"] == "same-machine: the name hive3 leads here too"
    assert causes["hive3"] == "same-machine: the name hive2 leads here too"
    assert verbs(fleet) == {"hello", "observe", "prove"}
    assert set(serving(fleet, operator.token).values()) == {"old"}


def test_a_queen_whose_name_leads_to_a_hive_is_called_what_she_is(tmp_path: Path) -> None:
    """Her unit is missing there, which is true, and no help."""
    fleet = InProcessFleet(tmp_path, hives=2)
    fleet.leads["queen"] = "hive1"
    operator = Operator(fleet)
    operator.rotate()
    assert operator.troubles == {"queen": Trouble.SAME_MACHINE, "hive1": Trouble.SAME_MACHINE}


def test_hosts_that_cannot_tell_which_machine_they_are_are_rotated_as_before(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=3)
    for host in fleet.hosts.values():
        host.identity = b""
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    assert set(serving(fleet, operator.token).values()) == {"new"}


def test_a_rotation_that_was_cut_off_waits_until_the_names_are_mended(tmp_path: Path) -> None:
    """It may be half done: neither forward nor back is right for a host whose name leads to another."""
    fleet = InProcessFleet(tmp_path, hives=4, policy=POLICY)
    first = Operator(fleet)
    fleet.at("hive1", "swap", lambda _: first.runner.interrupt(), when="after")
    assert first.rotate() is ExitCode.INTERRUPTED
    before = serving(fleet, first.token)
    fleet.leads["hive3"] = "hive2"
    for verb in ("resume", "rollback"):
        late = Operator(fleet, past=fold(first.events))
        code = late.resume(generate) if verb == "resume" else late.roll_back()
        assert code is ExitCode.INCOMPLETE
        assert (late.runner.run.is_open, serving(fleet, first.token)) == (True, before)
        assert set(late.troubles.values()) == {Trouble.SAME_MACHINE}
        first.events += late.events
    fleet.leads.clear()
    last = Operator(fleet, past=fold(first.events))
    assert last.resume(generate) is ExitCode.DONE
    assert set(serving(fleet, first.token).values()) == {"new"}


def test_a_debt_is_not_paid_to_another_hosts_machine(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path, hives=3, policy=POLICY)
    first = Operator(fleet, hosts=fleet.inventory.hosts[:3])
    first.rotate()
    fleet.leads["hive3"] = "hive2"
    late = Operator(fleet, past=fold(first.events))
    assert late.reconcile() is ExitCode.INCOMPLETE
    assert late.runner.run.debts == ("hive2", "hive3")
    fleet.leads.clear()
    last = Operator(fleet, past=fold([*first.events, *late.events]))
    assert last.reconcile() is ExitCode.DONE
    assert set(serving(fleet, first.token).values()) == {"new"}


# -- a revocation


def assert_named(operator: Operator, *names: str) -> None:
    """These failed as one machine, every other host is proven."""
    others = dict.fromkeys(operator.fleet.hosts, State.PROVEN)
    assert operator.states == others | dict.fromkeys(names, State.FAILED)
    assert operator.troubles == dict.fromkeys(names, Trouble.SAME_MACHINE)


def test_a_revocation_turns_every_machine_that_it_reaches_and_names_both(fleet: InProcessFleet) -> None:
    operator = responder(fleet)
    assert operator.revoke(attempts=3) is ExitCode.INCOMPLETE
    assert_named(operator, "hive2", "hive3")
    others = dict.fromkeys(("queen", "hive1", "hive2", "hive4"), "new")
    assert serving(fleet, operator.token) == {**others, "hive3": "old"}
    assert fleet.hosts["hive2"].slots()["previous"] is None


def test_a_revocation_turns_both_services_where_the_other_name_is_a_queens(tmp_path: Path) -> None:
    """Nobody knows which of the names is right, so what can be turned under either is."""
    fleet = InProcessFleet(tmp_path, hives=3, policy=POLICY)
    fleet.leads["hive2"] = "queen"
    operator = responder(fleet)
    assert operator.revoke(attempts=2) is ExitCode.INCOMPLETE
    assert operator.states["hive2"] is State.FAILED
    assert operator.troubles["queen"] is Trouble.SAME_MACHINE
    assert {name: said for name, said in serving(fleet, operator.token).items() if name != "hive2"} == dict.fromkeys(
        ("queen", "hive1", "hive3"), "new"
    )


def test_a_revocation_that_has_turned_doubles_claims_nothing_of_either(fleet: InProcessFleet) -> None:
    operator = responder(fleet)
    operator.revoke()
    run = operator.runner.run
    assert exposure_of(run).open == ("hive2", "hive3")
    boxes = {item.text: item for item in checklist(run, operator.events)}
    assert not boxes["Update all services"].done
    assert boxes["Update all services"].note == "3 of 5 hold the new token; not seen on hive2, hive3"


def test_a_lie_about_the_machine_keeps_no_host_from_being_turned(tmp_path: Path) -> None:
    """Who had read another host's ids there could say them as his own: both are turned all the same."""
    fleet = InProcessFleet(tmp_path, hives=3, policy=POLICY)
    fleet.hosts["hive1"].identity = fleet.hosts["hive2"].identity
    operator = responder(fleet)
    assert operator.revoke() is ExitCode.INCOMPLETE
    assert set(serving(fleet, operator.token).values()) == {"new"}
    assert slots_used(fleet) == []


def test_a_reconcile_ends_the_revocation_once_the_name_is_mended(fleet: InProcessFleet) -> None:
    first = responder(fleet)
    first.revoke()
    again = responder(fleet, past=fold(first.events), token=first.token)
    assert again.revoke() is ExitCode.INCOMPLETE, "it leads there still"
    assert_named(again, "hive2", "hive3")
    fleet.leads.clear()
    last = responder(fleet, past=fold([*first.events, *again.events]), token=first.token)
    assert last.revoke() is ExitCode.DONE
    assert set(serving(fleet, first.token).values()) == {"new"}


def test_two_names_that_answer_late_hold_nobody_up(fleet: InProcessFleet) -> None:
    """One of them is heard when the others have turned already."""
    fleet.cut("hive2", "request", silent=True)
    operator = responder(fleet)
    assert operator.revoke(attempts=3) is ExitCode.INCOMPLETE
    assert_named(operator, "hive2", "hive3")
    assert serving(fleet, operator.token)["hive2"] == "new"


# -- every other look


def upkeep(fleet: InProcessFleet, names: Sequence[str], phase: Phase) -> Upkeep:
    hosts = [host for host in fleet.inventory.hosts if host.name in names]
    greeting = Greeting(fleet.inventory.name, KEY, "upkeep-1", "ann@bastion")
    events: list[Event] = []
    return Upkeep(fleet.inventory, hosts, fleet.dialer(), greeting, events.extend, phase, apply=True)


WORKS: dict[Phase, tuple[tuple[str, ...], Callable[[Upkeep], object]]] = {
    Phase.INSTALL: (("hive3",), lambda work: install(work, (), TokenSource(generate, {}, Grounds()))),
    Phase.UNINSTALL: (("hive3",), uninstall),
    Phase.FIX: (("hive2", "hive3"), lambda work: fix(work, False, lambda _: True)),
}


@pytest.mark.parametrize("phase", WORKS)
def test_upkeep_is_refused_for_a_host_that_is_another_one(fleet: InProcessFleet, phase: Phase) -> None:
    """What joins or leaves is one host, and all others are looked at before: it may be one of them."""
    names, do = WORKS[phase]
    work = upkeep(fleet, names, phase)
    with pytest.raises(UserError, match="hive3: same-machine: the name hive2 leads here too") as caught:
        do(work)
    work.close()
    assert caught.value.code is ExitCode.USAGE
    assert "beside" in caught.value.hint
    assert verbs(fleet) <= {"hello", "observe"}


def test_upkeep_of_other_hosts_goes_on(fleet: InProcessFleet) -> None:
    for place in ("tmp", "var/tmp"):
        (fleet.hosts["hive1"].root / place).mkdir()
    work = upkeep(fleet, ("hive1",), Phase.FIX)
    kept = fix(work, strays=False, is_over=lambda _: False)
    work.close()
    assert [(one.host, one.cause) for one in kept] == [("hive1", None)]


def test_the_checklist_sees_which_machine_each_name_leads_to(fleet: InProcessFleet) -> None:
    greeting = Greeting(fleet.inventory.name, KEY, "verify-1", "ann@bastion")
    observations = survey(fleet.inventory, fleet.inventory.hosts, fleet.dialer(), greeting)
    machines = {observation.host.name: observation.machine for observation in observations}
    assert machines["hive2"] == machines["hive3"]
    assert len(set(machines.values())) == len(machines) - 1


def test_a_host_that_is_watched_says_once_a_line_which_machine_it_is(fleet: InProcessFleet) -> None:
    greeting = Greeting(fleet.inventory.name, KEY, "status-1", "ann@bastion")
    watch = Watch(fleet.inventory, fleet.inventory.hosts, fleet.dialer(), greeting)
    looks = [watch.look(), watch.look()]
    watch.close()
    told = [{host.name: getattr(reply, "met", None) for host, reply in look.items()} for look in looks]
    assert told[0] == told[1]
    assert all(met.machine for met in told[0].values() if met)
