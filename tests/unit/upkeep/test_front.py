"""`fab install --front` as an operator types it: what it does not do together with other work is said at once."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import Host
from hivekeys.journal.events import Event, Phase
from hivekeys.protocol.verbs import Greeting
from hivekeys.service import Front, fronting
from hivekeys.token import Token
from hivekeys.upkeep.current_token import Grounds
from hivekeys.upkeep.first_token import TokenSource
from hivekeys.upkeep.front import front
from hivekeys.upkeep.upkeep import Upkeep
from tests.builders.fab import Fab
from tests.inprocess import KEY, InProcessFleet

FRONT = """
[services.hive]
accepts = "front"
port = 18081
front = { listen = "0.0.0.0:8081" }
"""


@pytest.fixture
def fab(tmp_path: Path) -> Fab:
    """A fleet on paper whose hives are to have fronts."""
    fab = Fab(tmp_path)
    with (tmp_path / "inventory/paper.toml").open("a") as file:
        file.write(FRONT)
    return fab


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["install", "--front", "--harden"], "--harden: --front brings nginx alone"),
        (["install", "--front", "--restricted"], "--restricted: --front brings nginx alone"),
        (["install", "--front", "--limit", "queen"], "queen: no front in the inventory"),
        (["install"], "hive[1:3]: clients reach a front there, which has the fleet's token"),
        (["uninstall", "--yes"], "hive[1:3]: there is a front"),
        (["uninstall", "--front", "--restricted"], "--front: --restricted touches no service"),
    ],
)
def test_what_does_not_go_together_is_said_before_any_host_is_contacted(fab: Fab, words: list[str], said: str) -> None:
    answer = fab(*words)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_who_would_let_everybody_in_is_asked_before(fab: Fab) -> None:
    """Without its front a service that asks for no token is open; here there is no terminal to ask on."""
    path = fab.folder / "inventory/paper.toml"
    path.write_text(path.read_text().replace("0.0.0.0:8081", '0.0.0.0:8081", own_token = false, start = "/x'))
    answer = fab("uninstall", "--front")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no terminal to ask for confirmation on" in answer.err


def upkeep_of(fleet: InProcessFleet, *, own: Collection[str]) -> Upkeep:
    """Work on fronts that are not there yet; the services of `own` ask for a token, and have the fleet's."""

    def fronted(host: Host) -> Host:
        behind = replace(host.service, port=18080)
        return replace(host, service=fronting(Front("0.0.0.0:8080", behind, own_token=host.name in own)))

    fleet.inventory = replace(fleet.inventory, hosts=tuple(map(fronted, fleet.inventory.hosts)))
    greeting = Greeting(fleet.inventory.name, KEY, "upkeep-1", "ann@bastion")
    hosts, events = fleet.inventory.hosts, list[Event]()
    return Upkeep(fleet.inventory, hosts, fleet.dialer(), greeting, events.extend, Phase.INSTALL, apply=True)


def test_a_token_that_a_service_still_has_is_not_taken_for_a_new_fleets(tmp_path: Path) -> None:
    """A hive that asks for none would get a new token, and the queen's front would let in her own."""
    work = upkeep_of(InProcessFleet(tmp_path, hives=2), own=["queen"])
    source = TokenSource(unmade, {}, Grounds())
    try:
        with pytest.raises(
            UserError, match="queen: the service has the fleet's token, and there is no front yet"
        ) as why:
            front(work, source)
        assert why.value.hint == "first `fab install --fleet inprocess --front --limit queen`, then this again"
    finally:
        work.close()


def unmade() -> Token:
    raise AssertionError("no token is to be made")
