"""Programs get one document of `--json` whatever happens, with the exit code, and what to type."""

import json
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from docs.forms import FORMS, FORMS_OF, name_of, schema_of, texts
from docs.generate import options, tasks
from hivekeys import report
from hivekeys.errors import ExitCode, UserError
from hivekeys.journal.state_folder import hold_lock
from hivekeys.rotation.drive import Drive
from hivekeys.tasks.options.output import JsonOption
from hivekeys.tasks.options.verb import verb
from hivekeys.tasks.terminal import document
from hivekeys.text.commands import first_command
from tests.builders.documents import promised, valid
from tests.builders.fab import INVENTORY, Fab, refusing, state_of
from tests.builders.operator import Operator
from tests.inprocess import InProcessFleet


@pytest.fixture
def fab(tmp_path: Path) -> Fab:
    return Fab(tmp_path)


def refusal(out: str) -> dict[str, Any]:
    read = valid(json.loads(out))
    assert read["form"] == "refusal"
    return read


# -- forms


def test_every_verb_with_json_says_which_forms_it_prints() -> None:
    verbs = {name for name, task in tasks().items() if "--json" in dict(options(task))}
    assert FORMS_OF.keys() == verbs


def test_every_form_is_printed_by_a_verb_and_has_a_schema_that_is_one() -> None:
    names = {name_of(form) for form in FORMS}
    assert names == {"refusal", *(name for forms in FORMS_OF.values() for name in forms)}
    for form in FORMS:
        schema = schema_of(form)
        assert schema["additionalProperties"] is False
        promised(name_of(form)).check_schema(schema)


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
def test_pages_and_schemas_are_what_the_types_say_today(path: Path) -> None:
    assert path.read_text() == texts()[path], "stale: run `.venv/bin/python -m docs.generate`"


def test_every_form_begins_alike() -> None:
    for form in FORMS:
        required = schema_of(form)["required"]
        assert {"form", "version", "hivekeys", "verdict", "exit_code", "next", "command"} <= set(required)


# -- looks


def test_a_plan_says_whether_a_run_can_begin_and_what_the_first_host_needs(tmp_path: Path) -> None:
    with refusing(tmp_path) as away:
        answer = away("plan", "--json", "--fleet", "paper")
    document = valid(json.loads(answer.out))
    assert (answer.code, document["exit_code"], document["dry_run"]) == (4, 4, True)
    assert document["verdict"] == "not ready: 3 of 3 hosts; nothing was changed"
    assert document["next"] == document["hosts"][0]["cause"]["hint"]


def test_a_look_at_hosts_that_are_fine_calls_no_run_incomplete(tmp_path: Path) -> None:
    fleet = InProcessFleet(tmp_path)
    operator = Operator(fleet)
    assert Drive(operator.runner).look()
    code = operator.runner.end(ExitCode.DONE)
    document = valid(report.looked_document(operator.runner.run, fleet.inventory, code))
    assert (document["verdict"], document["next"]) == ("ready: 4 hosts; nothing was changed", None)


# -- refusals


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("status", "--fleet", "nowhere", "--json"), "--fleet nowhere: there is no such fleet"),
        (("status", "--json", "--limt", "hive1"), "status: there is no option --limt"),
        (("verify", "--format", "json", "--limt", "hive1"), "verify: there is no option --limt"),
        (("stauts", "--json"), "there is no task stauts"),
        (("plan", "--json", "--limit", "hive9"), "--limit: 'hive9' matches no host"),
        (("rotate", "--json"), "there is no terminal to ask for confirmation on"),
        (("revoke", "--json", "--yes"), "a revocation needs its reason"),
        (("resume", "--json"), "there was no run over fleet paper"),
        (("report", "--format", "json"), "there was no run over fleet paper"),
        (("evidence", "--json"), "where to? --output is missing"),
        (("restore", "gone", "--json", "--yes"), "gone"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_refusal_is_a_document_with_the_words_of_stderr(fab: Fab, words: tuple[str, ...], message: str) -> None:
    answer = fab(*words)
    document = refusal(answer.out)
    assert (answer.code, document["exit_code"]) == (2, 2)
    assert document["message"].startswith(message)
    assert answer.err.startswith(f"hivekeys: {document['message']}")
    assert document["hint"] is None or f"hint: {document['hint']}" in answer.err


def test_the_command_of_a_refusal_names_the_fleet_that_was_named(fab: Fab) -> None:
    document = refusal(fab("rotate", "--fleet", "paper", "--json").out)
    assert document["command"] == document["next"] == "fab plan --fleet paper"


def test_every_mistake_of_an_inventory_is_an_entry_of_its_own(fab: Fab) -> None:
    path = fab.folder / "inventory" / "paper.toml"
    path.write_text(path.read_text().replace('role = "queen"', 'role = "king"') + '\n[rollout]\nbach = "1"\n')
    answer = fab("inventory.check", "--json")
    document = refusal(answer.out)
    assert {mistake["key"] for mistake in document["mistakes"]} == {"hosts.queen.role", "rollout.bach"}
    assert all(mistake["file"].endswith("paper.toml") for mistake in document["mistakes"])
    for mistake in document["mistakes"]:
        assert f"{mistake['key']}: {mistake['message']}" in answer.err


def test_a_mistake_in_another_file_has_its_line(fab: Fab) -> None:
    (fab.folder / "inventory" / "hives.conf").write_text("hive1 10.0.0.1\n")
    path = fab.folder / "inventory" / "paper.toml"
    path.write_text(INVENTORY.partition('[hosts."hive')[0] + '[llama_orch]\nhives = "hives.conf"\n')
    (mistake,) = refusal(fab("inventory.check", "--json").out)["mistakes"]
    assert mistake["file"].endswith("hives.conf")
    assert mistake["line"] == 1


def test_who_holds_the_lock_is_in_the_document(fab: Fab) -> None:
    with hold_lock(state_of(fab), "paper", "paper-1", "the yearly one"):
        answer = fab("rotate", "--yes", "--json")
    assert answer.code == 5
    assert "paper-1" in refusal(answer.out)["message"]


def test_with_events_the_refusal_is_the_last_line(fab: Fab) -> None:
    with hold_lock(state_of(fab), "paper", "paper-1", "the yearly one"):
        answer = fab("rotate", "--yes", "--events")
    (line,) = map(json.loads, answer.out.splitlines())
    assert (line["type"], line["exit_code"], line["version"]) == ("refusal", 5, 1)


def test_events_and_json_together_are_refused_in_a_document(fab: Fab) -> None:
    assert refusal(fab("plan", "--json", "--events").out)["message"] == "--events and --json both want standard output"


def test_without_them_stdout_stays_empty(fab: Fab) -> None:
    assert fab("rotate").out == ""


@verb
def buggy(output: JsonOption) -> None:
    """Fails of what nobody has foreseen."""
    raise KeyError(output.json)


def test_a_bug_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exit):
        buggy(Context(), json=True)
    document = refusal(capsys.readouterr().out)
    assert document["exit_code"] == 1
    assert document["message"].startswith("a bug in hivekeys: KeyError at test_documents.py:")
    assert document["command"] == "fab plan"


def test_nothing_follows_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    document.promise({"json": True})
    document.print_document({"form": "init"})
    document.refuse(UserError("a disk is full"), "")
    assert json.loads(capsys.readouterr().out) == {"form": "init"}


# -- commands


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("go on: fab resume --fleet blue   go back: fab rollback --fleet blue", "fab resume --fleet blue"),
        ("`fab status` shows every host", "fab status"),
        ("fab status", "fab status"),
        ("`fab init NAME` writes one", ""),
        ("name it: fab restore FILE --fleet blue; or `fab plan --fleet blue`", "fab plan --fleet blue"),
        ('fab revoke --reason "what happened"', ""),
        (
            "still accepted: fab revoke --fleet blue --reason 'a, b; (c)'",
            "fab revoke --fleet blue --reason 'a, b; (c)'",
        ),
        ("find the cause: ssh queen   then: fab rotate --fleet './our hosts'", "fab rotate --fleet './our hosts'"),
        ("(`fab watch --fleet blue`)", "fab watch --fleet blue"),
        ("the program fab is missing", ""),
        ("", ""),
    ],
)
def test_the_first_command_that_can_be_typed(text: str, command: str) -> None:
    assert first_command(text) == command
