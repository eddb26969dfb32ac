"""The token that is backed up is one that a service has just proven; and a restore is a rotation back to it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

import hivekeys.host.verbs.tombstones  # noqa: F401  hosts know its verb
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Policy
from hivekeys.journal.events import Event, Outcome, Phase, RunStarted, State
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.verbs import Greeting
from hivekeys.token import Fingerprint, Token, generate
from hivekeys.upkeep.current_token import Grounds, current
from hivekeys.upkeep.upkeep import Upkeep
from tests.builders.operator import Operator, serving
from tests.inprocess import KEY, InProcessFleet, OwnClock, Session


def read(
    fleet: InProcessFleet,
    events: list[Event] | None = None,
    revoked: Mapping[Fingerprint, str] | None = None,
    known: Token | None = None,
    source: str = "",
) -> Token:
    greeting = Greeting(fleet.inventory.name, KEY, "backup-1", "ann@bastion")
    told = [] if events is None else events
    hosts = fleet.inventory.hosts
    work = Upkeep(fleet.inventory, hosts, fleet.dialer(), greeting, told.extend, Phase.BACKUP, False, "", OwnClock())
    try:
        named = next((host for host in hosts if host.name == source), None)
        return current(work, "read the token", revoked or {}, Grounds(known.fingerprint(KEY) if known else None, named))
    finally:
        work.close()


def test_it_comes_from_the_queen_and_nothing_is_written_anywhere(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    events: list[Event] = []
    assert read(fleet, events) == fleet.token
    asked = {"hello", "observe", "prove", "recall", "tombstones"}
    assert {verb for host in fleet.hosts for verb in fleet.verbs(host)} == asked
    assert [host for host in fleet.hosts if "recall" in fleet.verbs(host)] == ["queen"]
    assert isinstance(events[0], RunStarted) and events[0].task == "backup"
    assert {event.state for event in events if isinstance(event, Outcome)} == {State.PROVEN}


@pytest.mark.parametrize("fault", ["link-down", "accepts-any-token"])
def test_two_hives_say_it_when_the_queen_does_not_prove_it_and_the_journal_knows_it(tmp_path: Path, fault: str) -> None:
    fleet = InProcessFleet(tmp_path)
    fleet.hosts["queen"].fault = fault
    fleet.hosts["queen"].start()
    assert read(fleet, known=fleet.token) == fleet.token


def test_what_one_hive_alone_proves_is_not_backed_up_unless_it_is_named(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    for name in ("queen", "hive1", "hive2"):
        fleet.hosts[name].fault = "link-down"
    for known in (None, fleet.token, generate()):
        with pytest.raises(UserError, match="is proven by hive3 alone: the queen does not prove it") as caught:
            read(fleet, known=known)
        assert caught.value.code is ExitCode.INCOMPLETE
    assert not [host for host in fleet.hosts if "recall" in fleet.verbs(host)]
    assert read(fleet, source="hive3") == fleet.token
    with pytest.raises(UserError, match="--from hive1: it shows no token"):
        read(fleet, source="hive1")


def test_a_hostile_hive_does_not_keep_the_fleet_from_a_backup(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    fleet.hosts["queen"].fault = "link-down"
    fleet.hosts["hive2"].write(generate())
    fleet.hosts["hive2"].start()
    assert read(fleet, known=fleet.token) == fleet.token


def test_a_token_that_no_service_proves_is_not_backed_up(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    for host in fleet.hosts.values():
        host.fault = "accepts-any-token"
        host.start()
    with pytest.raises(UserError, match="no host of fleet inprocess proves its token") as caught:
        read(fleet)
    assert caught.value.code is ExitCode.INCOMPLETE
    assert not [host for host in fleet.hosts if "recall" in fleet.verbs(host)]


def test_a_token_that_leaked_is_not_backed_up_though_the_fleet_still_serves_it(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    with pytest.raises(UserError, match=r"fleet inprocess: its token .* was revoked by run run-9"):
        read(fleet, revoked={fleet.token.fingerprint(KEY): "run-9"})
    assert not [host for host in fleet.hosts if "recall" in fleet.verbs(host)]


def test_a_token_that_the_hosts_remember_as_leaked_is_not_backed_up(tmp_path: Path) -> None:
    """A new bastion knows nothing of the revocation, and somebody has put the leaked token back by hand."""
    fleet = InProcessFleet(tmp_path, policy=Policy(revocation_recheck=0.0))
    assert Operator(fleet, task=REVOKE).revoke() is ExitCode.DONE
    for host in fleet.hosts.values():
        host.write(fleet.token)
        host.start()
    with pytest.raises(UserError, match=r"its token was revoked by run run-1, as queen, hive\[1:3\] remember"):
        read(fleet)


def test_where_the_queen_is_away_and_hives_disagree_nobody_knows_which_to_back_up(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    fleet.hosts["queen"].fault = "link-down"
    fleet.hosts["hive2"].write(generate())
    with pytest.raises(UserError, match="it is not known which token"):
        read(fleet)


def test_a_host_where_another_run_is_at_work_keeps_its_token_and_the_next_one_says_it(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    rival = Session(fleet.hosts["queen"], run="rival")
    assert read(fleet) == fleet.token
    rival.line.close()


@pytest.mark.parametrize("elsewhere", [("queen", "hive1", "hive2"), ("hive1",)])
def test_a_restore_turns_the_fleet_back_though_some_hosts_never_left_that_token(
    tmp_path: Path, elsewhere: tuple[str, ...]
) -> None:
    fleet = InProcessFleet(tmp_path, policy=Policy(stable_seconds=0.0))
    new = generate()
    for name in elsewhere:
        fleet.hosts[name].write(new)
        fleet.hosts[name].start()
    assert Operator(fleet, token=fleet.token).rotate() is ExitCode.DONE
    assert serving(fleet, new) == dict.fromkeys(fleet.hosts, "old")
