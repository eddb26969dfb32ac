"""A fleet that two persons turn, as it is typed: nobody turns it alone, and a plan that was signed is for one run."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest

from hivekeys.age import Recipients
from hivekeys.backups import folder as backups
from hivekeys.journal.events import Approved, RunStarted
from hivekeys.journal.state_folder import fingerprint_key, signing_key
from hivekeys.journal.store import Journal
from hivekeys.token import generate
from tests.builders.fab import Answer, Fab, refusing, state_of
from tests.builders.persons import Person, person
from tests.builders.recorded import Teller, fleet_of


@pytest.fixture(scope="module")
def bob(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return person(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def fab(tmp_path: Path, bob: Person) -> Iterator[Fab]:
    """A fleet whose plans bob approves, and whose hosts refuse every connection."""
    with refusing(tmp_path) as fab:
        file = fab.folder / "inventory" / "paper.toml"
        file.write_text(f'{file.read_text()}[approval]\nkeys = ["{bob.public}"]\n')
        yield fab


def refused(answer: Answer, *says: str) -> None:
    assert answer.code == 2, answer.err
    assert answer.out == "" and answer.err.count("hivekeys: ") == 1 and "\n  hint: " in answer.err
    assert all(words in answer.err for words in says), answer.err


def test_nobody_turns_the_fleet_alone_and_no_host_is_contacted(fab: Fab) -> None:
    refused(fab("rotate", "--yes"), "only with an approved plan", "fab plan --fleet paper --propose FILE")
    assert not Journal.is_in(state_of(fab))


def test_a_rotation_by_the_clock_that_is_due_is_refused_as_well(fab: Fab) -> None:
    """Hosts that do not answer are a reason to rotate; nothing but a look comes before the refusal."""
    refused(fab("rotate", "--yes", "--if-older-than", "90d"), "only with an approved plan")


def test_a_dry_run_and_a_revocation_need_nobody(fab: Fab) -> None:
    assert fab("rotate", "--dry-run").code == 4, "the hosts do not answer"
    answer = fab("revoke", "--yes", "--reason", "leaked")
    assert answer.code == 4 and "approved plan" not in answer.err


def test_a_fleet_that_asks_for_no_approval_takes_no_plan(fab: Fab) -> None:
    file = fab.folder / "inventory" / "paper.toml"
    file.write_text(file.read_text().partition("[approval]")[0])
    refused(fab("rotate", "--yes", "--approved", "plan.json"), "--approved plan.json: fleet paper asks for no approval")
    refused(fab("plan", "--propose", "plan.json"), "fleet paper asks for no approval")


def test_what_is_proposed_needs_a_file_to_go_to(fab: Fab) -> None:
    refused(fab("plan", "--allow-missing", "hive1"), "--allow-missing says what is proposed", "--propose FILE")


def test_a_plan_is_typed_as_it_says_and_a_run_that_changed_nothing_has_not_used_it_up(fab: Fab, bob: Person) -> None:
    some = ("--exclude", "hive2", "--allow-missing", "hive1", "--retire-anyway")
    proposed = fab("plan", "--propose", "plan.json", "--reason", "quarterly", *some)
    assert proposed.code == 4, "hosts that do not answer are no reason not to propose"
    *_, sign, then = proposed.out.splitlines()
    assert sign == "another person signs it: ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n hivekeys-plan@v1 plan.json"
    command = then.removeprefix("then, with plan.json.sig beside it: fab ")
    assert command == f"rotate --fleet paper {' '.join(some)} --approved plan.json"

    plan = fab.folder / "plan.json"
    bob.sign(plan)
    before = plan.read_bytes()
    refused(fab("plan", "--propose", "plan.json"), "plan.json.sig: there is a signature already")
    assert plan.read_bytes() == before
    assert [fab(*command.split(), "--yes").code for _ in range(2)] == [3, 3]
    with contextlib.closing(Journal(state_of(fab))) as journal:
        begun, approved, *_ = journal.events(journal.runs()[0])
    assert isinstance(begun, RunStarted) and isinstance(approved, Approved)
    assert (begun.plan, begun.reason) == (json.loads(before)["id"], "quarterly")
    assert (approved.plan, approved.persons) == (begun.plan, ("bob@example",))
    assert "\n".join((*approved.lines, "")).encode() == before


def test_a_backup_is_restored_with_an_approved_plan_of_just_that_file(fab: Fab, bob: Person) -> None:
    """A restore brings a token that one person chose: it would be a way round a rotation's approval."""
    secret, state = pyrage.x25519.Identity.generate(), state_of(fab)
    (fab.folder / "key").write_text(f"{secret}\n")
    key, signer = fingerprint_key(state), signing_key(state)
    for name in ("one", "two"):
        order = backups.Order(Recipients((secret.to_public(),)), str(fab.folder / name))
        backups.put(generate(), key, "paper", "", 0.0, order=order, state=state, signer=signer)
    restore = ("--fleet", "paper", "--identity", "key", "--yes")
    refused(fab("restore", "one", *restore), "only with an approved plan", "fab restore --fleet paper --approved FILE")

    proposed = fab("plan", "--propose", "plan.json", "--backup", "one")
    assert proposed.out.splitlines()[-1].endswith("fab restore --fleet paper --approved plan.json one")
    bob.sign(fab.folder / "plan.json")
    approved = (*restore, "--approved", "plan.json")
    refused(fab("restore", "two", *approved), "approved is the token of a backup", "not the token of a backup")
    refused(fab("rotate", "--yes", "--approved", "plan.json"), "approved is the token of a backup", "not a new token")
    assert fab("restore", "one", *approved).code == 3, "the hosts do not answer"


def test_a_revocation_is_approved_afterwards_and_is_named_until_then(fab: Fab, bob: Person) -> None:
    with contextlib.closing(Journal(state_of(fab))) as journal:
        begun, *rest = Teller(fleet_of(3), "paper-1", "revoke").whole()
        assert isinstance(begun, RunStarted)
        fingerprint_key(state_of(fab))
        journal.append("paper-1", replace(begun, approvers=1), *rest)
    words = "plan --fleet paper --propose statement.json --run paper-1"
    assert f"not approved yet: fab {words}" in fab("status", "--run", "last").out
    assert "0 done, not approved yet" in fab("history").out

    stated = json.loads(fab(*words.split(), "--json").out)
    assert (stated["form"], stated["run"], stated["output"]) == ("stated", "paper-1", "statement.json")
    answer = fab(*words.split())
    *_, sign, then = answer.out.splitlines()
    assert answer.code == 0 and sign.endswith("-n hivekeys-statement@v1 statement.json")
    bob.sign(fab.folder / "statement.json", "hivekeys-statement@v1")
    command = then.removeprefix("then, with statement.json.sig beside it: fab ").split()
    assert command == ["approve", "--fleet", "paper", "statement.json"]
    assert fab(*command, "--dry-run").out == "run paper-1: would be noted as approved by bob@example\n"
    noted = json.loads(fab(*command, "--json").out)
    assert (noted["run"], noted["approved_by"], noted["dry_run"]) == ("paper-1", ["bob@example"], False)
    refused(fab(*command), "run paper-1 is not to be approved: approved afterwards by bob@example")
    (run,) = json.loads(fab("history", "--json").out)["runs"]
    assert (run["approval"]["lacking"], [one["person"] for one in run["approval"]["by"]]) == (False, ["bob@example"])
    assert "approved afterwards by bob@example" in fab("status", "--run", "last").out
