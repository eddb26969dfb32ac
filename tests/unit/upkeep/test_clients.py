"""`fab install` of hosts that only present the token: they get its file, and their unit is left alone."""

from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.host.state import STATE
from hivekeys.journal.events import Event, Phase, State
from hivekeys.journal.fold import fold
from hivekeys.protocol.verbs import Greeting
from hivekeys.upkeep.install import uninstall
from hivekeys.upkeep.upkeep import Upkeep
from tests.builders.installer import Installer
from tests.inprocess import KEY, InProcessFleet, OwnClock

CLIENTS = {"ci": {"unit": "runner.service"}, "gateway": {}}


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """A queen, two hives and two clients that are set up."""
    made = InProcessFleet(tmp_path, hives=2, clients=CLIENTS)
    Installer(made)
    return made


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_that_joins_gets_the_fleets_token_and_its_unit_no_drop_in(fleet: InProcessFleet, name: str) -> None:
    host = fleet.hosts[name]
    host.reimage()
    host.stop()
    ann = Installer(fleet, hosts=[name])
    assert ann.troubles == {}
    assert host.active_token() == host.presented == fleet.token.reveal()
    assert fold(ann.events).hosts[name].state is State.PROVEN
    assert not list(host.root.glob("etc/systemd/system/*.d/*"))
    assert not list(host.root.glob("var/log/*"))
    assert (host.root / STATE / "fleet").read_text().strip() == "inprocess"


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_that_leaves_has_no_token_any_more_and_its_program_runs_on(fleet: InProcessFleet, name: str) -> None:
    """What others put there stays; a service would be stopped, since without a token it might let everybody in."""
    host = fleet.hosts[name]
    host.reimage()
    Installer(fleet, hosts=[name])
    stays = host.active.parent / "of-its-own"
    stays.write_text("x")
    events: list[Event] = []
    for told in ([("fleet", ""), ("token", "")], []):  # the second time there is nothing left
        work = Upkeep(
            fleet.inventory,
            [host.host],
            fleet.dialer(),
            Greeting(fleet.inventory.name, KEY, "upkeep-1", "ann@bastion"),
            events.extend,
            Phase.UNINSTALL,
            apply=True,
            clock=OwnClock(),
        )
        try:
            (result,) = uninstall(work)
        finally:
            work.close()
        assert result.cause is None
        assert [(change.part, change.refused) for change in result.changes if change.part != "directory"] == told
    assert not host.active.exists()
    assert stays.exists()
    assert not (host.root / STATE / "fleet").exists()
    assert host.unit_state == "active"


def test_a_second_time_no_client_is_touched(fleet: InProcessFleet) -> None:
    before = [entry.host for entry in fleet.log if entry.verb == "restart"]
    changes = {one.host: one.changes for one in Installer(fleet).kept}
    assert {name: changes[name] for name in CLIENTS} == dict.fromkeys(CLIENTS, ())
    assert [entry.host for entry in fleet.log if entry.verb == "restart"] == before


def test_clients_alone_prove_no_token_to_one_that_joins(fleet: InProcessFleet) -> None:
    for name in ("queen", "hive1", "hive2"):
        fleet.hosts[name].stop()
    with pytest.raises(UserError, match="no host of fleet inprocess proves its token"):
        Installer(fleet, hosts=["gateway"])


def test_a_client_that_holds_another_token_is_named(fleet: InProcessFleet) -> None:
    fleet.hosts["gateway"].active.write_text("9" * 64 + "\n")
    with pytest.raises(UserError, match="have 2 different tokens"):
        Installer(fleet, hosts=["gateway"])
