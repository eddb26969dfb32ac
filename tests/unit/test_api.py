"""Programs turn a fleet as an operator does: with the same journal, lock and proofs, and each event as it happens.

Simulated hosts behind real SSH (bench/simulated.py).
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.simulated import Hosts
from hivekeys import api
from hivekeys.api import ExitCode, Fleet, UserError
from hivekeys.bastion.approval import approved_plan, proposed_plan, scope_of
from hivekeys.bastion.request import Request as RunRequest
from hivekeys.bastion.turning import turn
from hivekeys.journal.events import Approved, Outcome, Phase, PhaseStarted, RunEnded, RunStarted, State
from hivekeys.rotation.proposal import NEW_TOKEN
from hivekeys.token import generate
from tests.builders.documents import valid
from tests.builders.fab import FAB
from tests.builders.persons import Person, person
from tests.builders.project import PROJECT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("api")
    with Hosts(folder, "--hosts=3"):
        yield folder


@pytest.fixture
def state(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HIVEKEYS_STATE_DIR", str(folder / "state"))
    return str(folder / "state")


@pytest.fixture
def fleet(folder: Path, state: str) -> Fleet:
    return api.load(folder / "fleet.toml")


def states(turn: api.Turn) -> set[State]:
    return {host.state for host in turn.run.hosts.values()}


def test_a_rotation_tells_each_event_and_ends_as_one_that_is_typed(fleet: Fleet) -> None:
    with api.rotate(fleet, reason="quarterly") as turn:
        events = list(turn)
    assert isinstance(events[0], RunStarted) and isinstance(events[-1], RunEnded)
    assert {event.host for event in events if isinstance(event, Outcome)} == {host.name for host in fleet.hosts}
    assert (turn.code, states(turn)) == (ExitCode.DONE, {State.PROVEN})
    assert valid(turn.document())["exit_code"] == 0
    assert "done, and proven, on every host" in turn.summary()[-1]
    newest = next(api.runs(fleet))
    assert (newest.id, newest.reason, newest.code) == (turn.run.id, "quarterly", ExitCode.DONE)


def test_a_plan_shows_the_waves_and_is_no_run(fleet: Fleet) -> None:
    before = [run.id for run in api.runs(fleet)]
    seen = api.plan(fleet)
    assert [phase for phase, _ in seen.waves][:2] == [Phase.QUEEN, Phase.CANARY]
    assert all(host.seen for host in seen.hosts.values())
    assert [run.id for run in api.runs(fleet)] == before


def test_how_the_hosts_are_is_asked_of_them(fleet: Fleet) -> None:
    found = api.status(fleet, limit="queen")
    assert [host.host.name for host in found.hosts] == ["queen"]
    assert found.code is ExitCode.DONE


def test_a_check_that_there_is_none_of_is_refused_with_those_that_there_are(fleet: Fleet) -> None:
    with pytest.raises(UserError, match="there is no check colour") as refused:
        api.verify(fleet, checks=["colour"])
    assert "credential" in refused.value.hint


def test_the_checklist_finds_what_fab_verify_finds(fleet: Fleet) -> None:
    report = api.verify(fleet, checks=["token-age"])
    assert {finding.host for finding in report.findings} == {host.name for host in fleet.hosts}


def test_one_that_is_left_in_the_middle_stops_between_hosts_and_is_resumed(fleet: Fleet) -> None:
    slow = replace(fleet, policy=replace(fleet.policy, width=1))
    with api.rotate(slow) as turn:
        for event in turn:
            if isinstance(event, PhaseStarted) and event.phase is Phase.CANARY:
                break
    assert turn.code is ExitCode.INTERRUPTED
    assert turn.run.is_open
    with api.resume(fleet) as again:
        again.finish()
    assert (again.run.id, again.code, states(again)) == (turn.run.id, ExitCode.DONE, {State.PROVEN})


def test_one_that_is_left_in_the_middle_is_taken_back(fleet: Fleet) -> None:
    with api.rotate(fleet) as turn:
        for event in turn:
            if isinstance(event, PhaseStarted) and event.phase is Phase.CANARY:
                turn.stop()
    with api.roll_back(fleet) as back:
        back.finish()
    assert back.run.id == turn.run.id
    assert back.run.is_back


def test_one_that_was_never_begun_changed_nothing_and_is_in_nobodys_way(fleet: Fleet) -> None:
    with api.rotate(fleet) as turn:
        pass
    assert turn.code is ExitCode.USAGE
    assert not turn.run.has_touched
    with api.rotate(fleet) as next_one:
        assert next_one.finish() is ExitCode.DONE


def test_two_at_once_are_one_and_a_refusal_that_names_the_other(fleet: Fleet) -> None:
    with api.rotate(fleet) as turn:
        said = f"another run works on fleet simulated: run {turn.run.id}"
        with pytest.raises(UserError, match=said) as refused, api.rotate(fleet):
            pytest.fail("both have the lock")
        assert refused.value.code is ExitCode.LOCKED


def test_a_token_that_hosts_have_already_is_refused(fleet: Fleet) -> None:
    token = generate()
    with api.rotate(fleet, given=token) as turn:
        assert turn.finish() is ExitCode.DONE
    with pytest.raises(UserError, match="already has"), api.rotate(fleet, given=token) as again:
        again.finish()


def test_a_token_that_leaked_is_revoked_and_never_taken_again(fleet: Fleet) -> None:
    leaked = generate()
    with api.rotate(fleet, given=leaked) as turn:
        turn.finish()
    with api.revoke(fleet, reason="in a public paste") as revocation:
        assert revocation.finish() is ExitCode.DONE
    assert revocation.run.is_revocation
    with pytest.raises(UserError, match="was revoked"), api.rotate(fleet, given=leaked):
        pytest.fail("the leaked token is back")


def test_a_revocation_without_a_reason_is_refused(fleet: Fleet) -> None:
    with pytest.raises(UserError, match="needs its reason"), api.revoke(fleet, reason=" "):
        pytest.fail("it began")


def test_no_event_document_or_summary_has_a_token(fleet: Fleet) -> None:
    token = generate()
    with api.rotate(fleet, given=token) as turn:
        events = list(turn)
    told = f"{events} {turn.document()} {turn.summary()} {turn.run}"
    assert token.reveal() not in told


PAGE = (PROJECT / "docs" / "api.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["an event at a time", "what can be corrected"])
def test_what_the_page_says_works_as_it_stands(
    folder: Path, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    (folder / "production.toml").write_text((folder / "fleet.toml").read_text())
    monkeypatch.setenv("HIVEKEYS_INVENTORY", str(folder))
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", example], capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "done, and proven, on every host" in done.stdout


def test_the_page_names_every_call_and_no_other() -> None:
    calls = {name for name in api.__all__ if name.islower()}
    assert set(re.findall(r"`(\w+)\(fleet", PAGE)) == calls


# -- a fleet that two persons turn


@pytest.fixture
def bob(tmp_path: Path) -> Person:
    return person(tmp_path)


@pytest.fixture
def guarded(folder: Path, state: str, bob: Person) -> Fleet:
    file = folder / "guarded.toml"
    file.write_text(f'{(folder / "fleet.toml").read_text()}[approval]\nkeys = ["{bob.public}"]\n')
    return api.load(file)


def test_a_program_turns_no_fleet_alone_that_two_persons_turn(guarded: Fleet) -> None:
    with pytest.raises(UserError, match="is turned only with an approved plan") as refused, api.rotate(guarded):
        pytest.fail("it has begun")
    assert "--propose FILE" in refused.value.hint


def test_nor_does_whoever_begins_a_run_in_another_way(guarded: Fleet) -> None:
    """The last door: a rotation is begun nowhere but here."""
    with (
        pytest.raises(UserError, match="is turned only with an approved plan"),
        turn(guarded, guarded.hosts, RunRequest(), lambda crew: crew.end),
    ):
        pytest.fail("it has begun")


def test_an_approved_plan_is_carried_out_once_and_taken_up_again_without_another(
    guarded: Fleet, bob: Person, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_bytes(proposed_plan(scope_of(guarded, guarded.hosts, (), ""), NEW_TOKEN, "quarterly"))
    bob.sign(plan)
    with pytest.raises(UserError, match="approved is a new token, not a given token"):
        api.rotate(guarded, approved=plan, given=generate()).__enter__()
    with api.rotate(guarded, approved=plan) as run:
        for event in run:
            if isinstance(event, PhaseStarted) and event.phase is Phase.CANARY:
                run.stop()
    assert run.code is ExitCode.INTERRUPTED and run.run.reason == "quarterly"
    with api.resume(guarded) as again:
        assert again.finish() is ExitCode.DONE
    assert again.run.approved_by == ("bob@example",)
    assert [type(event) for event in again.run.approvals] == [Approved]
    with pytest.raises(UserError, match=f"was carried out by run {run.run.id}: an approval is for one run"):
        api.rotate(guarded, approved=plan).__enter__()


def test_of_two_who_begin_with_one_plan_at_once_one_is_refused(guarded: Fleet, bob: Person, tmp_path: Path) -> None:
    """Both have read the plan while it was unused. Who gets the lock second is asked again."""
    plan = tmp_path / "plan.json"
    scope = scope_of(guarded, guarded.hosts, (), "")
    plan.write_bytes(proposed_plan(scope, NEW_TOKEN, ""))
    bob.sign(plan)
    read_before = approved_plan(scope, str(plan), "")
    with api.rotate(guarded, approved=plan) as run:
        assert run.finish() is ExitCode.DONE
    with (
        pytest.raises(UserError, match="was carried out by run"),
        turn(guarded, guarded.hosts, RunRequest(approved=read_before), lambda crew: crew.end),
    ):
        pytest.fail("it has begun")


def test_a_rotation_by_the_clock_that_is_not_due_asks_for_nobodys_approval(guarded: Fleet, folder: Path) -> None:
    """A timer ends well each night, with a plan that was carried out as well, until a rotation is due."""
    with api.rotate(replace(guarded, approval=None)) as run:
        assert run.finish() is ExitCode.DONE
    words = ["rotate", "--fleet", guarded.source, "--yes", "--if-older-than", "90d"]
    for more in ([], ["--approved", str(folder / "gone.json")]):
        done = subprocess.run(
            [FAB, *words, *more], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, "not due" in done.stdout) == (0, True), done.stderr
