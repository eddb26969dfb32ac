"""A plan that bob has to sign: what is refused by its file, its signature, the fleet as it is now, and the clock."""

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hivekeys import token
from hivekeys.bastion.approval import approved_plan, goal_of, proposed_plan, scope_of
from hivekeys.errors import ExitCode, UserError
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Approved
from hivekeys.journal.state_folder import folder_for
from hivekeys.journal.store import Journal
from hivekeys.rotation.proposal import NEW_TOKEN, ApprovedPlan, Goal, backup_of
from tests.builders.fab import NEARBY
from tests.builders.loading import load
from tests.builders.persons import Person, person


@dataclass(frozen=True)
class Desk:
    """An operator at the bastion of a fleet whose plans bob approves."""

    folder: Path
    bob: Person

    @property
    def inventory(self) -> Path:
        return self.folder / "paper.toml"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def signature(self) -> Path:
        return self.folder / "plan.json.sig"

    def propose(self, goal: Goal = NEW_TOKEN, reason: str = "quarterly") -> None:
        """A plan that bob has not signed yet."""
        fleet = load(self.inventory)
        scope = scope_of(fleet, fleet.hosts, (), str(self.folder / "state"))
        self.plan.write_bytes(proposed_plan(scope, goal, reason))

    def rotate(self, without: str = "", state: str = "state", **given: Any) -> ApprovedPlan:
        """The plan as a rotation takes it, of all hosts but one that is named."""
        fleet = load(self.inventory)
        hosts = [host for host in fleet.hosts if host.name != without]
        state = str(self.folder / state)
        return approved_plan(scope_of(fleet, hosts, (), state, **given), str(self.plan), state)

    def rewrite(self, old: str, new: str) -> None:
        """The inventory with something else in the place of a text."""
        text = self.inventory.read_text()
        assert old in text
        self.inventory.write_text(text.replace(old, new))

    def change(self, **changed: object) -> None:
        """What somebody makes of the plan who has no key."""
        document: Mapping[str, object] = json.loads(self.plan.read_text())
        self.plan.write_text(json.dumps({**document, **changed}, indent=2) + "\n")

    def refuse(self, *says: str, hint: str = "", **given: Any) -> None:
        with pytest.raises(UserError) as error:
            self.rotate(**given)
        assert all(words in error.value.message for words in says), error.value.message
        assert "\n" not in error.value.message and hint in error.value.hint
        assert error.value.code is ExitCode.USAGE


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return person(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def desk(tmp_path: Path, bob: Person) -> Desk:
    desk = Desk(tmp_path, bob)
    desk.inventory.write_text(f'{NEARBY.format(port=22)}[approval]\nkeys = ["{bob.public}"]\n')
    return desk


@pytest.fixture
def signed(desk: Desk) -> Desk:
    desk.propose()
    desk.bob.sign(desk.plan)
    return desk


def test_a_plan_that_bob_has_signed_is_taken_with_what_he_signed(signed: Desk) -> None:
    plan = signed.rotate()
    assert plan.goal == NEW_TOKEN and plan.proposed.reason == "quarterly"
    assert plan.data == signed.plan.read_bytes()
    assert [one.person for one in plan.signatures] == ["bob@example"]
    assert "\n".join((*plan.signatures[0].lines, "")) == signed.signature.read_text()


def test_the_journal_gives_back_what_was_signed_to_the_byte(desk: Desk) -> None:
    """Whatever a reason is written in, and however many hosts there are: of texts the journal has it cuts long ones."""
    desk.rewrite("hive[1:2]", "hive[1:2000]")
    desk.rewrite("127.0.0.[2:3]", "hive[1:2000].example")
    desk.propose(reason='"Größe"\t→ 鍵 \\ \u202e ' + "x" * 9_000)
    desk.bob.sign(desk.plan)
    event = desk.rotate().event(Moment(1.0, 2.0))
    with contextlib.closing(Journal(folder_for("paper", str(desk.folder / "state")))) as journal:
        journal.append("paper-1", event)
        (read,) = journal.events("paper-1")
    assert isinstance(read, Approved)
    assert "\n".join((*read.lines, "")).encode() == desk.plan.read_bytes()
    assert "\n".join((*read.signatures[0].lines, "")) == desk.signature.read_text()


def test_another_host_fewer_is_another_plan(signed: Desk) -> None:
    signed.refuse("plan.json: the hosts are not those that were approved: hive2", without="hive2", hint="propose it")


def test_hosts_that_may_be_missing_and_tokens_that_go_anyway_are_part_of_it(signed: Desk) -> None:
    signed.refuse("--allow-missing is not what was approved", missing=("hive1",))
    signed.refuse("--retire-anyway is not what was approved", retire_anyway=True)


def test_another_pace_is_another_plan(signed: Desk) -> None:
    signed.inventory.write_text(signed.inventory.read_text() + "[rollout]\nbatch = 1\ncanary = 0\n")
    signed.refuse("the policy is not the one that was approved: batch, canary")


def test_a_given_token_is_approved_by_its_fingerprint_and_no_other_may_come(desk: Desk) -> None:
    one, two = token.generate(), token.generate()
    fleet = load(desk.inventory)
    goals = [goal_of(fleet, given, str(desk.folder / "state")) for given in (one, two, None)]
    desk.propose(goals[0])
    desk.bob.sign(desk.plan)
    assert one.reveal() not in desk.plan.read_text()
    plan = desk.rotate()
    plan.refuse_other_goal(goals[0])
    for goal, words in (
        (goals[1], "a given token"),
        (goals[2], "a new token"),
        (backup_of(b"", "abcdef"), "of a backup"),
    ):
        with pytest.raises(UserError, match=f"approved is a given token .token:{goals[0]['fp6']}., not .*{words}"):
            plan.refuse_other_goal(goal)


# -- an attacker on the bastion, who has not bob's key


def test_a_plan_that_nobody_signed_is_refused_and_says_how_it_is_signed(desk: Desk) -> None:
    desk.propose()
    sign = "ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n hivekeys-plan@v1 "
    desk.refuse("plan.json.sig: is not signed", hint=sign)


def test_a_plan_that_is_not_there_is_refused(desk: Desk) -> None:
    desk.refuse("plan.json: there is no such file", hint="plan --fleet paper --propose FILE")


def test_the_signature_of_anybody_else_is_refused_whatever_name_is_with_it(desk: Desk, tmp_path: Path) -> None:
    desk.propose()
    person(tmp_path, "bob@example").sign(desk.plan)
    desk.refuse("plan.json.sig: signed with a key that is none of [approval]: SHA256:")


def test_what_bob_signed_as_a_file_is_no_approval(desk: Desk) -> None:
    desk.propose()
    desk.bob.sign(desk.plan, "file")
    desk.refuse("bob@example signed it for another purpose (file)", hint="sign with -n hivekeys-plan@v1")


@pytest.mark.parametrize("key", ["reason", "expires_at", "proposed_by", "allow_missing", "hosts", "goal", "more"])
def test_a_plan_that_was_changed_after_he_signed_is_refused(signed: Desk, key: str) -> None:
    signed.change(**{key: "2099-01-01T00:00:00Z"})
    signed.refuse("the signature of bob@example is not valid: what was signed, or the signature, was changed")


@pytest.mark.parametrize("key", ["allow_missing", "hosts", "goal", "persons_needed", "more", "left_out", "policy"])
def test_a_plan_of_something_else_is_refused_though_he_signed_it(desk: Desk, key: str) -> None:
    desk.propose()
    desk.change(**{key: "something"})
    desk.bob.sign(desk.plan)
    desk.refuse("plan.json: ")


def test_his_signature_of_another_plan_is_refused(signed: Desk) -> None:
    signed.propose()
    signed.refuse("is not valid")


def test_a_host_at_another_address_is_refused(signed: Desk) -> None:
    signed.rewrite("127.0.0.[2:3]", "127.0.0.[3:4]")
    signed.refuse("the hosts are not those that were approved: hive1, hive2")


def test_any_other_change_of_the_inventory_is_refused(signed: Desk) -> None:
    signed.inventory.write_text(signed.inventory.read_text() + '[services.hive]\nprotected = "/open"\n')
    signed.refuse("the inventory was changed after it was proposed")


def test_a_signature_by_a_key_that_he_adds_himself_is_refused(signed: Desk, tmp_path: Path) -> None:
    """The plan is of the inventory with bob's key; with another one it is another inventory."""
    eve = person(tmp_path, "eve@example")
    signed.rewrite(signed.bob.public, eve.public)
    signed.refuse("a key that is none of [approval]")
    signed.signature.unlink()
    eve.sign(signed.plan)
    signed.refuse("the inventory was changed after it was proposed")


def test_another_fleets_plan_is_refused(signed: Desk) -> None:
    signed.rewrite('fleet = "paper"', 'fleet = "other"')
    signed.refuse("is a plan of fleet paper, not of other")


def test_a_plan_from_another_bastion_is_refused(signed: Desk) -> None:
    signed.refuse("was proposed on another bastion, or with another state folder", state="elsewhere")


def dated(desk: Desk, days: int) -> None:
    """The plan as if it had been proposed so many days from now, and signed by bob."""
    at = datetime.now(UTC) + timedelta(days=days)
    times = {"proposed_at": at, "expires_at": at + timedelta(days=7)}
    desk.propose()
    desk.change(**{key: f"{time:%Y-%m-%dT%H:%M:%SZ}" for key, time in times.items()})
    desk.bob.sign(desk.plan)


def test_a_plan_of_last_month_has_expired(desk: Desk) -> None:
    dated(desk, -8)
    desk.refuse("plan.json: expired at 20", hint="propose it anew")


def test_a_plan_of_next_month_is_refused(desk: Desk) -> None:
    dated(desk, 30)
    desk.refuse("which is in the future", hint="compare the clocks")


def test_a_plan_that_is_valid_longer_than_the_inventory_allows_is_refused(desk: Desk) -> None:
    desk.propose()
    desk.change(expires_at="2099-01-01T00:00:00Z")
    desk.bob.sign(desk.plan)
    desk.refuse("expires_at is not what was approved")


def test_a_plan_of_a_later_form_is_refused_before_anything_else(signed: Desk) -> None:
    signed.change(version=2)
    signed.refuse("plan.json: written by a newer hivekeys (version 2, this one knows 1)")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"form": "hivekeys-plan"}', "[" * 100_000, "\0", '{"form": 1}'])
def test_what_is_no_plan_is_refused(signed: Desk, content: str) -> None:
    signed.plan.write_text(content)
    signed.refuse("plan.json: ")


@pytest.mark.parametrize("text", ['"goal":  {', '"goal": "none",\n  "goal": {'])
def test_a_plan_that_hivekeys_has_not_written_is_refused(desk: Desk, text: str) -> None:
    """In other spaces, or with a key that stands twice: who reads it may take it for something else."""
    desk.propose()
    desk.plan.write_text(desk.plan.read_text().replace('"goal": {', text))
    desk.bob.sign(desk.plan)
    desk.refuse("is not as hivekeys wrote it")


@pytest.mark.parametrize("name", ["plan.json", "plan.json.sig"])
def test_a_link_is_refused(signed: Desk, name: str) -> None:
    file = signed.folder / name
    file.rename(signed.folder / "elsewhere")
    file.symlink_to("elsewhere")
    signed.refuse(f"{name}: this is a link, not the file itself")


@pytest.mark.parametrize(("name", "limit"), [("plan.json", 16 << 20), ("plan.json.sig", 256 << 10)])
def test_a_file_that_is_too_large_is_refused(signed: Desk, name: str, limit: int) -> None:
    os.truncate(signed.folder / name, limit + 1)
    signed.refuse(f"{name}: found more than {limit >> 10} KiB")


def test_what_is_no_file_is_refused_and_not_waited_for(signed: Desk) -> None:
    signed.plan.unlink()
    os.mkfifo(signed.plan)
    signed.refuse("plan.json: this is no file")
    signed.plan.unlink()
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(signed.folder):
        listening.bind("plan.json")
        signed.refuse("plan.json: ")


# -- who signs


def test_where_two_must_sign_one_is_not_enough_however_often(desk: Desk, tmp_path: Path) -> None:
    carol = person(tmp_path, "carol@example")
    desk.rewrite(f'keys = ["{desk.bob.public}"]', f'keys = ["{desk.bob.public}", "{carol.public}"]\nneeded = 2')
    desk.propose()
    desk.bob.sign(desk.plan)
    desk.refuse("signed by 1 person (bob@example), and 2 must", hint="plan.json.sig")
    desk.bob.sign(desk.plan)
    desk.refuse("signed by 1 person (bob@example), and 2 must")
    carol.sign(desk.plan)
    assert [one.person for one in desk.rotate().signatures] == ["bob@example", "bob@example", "carol@example"]


def test_who_proposed_it_does_not_approve_it(desk: Desk) -> None:
    desk.propose()
    desk.change(proposed_by="Bob@bastion")
    desk.bob.sign(desk.plan)
    desk.refuse("signed by bob@example alone, who proposed it (Bob@bastion)", hint="another person has to sign it")
