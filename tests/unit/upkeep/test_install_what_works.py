"""`fab install` on a fleet that works: what its services live on stays until the file has been proven in its place."""

from pathlib import Path

import pytest

import hivekeys.host.verbs.install
import hivekeys.host.verbs.uninstall  # noqa: F401  hosts know the way back
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Amount, Policy
from hivekeys.protocol.causes import Trouble
from hivekeys.token import generate
from tests.builders.installer import Installer
from tests.inprocess import InProcessFleet, SimulatedHost

POLICY = Policy(canary=1, batch=Amount(2), max_failures=Amount(0), revocation_recheck=0.0)


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """Services of v0.1.0: each has the token from its unit's environment and reads no file, though one is there."""
    fleet = InProcessFleet(tmp_path, hives=2, policy=POLICY)
    for host in fleet.hosts.values():
        unit = host.root / f"etc/systemd/system/{host.host.service.unit}.d/token.conf"
        unit.parent.mkdir(parents=True)
        unit.write_text(f"[Service]\nEnvironment=A=1 LLORCH_API_TOKEN={fleet.token.reveal()}\n")
        host.environment_token = fleet.token.reveal()
        host.start()
    return fleet


def files(host: SimulatedHost) -> dict[str, bytes]:
    """All below /etc, where units and tokens lie."""
    etc = host.root / "etc"
    return {str(path.relative_to(etc)): path.read_bytes() for path in sorted(etc.rglob("*")) if path.is_file()}


def test_a_service_that_reads_no_file_is_left_as_it_worked(fleet: InProcessFleet) -> None:
    was = {name: files(host) for name, host in fleet.hosts.items()}
    ann = Installer(fleet)
    assert {name: files(host) for name, host in fleet.hosts.items()} == was
    assert all(host.accepts(fleet.token) for host in fleet.hosts.values())
    assert ann.troubles["queen"] is Trouble.NEW_REFUSED
    (queen,) = (one for one in ann.kept if one.host == "queen")
    assert queen.cause
    assert queen.cause.detail.startswith("this program does not read the file: ")
    assert queen.cause.detail.endswith("what was done is undone, it works as before")
    assert {change.refused for change in queen.changes} == {"undone: it did not load the file"}


def test_the_others_are_not_begun_after_it(fleet: InProcessFleet) -> None:
    ann = Installer(fleet)
    assert [entry.host for entry in fleet.log if entry.verb == "restart"] == ["queen", "queen"]  # there, and back
    assert {ann.troubles[name] for name in ("hive1", "hive2")} == {Trouble.NOT_BEGUN}


def test_where_the_file_is_read_the_environment_loses_its_token_behind_the_proof(fleet: InProcessFleet) -> None:
    for host in fleet.hosts.values():
        host.environment_token = ""
        host.start()
    ann = Installer(fleet)
    assert ann.troubles == {}
    for host in fleet.hosts.values():
        text = (host.root / f"etc/systemd/system/{host.host.service.unit}.d/token.conf").read_text()
        assert text == "[Service]\nEnvironment=A=1\n"
        assert host.accepts(fleet.token)
    assert all("environment" in [change.part for change in one.changes] for one in ann.kept)


def test_a_service_whose_token_is_in_no_file_is_not_given_another(fleet: InProcessFleet) -> None:
    """It would be a new one, and all that call the fleet would be refused."""
    for host in fleet.hosts.values():
        host.active.unlink()
    with pytest.raises(UserError, match="has its token from its environment") as refused:
        Installer(fleet)
    assert refused.value.code is ExitCode.USAGE
    assert 'format = "environment"' in (refused.value.hint or "")
    assert all(host.accepts(fleet.token) for host in fleet.hosts.values())


def test_a_hive_that_works_with_a_token_of_its_own_keeps_it_and_stops_nobody(fleet: InProcessFleet) -> None:
    """It may lie, too: what one hive says of its token is no reason to leave the others as they are."""
    own = generate()
    for host in fleet.hosts.values():
        host.environment_token = own.reveal() if host.host.name == "hive2" else ""
        host.start()
    hive = fleet.hosts["hive2"]
    hive.active.unlink()
    was = files(hive)
    ann = Installer(fleet)
    assert ann.troubles == {"hive2": Trouble.TOKEN_IN_ENVIRONMENT}
    assert (files(hive), hive.accepts(own)) == (was, True)
    assert {one.host for one in ann.kept if one.proof and one.proof.proven} == {"queen", "hive1"}


def test_a_drop_in_of_ours_that_was_there_has_its_text_again(fleet: InProcessFleet) -> None:
    queen = fleet.hosts["queen"]
    for host in fleet.hosts.values():
        host.environment_token = ""
        host.start()
    Installer(fleet)
    drop_in = queen.root / f"etc/systemd/system/{queen.host.service.unit}.d/50-hivekeys.conf"
    older = drop_in.read_text().replace("UnsetEnvironment=LLORCH_API_TOKEN\n", "")
    drop_in.write_text(older)
    queen.environment_token = fleet.token.reveal()
    queen.start()
    assert Installer(fleet).troubles["queen"] is Trouble.NEW_REFUSED
    assert drop_in.read_text() == older
    assert queen.accepts(fleet.token)
