"""Which tokens a revocation condemns, and what it may say where there was nothing to ask with (promise 14)."""

from pathlib import Path

import pytest

from hivekeys.errors import ExitCode
from hivekeys.fleet import Policy
from hivekeys.journal.events import State
from hivekeys.journal.history import History
from hivekeys.journal.run import REVOKE
from hivekeys.report import next_step
from hivekeys.report.verdict import verdict
from hivekeys.report.words import summary_lines
from hivekeys.token import Token, generate
from tests.builders.operator import Operator, serving
from tests.inprocess import KEY, InProcessFleet, Session

DONE, OPEN, LOCKED = ExitCode.DONE, ExitCode.INCOMPLETE, ExitCode.LOCKED


@pytest.fixture
def fleet(tmp_path: Path) -> InProcessFleet:
    """A queen and three hives with one token, which has leaked."""
    return InProcessFleet(tmp_path, policy=Policy(revocation_recheck=0.0))


def known(*tokens: Token) -> History:
    """A journal whose runs brought these tokens, the newest first."""
    return History(tuple(token.fingerprint(KEY) for token in tokens), len(tokens))


def without_token_files(fleet: InProcessFleet) -> None:
    """Somebody removed them; the services run on with what they have read."""
    for host in fleet.hosts.values():
        host.active.unlink()


def test_where_no_token_is_left_to_ask_with_nobody_is_said_to_refuse_one(fleet: InProcessFleet) -> None:
    without_token_files(fleet)
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is OPEN
    assert set(ann.states.values()) == {State.HEALTHY}
    assert "every host refuses" not in verdict(ann.runner.run, OPEN).words
    said = next_step(ann.runner.run, ann.runner.fleet)
    assert said.startswith("no copy of the old token is left to try on queen, hive1, hive2, hive3")
    assert "fab revoke --fleet inprocess --reason routine --token-file FILE" in said
    assert {host.was for host in ann.runner.run.hosts.values()} == {None}, "nobody saw which it was"


def test_the_token_that_the_journal_knows_is_condemned_though_no_slot_holds_it(fleet: InProcessFleet) -> None:
    without_token_files(fleet)
    ann = Operator(fleet, task=REVOKE, history=known(fleet.token))
    ann.revoke(leaked=known(fleet.token).tokens)
    assert fleet.token.fingerprint(KEY) in ann.runner.run.revoked
    session = Session(fleet.hosts["hive1"], run="later", epoch=9, revoked={fleet.token.fingerprint(KEY).keyed: "run-1"})
    assert session.do("stage", token=fleet.token.reveal())["trouble"] == "revoked"


def test_a_token_that_only_the_running_services_copy_holds_gets_a_tombstone(tmp_path: Path) -> None:
    """systemd's copy of it: from any bastion, and after a restart, it is the token that leaked."""
    fleet = InProcessFleet(tmp_path, policy=Policy(revocation_recheck=0.0), credentials=True)
    without_token_files(fleet)
    assert Operator(fleet, task=REVOKE).revoke() is OPEN
    for host in fleet.hosts.values():
        other_bastion = Session(host, run="later", epoch=9)
        assert not other_bastion.do("recall", want=fleet.token.fingerprint(KEY).keyed)["ok"], "root's file, maybe"
        assert other_bastion.do("stage", token=fleet.token.reveal())["trouble"] == "revoked"


def test_the_leaked_token_itself_is_asked_of_every_host_and_gets_a_tombstone_there(fleet: InProcessFleet) -> None:
    """`--token-file`: somebody has it, so every service can be asked."""
    without_token_files(fleet)
    ann = Operator(fleet, task=REVOKE)
    leaked = ann.runner.vouch(fleet.token)
    assert ann.revoke(leaked=(leaked,)) is DONE
    assert set(serving(fleet, ann.token).values()) == {"new"}
    other_bastion = Session(fleet.hosts["hive1"], run="later", epoch=9)
    assert other_bastion.do("stage", token=fleet.token.reveal())["trouble"] == "revoked"


def test_a_token_that_leaked_and_was_rotated_away_is_asked_too(fleet: InProcessFleet) -> None:
    """One service still takes it: a second source, a cache."""
    rotated_away = generate()
    fleet.hosts["hive2"].also_accepts.add(rotated_away.reveal())
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke(leaked=(ann.runner.vouch(rotated_away),)) is OPEN
    assert {name for name, state in ann.states.items() if state is not State.PROVEN} == {"hive2"}


def test_a_host_that_was_imaged_anew_is_asked_with_the_token_that_the_queen_holds(fleet: InProcessFleet) -> None:
    fleet.hosts["hive3"].reimage()
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is DONE
    proof = ann.runner.run.hosts["hive3"].proof
    assert proof is not None
    assert proof.calls["old"] == 401


def test_a_token_that_one_host_holds_alone_is_condemned_and_named_with_it(fleet: InProcessFleet) -> None:
    """Nobody bears out that it was the fleet's: no other host is told it, and the report says so."""
    lone = Token("a-word-that-somebody-put-there")
    fleet.hosts["hive2"].write(lone, ".backup")
    asked: list[str] = []
    fleet.on_request = lambda host, request: asked.append(host.name) if lone.reveal() in str(request) else None
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is DONE
    assert lone.fingerprint(KEY) in ann.runner.run.revoked
    assert set(asked) <= {"hive2"}
    line = f"only hive2 held token:{lone.fingerprint(KEY)}: no other host was tried with it"
    assert line in summary_lines(ann.runner.run, DONE, ann.runner.fleet)


def test_a_service_is_stopped_on_a_host_that_can_write_nothing_of_hivekeys(fleet: InProcessFleet) -> None:
    """A lock needs a file, to stop a unit needs none."""
    fleet.hosts["hive2"].fault = "var-full"
    ann = Operator(fleet, task=REVOKE, fence=True)
    assert ann.revoke() is OPEN
    assert ann.states["hive2"] is State.FENCED
    assert not fleet.hosts["hive2"].accepts(fleet.token)


def test_whoever_holds_the_queen_is_ended_by_who_takes_over(fleet: InProcessFleet) -> None:
    thief = Session(fleet.hosts["queen"], run="thief", epoch=1)
    ann = Operator(fleet, task=REVOKE)
    assert ann.revoke() is LOCKED
    assert "pid" in str(ann.runner.run.hosts["queen"].cause)
    bob = Operator(fleet, run="run-2", task=REVOKE, take_over=True)
    assert bob.revoke() is DONE
    assert thief.line.dead is not None
