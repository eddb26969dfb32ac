"""Two services on one machine: each is turned, proven and held as if it had a machine of its own."""

import json
from pathlib import Path

import pytest

import hivekeys.host.verbs.fix
import hivekeys.host.verbs.uninstall  # noqa: F401  hosts know its verb, and that of fix
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Amount, Policy
from hivekeys.host.state import STATE
from hivekeys.journal.events import Event, Phase, State
from hivekeys.journal.fold import fold
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.verbs import Greeting, Uninstall
from hivekeys.tasks.work.restricting import refuse_shared
from hivekeys.token import generate
from hivekeys.upkeep.upkeep import Upkeep, fix
from tests.builders.operator import Operator, breaks, serving, slots_used
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost, hello

POLICY = Policy(batch=Amount(100, percent=True), revocation_recheck=0.0)
UNIT = "rbee-hive.service"


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """hive1 is on the queen's machine, hive2 and hive3 have one each."""
    return InProcessFleet(tmp_path, hives=3, policy=POLICY, beside={"hive1": "queen"})


def own(host: SimulatedHost) -> Path:
    """Where the machine keeps what it knows of the service beside the queen."""
    return host.root / STATE / "beside" / UNIT


# -- whole runs


def test_a_rotation_turns_both_and_never_both_at_once(fleet: InProcessFleet) -> None:
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.DONE
    assert operator.states == dict.fromkeys(fleet.hosts, State.PROVEN)
    assert set(serving(fleet, operator.token).values()) == {"new"}
    assert slots_used(fleet) == []
    assert not any({"queen", "hive1"} <= out for out in fleet.out_together)
    assert fleet.hosts["queen"].terminated == fleet.hosts["hive1"].terminated == []


def test_a_revocation_turns_both_and_each_host_remembers_what_leaked(fleet: InProcessFleet) -> None:
    operator = Operator(fleet, task=REVOKE)
    assert operator.revoke() is ExitCode.DONE
    assert set(serving(fleet, operator.token).values()) == {"new"}
    assert fleet.hosts["queen"].terminated == fleet.hosts["hive1"].terminated == []
    assert json.loads((own(fleet.hosts["hive1"]) / "tombstones").read_text())


@pytest.mark.parametrize("name", ["queen", "hive1"])
def test_when_one_of_them_fails_both_go_back(fleet: InProcessFleet, name: str) -> None:
    fleet.at(name, "restart", breaks("start-fails"))
    fleet.at(name, "revert", lambda host: setattr(host, "fault", None))
    operator = Operator(fleet)
    assert operator.rotate() is ExitCode.ROLLED_BACK
    assert set(serving(fleet, operator.token).values()) == {"old"}
    assert slots_used(fleet) == []


@pytest.mark.parametrize("verb", ["stage", "swap", "prove", "retire"])
@pytest.mark.parametrize("name", ["queen", "hive1"])
def test_a_run_that_was_cut_off_at_one_of_them_is_resumed(fleet: InProcessFleet, name: str, verb: str) -> None:
    first = Operator(fleet)
    fleet.at(name, verb, lambda _: first.runner.interrupt(), when="after", nth=2 if verb == "prove" else 1)
    first.rotate()
    fleet.bastion_dies()
    late = Operator(fleet, past=fold(first.events))
    assert late.resume(generate) is ExitCode.DONE
    assert set(serving(fleet, first.token).values()) == {"new"}
    assert slots_used(fleet) == []


def test_a_host_beside_another_that_was_away_is_reconciled(fleet: InProcessFleet) -> None:
    """Its service alone is left behind; the queen's is not touched a second time."""
    fleet.hosts["hive1"].fault = "disk-full"
    first = Operator(fleet, task=REVOKE)
    assert first.revoke() is ExitCode.INCOMPLETE
    assert serving(fleet, first.token)["hive1"] == "old"
    fleet.hosts["hive1"].fault = None
    late = Operator(fleet, task=REVOKE, past=fold(first.events), token=first.token)
    assert late.revoke() is ExitCode.DONE
    assert set(serving(fleet, first.token).values()) == {"new"}
    assert fleet.verbs("queen").count("restart") == 1


def test_a_third_name_of_their_machine_is_a_double_of_both(fleet: InProcessFleet) -> None:
    fleet.leads["hive2"] = "queen"
    operator = Operator(fleet)
    operator.rotate()
    assert operator.troubles == dict.fromkeys(("queen", "hive1", "hive2"), Trouble.SAME_MACHINE)


# -- what the machine keeps of them


def test_the_lock_of_one_is_not_the_others(fleet: InProcessFleet) -> None:
    queen, hive = fleet.hosts["queen"], fleet.hosts["hive1"]
    held = Session(queen, run="run-1")
    line = Session(hive, run="run-0", write=False)
    assert line.ask(hello(hive, run="run-2") | {"beside": True})[0]["ok"]
    assert held.do("probe_write")["ok"]
    assert Session(queen, run="run-2").greeting["trouble"] == "host-busy"
    assert Session(hive, write=False).ask(hello(hive, run="run-3") | {"beside": True})[0]["trouble"] == "host-busy"


def test_the_order_of_runs_is_each_services_own(fleet: InProcessFleet) -> None:
    """A run that came to the queen's service alone does not supersede an older one at the hive's."""
    queen, hive = fleet.hosts["queen"], fleet.hosts["hive1"]
    Session(queen, run="run-9", epoch=9).line.close()
    (greeting,) = Session(hive, write=False).ask(hello(hive, run="run-5", epoch=5) | {"beside": True})
    assert (greeting["ok"], greeting["facts"]["epoch"], greeting["facts"]["run"]) == (True, 0, "")
    assert own(hive).stat().st_mode & 0o777 == own(hive).parent.stat().st_mode & 0o777 == 0o700


def test_a_machine_of_another_fleet_is_refused_for_either_service(fleet: InProcessFleet) -> None:
    queen, hive = fleet.hosts["queen"], fleet.hosts["hive1"]
    Session(queen, fleet="blue").line.close()
    (greeting,) = Session(hive, fleet="blue", write=False).ask(hello(hive, fleet="green") | {"beside": True})
    assert greeting["trouble"] == "wrong-fleet"


def test_a_record_of_the_machine_that_cannot_be_read_stops_runs_and_no_upkeep(fleet: InProcessFleet) -> None:
    """As its own would: what leaked there is not known, so no token is written; what is here to mend it goes on."""
    queen, hive = fleet.hosts["queen"], fleet.hosts["hive1"]
    Session(queen).line.close()
    (queen.root / STATE / "tombstones").write_text("{")
    greeting = hello(hive, run="run-2") | {"beside": True}
    assert Session(hive, write=False).ask(greeting)[0]["trouble"] == "record-unsound"
    assert Session(hive, write=False).ask(greeting | {"claim": False})[0]["ok"]


def test_what_leaked_at_one_is_written_at_neither(fleet: InProcessFleet) -> None:
    """Also for a bastion that knows of no revocation: the machine does."""
    queen, hive = fleet.hosts["queen"], fleet.hosts["hive1"]
    leaked = generate()
    session = Session(queen, tokens=(leaked,))
    assert session.do("revoke", tokens=[leaked.fingerprint(KEY).keyed])["ok"]
    session.line.close()
    line = Session(hive, run="run-2", write=False)
    line.ask(hello(hive, run="run-2", tokens=(leaked,)) | {"beside": True})
    assert line.do("stage", token=leaked.reveal())["trouble"] == "revoked"


def test_a_state_of_its_own_that_others_can_write_is_refused(fleet: InProcessFleet) -> None:
    hive = fleet.hosts["hive1"]
    own(hive).mkdir(parents=True, mode=0o700)
    own(hive).parent.parent.chmod(0o700)
    own(hive).parent.chmod(0o777)
    (greeting,) = Session(hive, write=False).ask(hello(hive) | {"beside": True})
    assert (greeting["trouble"], "beside" in greeting["detail"]) == ("token-unsafe", True)


# -- the other verbs


def upkeep(fleet: InProcessFleet, phase: Phase, *names: str) -> Upkeep:
    hosts = [host for host in fleet.inventory.hosts if host.name in names]
    greeting = Greeting(fleet.inventory.name, KEY, f"{phase.value}-1", "ann@bastion")
    events: list[Event] = []
    return Upkeep(fleet.inventory, hosts, fleet.dialer(), greeting, events.extend, phase, apply=True)


def test_upkeep_of_both_at_once_goes_through(fleet: InProcessFleet) -> None:
    for place in ("tmp", "var/tmp"):
        (fleet.hosts["queen"].root / place).mkdir()
    (fleet.hosts["hive1"].secrets / "api-token.old").write_text("x")
    work = upkeep(fleet, Phase.FIX, "queen", "hive1")
    kept = fix(work, strays=True, is_over=lambda _: True)
    work.close()
    assert {one.host: one.cause for one in kept} == {"queen": None, "hive1": None}
    assert not (fleet.hosts["hive1"].secrets / "api-token.old").exists()
    assert fleet.hosts["hive1"].accepts(fleet.token)
    assert fleet.hosts["hive1"].active_token() == fleet.token.reveal()


def test_to_uninstall_one_leaves_the_other_as_it_is(fleet: InProcessFleet) -> None:
    Operator(fleet).rotate()
    hive = fleet.hosts["hive1"]
    (own(hive) / "installed").write_text(json.dumps([["token", hive.host.service.token]]))
    (own(hive) / "installed").chmod(0o600)
    work = upkeep(fleet, Phase.UNINSTALL, "hive1")
    (kept,) = work.do("remove", work.hosts, lambda _: (Uninstall(apply=True),))
    work.close()
    assert kept.cause is None
    assert hive.active_token() is None
    assert fleet.hosts["queen"].active_token()
    assert (fleet.hosts["queen"].root / STATE / "fleet").exists()
    assert not own(hive).exists()


@pytest.mark.parametrize("name", ["queen", "hive1"])
def test_restricted_mode_is_refused_for_a_machine_with_two_services(fleet: InProcessFleet, name: str) -> None:
    hosts = tuple(host for host in fleet.inventory.hosts if host.name == name)
    with pytest.raises(UserError, match=f"{name}: more than one service on a machine"):
        refuse_shared(fleet.inventory, hosts)
    refuse_shared(fleet.inventory, fleet.inventory.hosts[2:])
