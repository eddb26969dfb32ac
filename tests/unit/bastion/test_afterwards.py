"""A revocation waits for nobody, and is approved afterwards: what is signed then, and what that is worth."""

import contextlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hivekeys.bastion.afterwards import STATE_ANEW, approved_run, note, stated_run
from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import Approval, Fleet
from hivekeys.journal.events import RunStarted
from hivekeys.journal.fold import fold
from hivekeys.journal.past import past_run
from hivekeys.journal.run import REVOKE, Run
from hivekeys.journal.state_folder import fingerprint_key, folder_for
from hivekeys.journal.store import Journal
from hivekeys.report.approvals import approval_document, approval_lines, approval_words, how_to_check, signed_files
from tests.builders.persons import Person, person
from tests.builders.recorded import Teller, fleet_of

FOR = "hivekeys-statement@v1"


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return person(tmp_path_factory.mktemp("keys"))


@dataclass(frozen=True)
class Desk:
    """The bastion of a fleet that was revoked by ann; bob approves."""

    folder: Path
    bob: Person
    fleet: Fleet
    teller: Teller

    @property
    def state(self) -> str:
        return str(self.folder)

    @property
    def file(self) -> Path:
        return self.folder / "statement.json"

    @property
    def run(self) -> Run:
        return past_run(self.fleet.name, self.teller.run, self.state)

    def append(self, *events: Any) -> None:
        with contextlib.closing(Journal(folder_for(self.fleet.name, self.state))) as journal:
            journal.append(self.teller.run, *events)

    def propose(self) -> None:
        """What was done, which bob has not signed yet."""
        self.file.write_bytes(stated_run(self.fleet, "", self.state).data)

    def approve(self) -> None:
        note(self.fleet, approved_run(self.fleet, str(self.file), self.state), self.state)

    def change(self, how: Callable[[dict[str, Any]], object]) -> None:
        document = json.loads(self.file.read_text())
        how(document)
        self.file.write_text(json.dumps(document, indent=2) + "\n")

    def refuse(self, *says: str, hint: str = "") -> None:
        with pytest.raises(UserError) as error:
            self.approve()
        assert all(words in error.value.message for words in says), error.value.message
        assert hint in error.value.hint and error.value.code is ExitCode.USAGE


@pytest.fixture
def desk(tmp_path: Path, bob: Person) -> Desk:
    teller = Teller(fleet_of(2), task=REVOKE, reason="it was in a ticket")
    begun, *rest = teller.whole()
    assert isinstance(begun, RunStarted)
    desk = Desk(tmp_path, bob, replace(teller.fleet, approval=Approval((bob.approver,))), teller)
    fingerprint_key(folder_for(desk.fleet.name, desk.state))
    desk.append(replace(begun, approvers=1), *rest)
    return desk


@pytest.fixture
def signed(desk: Desk) -> Desk:
    desk.propose()
    desk.bob.sign(desk.file, FOR)
    return desk


def test_until_it_is_approved_it_says_so_with_the_command(desk: Desk) -> None:
    assert approval_words(desk.run) == "not approved yet"
    command = f"plan --fleet {desk.fleet.name} --propose statement.json --run {desk.run.id}"
    assert approval_lines(desk.run, desk.fleet)[0].endswith(command)
    assert approval_document(desk.run) == {"needed": 1, "lacking": True, "plan": None, "by": []}


def test_the_statement_says_what_was_done_and_holds_no_token(desk: Desk) -> None:
    desk.propose()
    said = json.loads(desk.file.read_text())
    assert (said["run"], said["task"], said["reason"], said["exit_code"]) == (desk.run.id, REVOKE, desk.run.reason, 0)
    assert said["hosts"] == {name: host.state.value for name, host in desk.run.hosts.items()}
    assert len(said["token"]) == 6, "fp6 alone"


def test_when_bob_has_signed_it_is_owed_no_more_and_the_run_is_as_it_was(signed: Desk) -> None:
    before = signed.run
    signed.approve()
    after = signed.run
    assert approval_words(after) == "approved afterwards by bob@example"
    assert not after.lacks_approval
    assert replace(after, approvals=()) == before, "neither its time nor its result is another"


def test_anybody_can_check_what_bob_signed_without_hivekeys(signed: Desk, tmp_path: Path) -> None:
    signed.approve()
    files = signed_files(signed.run)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert files["statement.json"] == signed.file.read_bytes()
    command = next(line for line in how_to_check(signed.run).splitlines() if "-Y verify" in line)
    words = command.replace("PERSON", "bob@example")
    good = subprocess.run(["sh", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30)
    assert f'Good "{FOR}" signature for bob@example' in good.stdout
    (tmp_path / "statement.json").write_bytes(files["statement.json"].replace(b"ticket", b"Ticket"))
    assert subprocess.run(["sh", "-c", words], cwd=tmp_path, capture_output=True, check=False, timeout=30).returncode


def test_it_is_approved_once(signed: Desk) -> None:
    signed.approve()
    signed.refuse(f"run {signed.run.id} is not to be approved: approved afterwards by bob@example")
    with pytest.raises(UserError, match="is not to be approved"):
        signed.propose()


def test_a_run_that_went_on_after_it_was_stated_can_still_be_approved(signed: Desk) -> None:
    """He approves what he has read; the statement names the last event that it knows."""
    before = len(signed.teller.events)
    signed.teller.cut(60.0)
    signed.append(*signed.teller.events[before:])
    signed.approve()
    assert signed.run.approved_by == ("bob@example",)


def test_one_without_a_signature_is_refused(desk: Desk) -> None:
    desk.propose()
    desk.refuse("statement.json.sig: is not signed", hint=f"ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n {FOR}")


def test_a_signature_of_plans_approves_no_run(desk: Desk) -> None:
    desk.propose()
    desk.bob.sign(desk.file, "hivekeys-plan@v1")
    desk.refuse("bob@example signed it for another purpose (hivekeys-plan@v1)")


def test_one_that_was_changed_after_he_signed_is_refused(signed: Desk) -> None:
    signed.change(lambda document: document.update(reason="an exercise"))
    signed.refuse("the signature of bob@example is not valid")


@pytest.mark.parametrize("key", ["reason", "exit_code", "hosts", "last_hash", "operator", "token", "more", "events"])
def test_one_that_the_journal_does_not_bear_out_is_refused_though_he_signed_it(desk: Desk, key: str) -> None:
    desk.propose()
    desk.change(lambda document: document.update({key: 2 if key == "events" else "something"}))
    desk.bob.sign(desk.file, FOR)
    desk.refuse("is not what the journal has of run", hint=STATE_ANEW)


def test_one_of_another_fleet_or_of_a_later_form_is_refused(signed: Desk) -> None:
    signed.change(lambda document: document.update(fleet="other"))
    signed.refuse("is of fleet other, not of")
    signed.change(lambda document: document.update(version=2))
    signed.refuse("written by a newer hivekeys (version 2, this one knows 1)")
    signed.change(lambda document: document.update(form="hivekeys-plan"))
    signed.refuse("this is no hivekeys-statement")


def test_who_revoked_does_not_approve_it(desk: Desk, tmp_path: Path) -> None:
    account = desk.run.who.partition("@")[0]
    same = person(tmp_path, f"{account}@example")
    own = replace(desk, fleet=replace(desk.fleet, approval=Approval((same.approver,))), bob=same)
    own.propose()
    same.sign(own.file, FOR)
    own.refuse(f"signed by {account}@example alone, who proposed it")


def test_a_run_of_a_time_when_nobody_was_asked_is_not_to_be_approved(desk: Desk) -> None:
    with contextlib.closing(Journal(folder_for(desk.fleet.name, desk.state))) as journal:
        journal.append("paper-2", *Teller(fleet_of(2), "paper-2", REVOKE).whole())
    with pytest.raises(UserError, match="run paper-2 is not to be approved: changed nothing, or the fleet"):
        desk.propose()
    assert fold(desk.teller.events).approvers == 0
    assert approval_document(fold(desk.teller.events)) is None
