"""`fab report` and `fab evidence` as an operator types them, over a journal; and the check on another machine."""

import contextlib
import json
import shutil
import sqlite3
from typing import Any

import pytest

from hivekeys.audit.census_report import document
from hivekeys.fleet import Fleet
from hivekeys.journal.state_folder import folder_for
from hivekeys.journal.store import Journal
from tests.builders.census import census, group
from tests.builders.fab import Answer, Fab
from tests.builders.findings import FINDINGS
from tests.builders.recorded import NEW, OLD, Teller, fleet_of

RUN, REVOKED = "paper-1a2b3c4d", "paper-5e6f7a8b"


@pytest.fixture(scope="module")
def fab(tmp_path_factory: pytest.TempPathFactory) -> Fab:
    """An operator with a rotation and, after it, a revocation in the journal."""
    folder = tmp_path_factory.mktemp("bastion")
    typed = Fab(folder)
    journal = Journal(folder_for("paper", str(folder / "state")))
    rotated, revoked = Teller(fleet_of(3), RUN), Teller(fleet_of(3), REVOKED, away=3600.0)
    for run, events in ((RUN, rotated.whole()), (REVOKED, revoked.revoke())):
        for event in events:
            journal.append(run, event)
    journal.close()
    return typed


def test_the_newest_run_is_told_as_a_table(fab: Fab) -> None:
    answer = fab("report")
    assert answer.code == 0
    assert "hive3" in answer.out
    assert "revoked: every host refuses the old token" in answer.out


def test_a_run_that_is_named_is_told_as_json(fab: Fab) -> None:
    answer = fab("report", "--run", RUN, "--json")
    assert json.loads(answer.out)["exit_code"] == 0
    assert [host["host"] for host in json.loads(answer.out)["hosts"]] == ["queen", "hive1", "hive2", "hive3"]


@pytest.mark.parametrize(("shape", "begins"), [("html", "<!doctype html>"), ("markdown", "# Revoked: every host")])
def test_a_page_goes_into_a_file(fab: Fab, shape: str, begins: str) -> None:
    answer = fab("report", "--format", shape, "--output", "page")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    text = (fab.folder / "page").read_text()
    assert begins in text
    assert OLD.keyed not in text
    assert NEW.keyed not in text
    assert [path.name for path in fab.folder.iterdir() if path.name.startswith(".page")] == []


def test_a_link_where_the_page_should_go_is_not_followed(fab: Fab) -> None:
    (fab.folder / "mine").write_text("mine")
    (fab.folder / "link").symlink_to("mine")
    answer = fab("report", "--format", "html", "--output", "link")
    assert answer.code == 2
    assert "no plain file" in answer.err
    assert (fab.folder / "mine").read_text() == "mine"


def test_findings_and_the_audits_figures_go_into_the_page(fab: Fab) -> None:
    (fab.folder / "verify.json").write_text(json.dumps(FINDINGS))
    (fab.folder / "audit.json").write_text(
        json.dumps(document(census(group()), Fleet("paper", ())) | {"fleet": "paper"})
    )
    answer = fab("report", "--format", "markdown", "--findings", "verify.json", "--audit", "audit.json")
    assert answer.code == 0, answer
    assert "| fail | file-mode | hive1, hive2 |" in answer.out
    assert "- [x] Review audit logs for unauthorized access – 0 calls let in and 5 refused" in answer.out


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("findings", "no json", "--findings: this is not JSON"),
        ("audit", json.dumps(FINDINGS), "--audit: expected an object with the lists rows"),
        ("findings", json.dumps(FINDINGS | {"fleet": "green"}), "this is of fleet green, not of paper"),
    ],
)
def test_a_file_that_is_something_else_is_refused(fab: Fab, option: str, content: str, said: str) -> None:
    (fab.folder / "given").write_text(content)
    answer = fab("report", f"--{option}", "given")
    assert answer.code == 2
    assert said in answer.err


@pytest.fixture(scope="module")
def archive(fab: Fab) -> bytes:
    """The newest run's."""
    answer = fab("evidence", "--output", "e.tar")
    assert answer.code == 0
    assert answer.out.startswith(f"e.tar: run {REVOKED}, ")
    return (fab.folder / "e.tar").read_bytes()


@pytest.fixture(scope="module")
def elsewhere(fab: Fab, tmp_path_factory: pytest.TempPathFactory) -> Fab:
    """Another machine: hivekeys, and neither an inventory nor a state folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    typed = Fab(folder)
    shutil.rmtree(folder / "inventory")
    assert fab("evidence", "--public-key", "--output", "evidence.pub").code == 0
    shutil.copy(fab.folder / "evidence.pub", folder)
    return typed


def checked(elsewhere: Fab, content: bytes, *more: str) -> Answer:
    (elsewhere.folder / "e.tar").write_bytes(content)
    return elsewhere("evidence", "--check", "e.tar", "--key", "evidence.pub", *more)


def test_evidence_is_checked_on_another_machine(elsewhere: Fab, archive: bytes) -> None:
    answer = checked(elsewhere, archive)
    assert answer.code == 0
    assert answer.out.startswith(f"e.tar: valid: evidence of run {REVOKED}, 6 members, ")
    assert not (elsewhere.folder / "state").exists(), "it leaves nothing behind"


def test_evidence_that_was_changed_says_what_does_not_match_and_ends_with_6(elsewhere: Fab, archive: bytes) -> None:
    changed = archive.replace(b"public gist", b"public lisp")
    answer = checked(elsewhere, changed)
    assert answer.code == 6
    lines = answer.out.splitlines()
    assert "e.tar: events.ndjson: the chain is broken at event 1" in lines
    assert "e.tar: evidence.json was changed: its digest does not match" in lines
    assert lines[-1] == "NOT VALID: do not rely on it"
    found = json.loads(checked(elsewhere, changed, "--json").out)
    assert not found["valid"]
    assert len(found["faults"]) == len(lines) - 1


@pytest.mark.parametrize("content", [b"", b"PK\3\4" + bytes(2000)])
def test_what_is_no_archive_is_one_clear_message(elsewhere: Fab, content: bytes) -> None:
    answer = checked(elsewhere, content)
    assert (answer.code, answer.err) == (6, "")
    assert answer.out.startswith("e.tar: this is no evidence archive")
    assert len(answer.out.splitlines()) == 2


def test_a_huge_file_is_refused_without_being_read(elsewhere: Fab) -> None:
    with (elsewhere.folder / "huge").open("wb") as file:
        file.truncate(300 << 20)  # no byte of it is on the disk
    answer = elsewhere("evidence", "--check", "huge", "--key", "evidence.pub")
    assert answer.code == 2
    assert "found more than 256 MiB" in answer.err


def test_the_same_run_gives_the_same_archive(fab: Fab, archive: bytes) -> None:
    assert fab("evidence", "--run", REVOKED, "--output", "again.tar").code == 0
    assert (fab.folder / "again.tar").read_bytes() == archive


def test_a_run_that_is_named_is_written_out_with_what_was_given(fab: Fab) -> None:
    (fab.folder / "verify.json").write_text(json.dumps(FINDINGS))
    answer = fab("evidence", "--run", RUN, "--output", "other.tar", "--findings", "verify.json", "--json")
    said: dict[str, Any] = json.loads(answer.out)
    assert said["run"] == RUN
    assert said["members"][-1] == "findings.json"


def test_the_private_key_stays_at_home(fab: Fab, elsewhere: Fab, archive: bytes) -> None:
    secret = (fab.folder / "state" / "paper" / "evidence.key").read_bytes().splitlines()[1]
    public = (elsewhere.folder / "evidence.pub").read_bytes()
    assert public.startswith(b"-----BEGIN PUBLIC KEY-----")
    assert secret not in archive + public


def test_a_journal_that_was_changed_makes_no_evidence(fab: Fab) -> None:
    with contextlib.closing(sqlite3.connect(fab.folder / "state" / "paper" / "journal.db")) as base, base:
        base.execute("UPDATE events SET facts = replace(facts, 'ann', 'eve') WHERE number = 1 AND run = ?", (RUN,))
    answer = fab("evidence", "--run", RUN, "--output", "never.tar")
    assert answer.code == 2
    assert "not whole at number 1" in answer.err
    assert not (fab.folder / "never.tar").exists()
