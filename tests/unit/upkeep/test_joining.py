"""`fab install`: the pace at which services that run are restarted, and which token no host is given."""

import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

import hivekeys.host.verbs.install
import hivekeys.host.verbs.tombstones
import hivekeys.host.verbs.uninstall  # noqa: F401  hosts know their verbs
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Amount, Policy
from hivekeys.host.state import STATE
from hivekeys.journal.events import Stopped
from hivekeys.journal.run import REVOKE
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.wire import decode
from hivekeys.text.names import fold_names
from hivekeys.token import Token, generate
from hivekeys.upkeep import changes
from hivekeys.upkeep.inheritance import MOST
from tests.builders.installer import Installer
from tests.builders.operator import Operator, breaks
from tests.inprocess import KEY, InProcessFleet, Session, SimulatedHost

POLICY = Policy(canary=1, batch=Amount(2), max_failures=Amount(0), revocation_recheck=0.0)


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """A queen and five hives that serve one token; nobody has installed anything on them."""
    return InProcessFleet(tmp_path, hives=5, policy=POLICY)


def restarts(fleet: InProcessFleet) -> list[str]:
    return [entry.host for entry in fleet.log if entry.verb == "restart"]


# -- the pace


def test_services_that_run_are_restarted_queen_first_then_a_canary_then_in_batches(fleet: InProcessFleet) -> None:
    ann = Installer(fleet)
    assert ann.phases == {
        "set up: queen": ("queen",),
        "set up: canary": ("hive1",),
        "set up: wave 1 of 2": ("hive2", "hive3"),
        "set up: wave 2 of 2": ("hive4", "hive5"),
    }
    assert {one.host for one in ann.kept if one.proof and one.proof.proven} == set(fleet.hosts)
    assert fleet.out_together[:2] == [{"queen"}, {"hive1"}]
    assert max(map(len, fleet.out_together)) <= 2
    assert all(host.accepts(fleet.token) for host in fleet.hosts.values())


@pytest.mark.parametrize(
    ("ill", "reached"),
    [("queen", ["queen"]), ("hive1", ["queen", "hive1"]), ("hive2", ["queen", "hive1", "hive2", "hive3"])],
)
def test_when_a_wave_fails_no_later_one_is_begun(fleet: InProcessFleet, ill: str, reached: list[str]) -> None:
    fleet.at(ill, "restart", breaks("start-fails"))
    ann = Installer(fleet)
    assert set(restarts(fleet)) == set(reached)  # the one that failed a second time, as it was
    others = {name: Trouble.NOT_BEGUN for name in fleet.hosts if name not in reached}
    assert ann.troubles == {ill: Trouble.START_FAILED, **others}
    assert all(fleet.hosts[name].accepts(fleet.token) for name in others)
    (stopped,) = [event for event in ann.events if isinstance(event, Stopped)]
    assert ill in stopped.why
    assert changes.exit_code(ann.kept, apply=True) is ExitCode.INCOMPLETE
    said = changes.lines(ann.kept, fleet.inventory, apply=True)
    assert said[1].startswith(f"{fold_names(others)}: not-begun: ")
    assert said[-1].endswith(f" 1 hosts failed, {len(others)} not begun")


def test_a_host_that_joins_waits_for_no_wave_and_stops_nobody(fleet: InProcessFleet) -> None:
    for name in ("hive1", "hive4"):
        fleet.hosts[name].reimage()
        fleet.hosts[name].stop()
    fleet.at("hive1", "restart", breaks("start-fails"))
    fleet.at("hive2", "restart", breaks("start-fails"))
    ann = Installer(fleet)
    assert ann.troubles == {
        "hive1": Trouble.START_FAILED,
        "hive2": Trouble.START_FAILED,
        "hive3": Trouble.NOT_BEGUN,
        "hive5": Trouble.NOT_BEGUN,
    }
    assert list(ann.phases)[-1] == "set up: the other hosts"
    assert fleet.hosts["hive4"].accepts(fleet.token)


def test_a_second_time_all_hives_are_only_proven_and_at_once(fleet: InProcessFleet) -> None:
    Installer(fleet)
    before = restarts(fleet)
    again = Installer(fleet)
    assert restarts(fleet) == before
    assert list(again.phases.values()) == [("queen",), ("hive1", "hive2", "hive3", "hive4", "hive5")]
    assert {one.host for one in again.kept if one.proof and one.proof.proven} == set(fleet.hosts)


def test_a_host_that_cannot_be_reached_stops_nobody(fleet: InProcessFleet) -> None:
    fleet.hosts["hive1"].fault = "link-down"
    ann = Installer(fleet)
    assert ann.troubles == {"hive1": Trouble.NO_CONNECTION}
    assert sorted(restarts(fleet)) == ["hive2", "hive3", "hive4", "hive5", "queen"]


def test_a_look_asks_all_hosts_at_once_and_restarts_none(fleet: InProcessFleet) -> None:
    ann = Installer(fleet, apply=False)
    assert list(ann.phases) == ["look what is to be set up"]
    assert restarts(fleet) == []
    assert all(one.changes for one in ann.kept)


# -- a token that leaked


def test_a_fleet_that_still_has_a_token_that_leaked_is_not_set_up_with_it(fleet: InProcessFleet) -> None:
    """Away while it was revoked, and then installed anew: the bastion knows, and writes nothing."""
    gone = {fleet.token.fingerprint(KEY): "run-9"}
    with pytest.raises(UserError, match="was revoked by run run-9: nothing may write it again"):
        Installer(fleet, gone)
    assert {verb for name in fleet.hosts for verb in fleet.verbs(name)} == {"hello", "observe"}


def test_a_host_refuses_a_token_that_leaked_from_a_bastion_that_knows_nothing_of_it(fleet: InProcessFleet) -> None:
    """hive1 refused it once, and was left with no token; the others were restored by hand, tombstones and all gone."""
    old = fleet.token
    Operator(fleet, task=REVOKE).revoke()
    for name, host in fleet.hosts.items():
        if name == "hive1":
            host.active.unlink()
            host.stop()
        else:
            host.reimage()
            host.write(old)
            host.start()
    ann = Installer(fleet, key=b"\x01" * 32)
    assert ann.troubles == {"hive1": Trouble.REVOKED}
    assert fleet.hosts["hive1"].active_token() is None


# -- one host alone does not say which token the fleet has


def join(fleet: InProcessFleet, *, known: Token | None = None, source: str = "") -> Installer:
    """Types `fab install --limit hive3`, after hive3 was imaged anew."""
    fleet.hosts["hive3"].reimage()
    fleet.hosts["hive3"].stop()
    return Installer(fleet, hosts=["hive3"], known=known, source=source)


def serves_another(fleet: InProcessFleet, name: str) -> Token:
    """A token of its own on this host, and its service proves it."""
    token = generate()
    fleet.hosts[name].write(token)
    fleet.hosts[name].start()
    return token


def away(fleet: InProcessFleet, *names: str) -> None:
    for name in names:
        fleet.hosts[name].fault = "link-down"


def refused(fleet: InProcessFleet, *, known: Token | None = None) -> UserError:
    """Why hive3 is given nothing; and nothing was."""
    with pytest.raises(UserError) as caught:
        join(fleet, known=known)
    assert caught.value.code is ExitCode.INCOMPLETE
    assert fleet.hosts["hive3"].active_token() is None
    assert {"hello", "observe", "prove"} >= {verb for name in fleet.hosts for verb in fleet.verbs(name)}
    return caught.value


def test_a_host_that_was_left_behind_does_not_hand_its_token_on(fleet: InProcessFleet) -> None:
    """R5: hive4 was away when the fleet rotated; now it is all that answers."""
    new = generate()
    for name in ("queen", "hive1", "hive2", "hive5"):
        fleet.hosts[name].write(new)
        fleet.hosts[name].start()
    away(fleet, "queen", "hive1", "hive2", "hive5")
    said = refused(fleet, known=new)
    assert f"token:{fleet.token.fingerprint(KEY)} is proven by hive4 alone" in said.message
    assert f"journal knows token:{new.fingerprint(KEY)}" in said.message
    assert "--from HOST" in said.hint


def test_a_journal_from_before_a_revocation_does_not_bear_out_the_one_host_that_missed_it(
    fleet: InProcessFleet,
) -> None:
    away(fleet, "queen", "hive1", "hive2", "hive5")
    said = refused(fleet, known=fleet.token)
    assert "is proven by hive4 alone: the queen does not prove it, and this bastion's journal knows it" in said.message


def test_a_hostile_hive_gives_no_token_of_its_own_to_a_host_that_joins(fleet: InProcessFleet) -> None:
    away(fleet, "queen", "hive1", "hive2", "hive5")
    serves_another(fleet, "hive4")
    assert "journal knows none" in refused(fleet).message


def test_nor_do_two_of_them_where_nobody_knows_the_token(fleet: InProcessFleet) -> None:
    away(fleet, "queen", "hive2", "hive5")
    token = serves_another(fleet, "hive4")
    fleet.hosts["hive1"].write(token)
    fleet.hosts["hive1"].start()
    refused(fleet)
    refused(fleet, known=fleet.token)


def test_a_queen_alone_is_not_believed_against_the_journal(fleet: InProcessFleet) -> None:
    served = fleet.token
    serves_another(fleet, "queen")
    said = refused(fleet, known=served)
    assert "is proven by queen alone: the queen proves it, and this bastion's journal knows token:" in said.message


def test_two_hosts_that_prove_what_the_journal_knows_are_enough_without_the_queen(fleet: InProcessFleet) -> None:
    away(fleet, "queen")
    join(fleet, known=fleet.token)
    assert fleet.hosts["hive3"].accepts(fleet.token)


def test_the_queen_is_enough_for_a_bastion_that_knows_no_token(fleet: InProcessFleet) -> None:
    away(fleet, "hive1", "hive2", "hive4", "hive5")
    join(fleet)
    assert fleet.hosts["hive3"].accepts(fleet.token)


def test_a_fleet_that_another_bastion_rotated_is_believed_by_its_queen_and_a_second_host(fleet: InProcessFleet) -> None:
    join(fleet, known=generate())
    assert fleet.hosts["hive3"].accepts(fleet.token)


@pytest.mark.parametrize("lie", ["another token", "staged", "no proof"])
def test_what_one_hive_shows_keeps_no_other_from_joining(fleet: InProcessFleet, lie: str) -> None:
    if lie == "another token":
        serves_another(fleet, "hive4")
    elif lie == "staged":
        fleet.hosts["hive4"].write(generate(), ".new")
    else:
        fleet.hosts["hive4"].fault = "accepts-any-token"
    join(fleet)
    assert fleet.hosts["hive3"].accepts(fleet.token)


def test_an_operator_can_name_the_host_whose_token_it_is(fleet: InProcessFleet) -> None:
    away(fleet, "queen", "hive1", "hive2", "hive5")
    join(fleet, source="hive4")
    assert fleet.hosts["hive3"].accepts(fleet.token)


def test_a_host_that_is_named_has_to_prove_its_token_all_the_same(fleet: InProcessFleet) -> None:
    fleet.hosts["hive4"].fault = "accepts-any-token"
    fleet.hosts["hive4"].start()
    with pytest.raises(UserError, match="--from hive4: it does not prove its token"):
        join(fleet, source="hive4")
    assert fleet.hosts["hive3"].active_token() is None


def empty(fleet: InProcessFleet) -> None:
    """As it is before anything was set up."""
    for host in fleet.hosts.values():
        host.reimage()
        host.stop()


def test_a_new_fleet_gets_one_new_token_everywhere(fleet: InProcessFleet) -> None:
    empty(fleet)
    Installer(fleet)
    tokens = {host.active_token() for host in fleet.hosts.values()}
    assert len(tokens) == 1
    assert None not in tokens
    assert all(host.accepts(next(iter(tokens)) or "") for host in fleet.hosts.values())


def test_a_set_up_that_was_cut_off_goes_on_with_the_queens_token(fleet: InProcessFleet) -> None:
    empty(fleet)
    fleet.hosts["queen"].write(fleet.token)
    Installer(fleet)
    assert all(host.accepts(fleet.token) for host in fleet.hosts.values())


def test_a_hive_that_has_a_token_already_does_not_give_it_to_a_new_fleet(fleet: InProcessFleet) -> None:
    empty(fleet)
    token = serves_another(fleet, "hive4")
    with pytest.raises(UserError, match="is proven by hive4 alone") as caught:
        Installer(fleet)
    assert caught.value.code is ExitCode.INCOMPLETE
    assert [name for name, host in fleet.hosts.items() if host.active_token()] == ["hive4"]
    Installer(fleet, source="hive4")
    assert all(host.accepts(token) for host in fleet.hosts.values())


# -- a host that was imaged anew remembers again what leaked


def stones_of(fleet: InProcessFleet, name: str) -> list[dict[str, str]]:
    """The tombstones that a host keeps."""
    path = fleet.hosts[name].root / STATE / "tombstones"
    found: list[dict[str, str]] = json.loads(path.read_text()) if path.exists() else []
    return found


def lay(fleet: InProcessFleet, name: str, *stones: dict[str, str]) -> None:
    path = fleet.hosts[name].root / STATE / "tombstones"
    path.write_text(json.dumps([*stones_of(fleet, name), *stones]))


def stone_of(token: Token, run: str = "run-7") -> dict[str, str]:
    salt = secrets.token_bytes(16)
    digest = hmac.new(salt, token.reveal().encode(), hashlib.sha256).hexdigest()
    return {"salt": salt.hex(), "digest": digest, "run": run}


@pytest.fixture
def revoked(fleet: InProcessFleet) -> Token:
    """The token that leaked and was revoked everywhere; the fleet has another now."""
    leaked = fleet.token
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is ExitCode.DONE
    fleet.token = ann.token
    return leaked


def forbids(fleet: InProcessFleet, name: str, token: Token) -> bool:
    return any(token.is_under(stone["salt"], stone["digest"]) for stone in stones_of(fleet, name))


def doubts_of(ann: Installer) -> list[str]:
    """What a host that joined was not given, and why."""
    rows = [change for one in ann.kept for change in one.changes if change.part == "tombstones"]
    return [row.refused for row in rows if row.refused]


def test_a_host_that_was_imaged_anew_refuses_again_what_its_fellows_refuse(
    fleet: InProcessFleet, revoked: Token
) -> None:
    ann = join(fleet, known=fleet.token)
    assert fleet.hosts["hive3"].accepts(fleet.token)
    assert forbids(fleet, "hive3", revoked)
    (row,) = [change for one in ann.kept for change in one.changes if change.part == "tombstones"]
    assert (row.before, row.refused) == ("0 tokens that leaked", "")
    (refusal,) = Session(fleet.hosts["hive3"], run="run-9", epoch=9).ask({"verb": "stage", "token": revoked.reveal()})
    assert (refusal["ok"], refusal["trouble"]) == (False, "revoked")


def test_it_learns_it_without_the_queen_too(fleet: InProcessFleet, revoked: Token) -> None:
    away(fleet, "queen")
    join(fleet, known=fleet.token)
    assert forbids(fleet, "hive3", revoked)


def test_a_host_that_is_set_up_a_second_time_is_given_nothing_more(fleet: InProcessFleet, revoked: Token) -> None:
    join(fleet, known=fleet.token)
    before = {name: stones_of(fleet, name) for name in fleet.hosts}
    again = Installer(fleet, known=fleet.token)
    assert {name: stones_of(fleet, name) for name in fleet.hosts} == before
    assert not [change for one in again.kept for change in one.changes if change.part == "tombstones"]


def test_tombstones_are_added_and_never_replaced(fleet: InProcessFleet, revoked: Token) -> None:
    """Its record is gone and its tombstones are not: somebody has cleared the folder by hand."""
    own = stone_of(generate(), "run-of-its-own")
    fleet.hosts["hive3"].reimage()
    fleet.hosts["hive3"].stop()
    (fleet.hosts["hive3"].root / STATE).mkdir(mode=0o700)
    lay(fleet, "hive3", own)
    Installer(fleet, hosts=["hive3"], known=fleet.token)
    assert own in stones_of(fleet, "hive3")
    assert forbids(fleet, "hive3", revoked)


def test_one_hive_cannot_forbid_the_fleets_own_token_and_is_named(fleet: InProcessFleet, revoked: Token) -> None:
    lay(fleet, "hive4", stone_of(fleet.token), stone_of(generate()))
    lies = stones_of(fleet, "hive4")[-2:]
    ann = join(fleet, known=fleet.token)
    assert fleet.hosts["hive3"].accepts(fleet.token)
    assert forbids(fleet, "hive3", revoked)
    assert not [stone for stone in lies if stone in stones_of(fleet, "hive3")]
    assert doubts_of(ann) == [
        "hive4 alone has a tombstone for the fleet's own token: none of its tombstones were taken"
    ]
    assert changes.exit_code(ann.kept, apply=True) is ExitCode.FINDINGS


@pytest.mark.parametrize("who", [("queen",), ("hive1", "hive2")])
def test_a_token_that_the_queen_or_two_hosts_remember_as_leaked_is_handed_to_nobody(
    fleet: InProcessFleet, revoked: Token, who: tuple[str, ...]
) -> None:
    """The journal is from before the revocation, and the hosts were turned back to the leaked token by hand."""
    for name in who:
        lay(fleet, name, stone_of(fleet.token))
    with pytest.raises(UserError, match=r"its token was revoked by run run-7, as .* remember") as caught:
        join(fleet, known=fleet.token)
    assert caught.value.code is ExitCode.INCOMPLETE
    assert fleet.hosts["hive3"].active_token() is None


def test_one_host_cannot_flood_another_nor_crowd_out_what_the_rest_remember(
    fleet: InProcessFleet, revoked: Token
) -> None:
    lay(fleet, "hive4", *(stone_of(generate(), "flood") for _ in range(1500)))
    lay(fleet, "hive5", *(stone_of(generate(), "flood") for _ in range(1500)))
    ann = join(fleet, known=fleet.token)
    given = stones_of(fleet, "hive3")
    assert len(given) == MOST
    assert forbids(fleet, "hive3", revoked)
    assert all(stone in given for name in ("queen", "hive1", "hive2") for stone in stones_of(fleet, name))
    (doubt,) = doubts_of(ann)
    assert doubt.endswith("more are too many: the newest are given")


@pytest.mark.parametrize("part", [{"salt": "zz" * 16}, {"digest": "ab"}, {"run": "r\x1b[2J"}])
def test_what_is_no_tombstone_is_taken_from_nobody(part: dict[str, str]) -> None:
    answer = {"verb": "tombstones", "ok": True, "changed": False, "seconds": 0.1, "trouble": "", "detail": ""}
    told = decode({"results": [{**answer, "facts": {"stones": [stone_of(generate()) | part], "older": 0}}]})
    assert isinstance(told, Cause)
    assert told.trouble is Trouble.RUBBISH


def test_no_token_can_be_told_from_what_is_handed_on(fleet: InProcessFleet, revoked: Token) -> None:
    heard: list[str] = []

    def listen(host: SimulatedHost, request: dict[str, Any]) -> None:
        if host.name == "hive3":
            heard.append(json.dumps(request))

    fleet.on_request = listen
    join(fleet, known=fleet.token)
    assert any('"stones": [{' in text for text in heard)
    assert not any(revoked.reveal() in text or revoked.fingerprint(KEY).fp6 in text for text in heard)


def test_tombstones_that_cannot_be_read_are_not_written_over(fleet: InProcessFleet, revoked: Token) -> None:
    fleet.hosts["hive3"].reimage()
    fleet.hosts["hive3"].stop()
    (fleet.hosts["hive3"].root / STATE).mkdir(mode=0o700)
    (fleet.hosts["hive3"].root / STATE / "tombstones").write_text("half of a fi")
    ann = Installer(fleet, hosts=["hive3"], known=fleet.token)
    assert ann.troubles == {"hive3": Trouble.RECORD_UNSOUND}
    assert (fleet.hosts["hive3"].root / STATE / "tombstones").read_text() == "half of a fi"
    assert fleet.hosts["hive3"].active_token() is None
