"""What the wheel brings: the command `hivekeys`, which has the verbs of `fab` where no checkout is."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

import fabfile
import hivekeys
from hivekeys.errors import ExitCode
from hivekeys.protocol.causes import HINTS, Trouble
from hivekeys.protocol.hints import general
from hivekeys.report import next_step
from hivekeys.report.words import standing
from hivekeys.text.commands import as_typed
from tests.builders.fab import Fab
from tests.builders.installed import install, wheel
from tests.builders.operator import Operator
from tests.builders.project import PROJECT
from tests.inprocess import InProcessFleet


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def program(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(built, tmp_path_factory.mktemp("installed"))


@pytest.fixture
def bastion(tmp_path: Path, program: Path) -> Fab:
    """A folder with an inventory, and `hivekeys` to type; no fabfile, no checkout."""
    return Fab(tmp_path, program)


@pytest.fixture
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Fab:
    return Fab(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process was started as `hivekeys`."""
    monkeypatch.setattr(sys, "argv", ["/opt/hivekeys/bin/hivekeys", "rotate"])


def test_the_wheel_holds_one_package_with_every_file_of_it(built: Path) -> None:
    names = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    ours = {str(path.relative_to(PROJECT)) for path in (PROJECT / "hivekeys").rglob("*") if path.is_file()}
    ours = {name for name in ours if "__pycache__" not in name}
    assert names == {*ours, "hivekeys/inventory/example.toml"}
    assert "hivekeys/py.typed" in names


def test_it_offers_the_verbs_of_fab_and_names_itself(bastion: Fab) -> None:
    said = bastion("--list", "--list-format", "json")
    assert said.code == 0, said.err
    listed = json.loads(said.out)
    names = [task["name"] for task in listed["tasks"]]
    names += [f"{inner['name']}.{task['name']}" for inner in listed["collections"] for task in inner["tasks"]]
    assert sorted(names) == sorted(fabfile.namespace.task_names)
    assert bastion("--version").out == f"hivekeys {hivekeys.__version__}\n"


def test_a_verb_does_what_it_does_in_a_checkout(bastion: Fab, checkout: Fab) -> None:
    answers = [fab("inventory.check", "--json") for fab in (bastion, checkout)]
    assert [answer.code for answer in answers] == [0, 0]
    mine, theirs = (json.loads(answer.out) for answer in answers)
    assert mine["hosts"] == theirs["hosts"]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("rotat", 2, "there is no task rotat\n  hint: did you mean rotate? `hivekeys --list` shows all\n"),
        ("rotate --yse", 2, "rotate: there is no option --yse\n  hint: did you mean --yes"),
        ("plan --fleet nowhere", 2, "there is no such fleet"),
        ("resume --fleet paper", 2, "hint: `hivekeys plan --fleet paper` shows its hosts"),
        ("rotate --hosts hive1", 2, "hint: use --limit HOST,… instead"),
        ("--dry rotate", 2, "there is no option --dry\n  hint: every verb that changes something has --dry-run"),
        ("plan -- uptime", 2, "there is no such thing to run"),
    ],
)
def test_a_mistake_ends_with_fabs_code_and_hint_and_names_hivekeys(
    bastion: Fab, line: str, code: int, said: str
) -> None:
    answer = bastion(*line.split())
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err and "fab " not in answer.err


NAMING = [name for name in sorted(fabfile.namespace.task_names) if "fab " in str(fabfile.namespace[name].help)]


@pytest.mark.parametrize("words", [["--help"], ["--list"], *(["--help", name] for name in NAMING)], ids=" ".join)
def test_no_help_names_another_program(bastion: Fab, words: list[str]) -> None:
    answer = bastion(*words)
    assert answer.code == 0 and answer.out and "fab " not in answer.out


def test_what_a_verb_is_for_names_no_program() -> None:
    """It is shown as it stands, by whichever program."""
    said = {name: fabfile.namespace[name].__doc__ or "" for name in fabfile.namespace.task_names}
    assert [name for name, words in said.items() if "fab " in words] == []


@pytest.mark.parametrize("trouble", Trouble)
def test_a_trouble_s_hint_names_the_program_that_was_typed(trouble: Trouble, as_installed: None) -> None:
    own = HINTS[trouble].count("hivekeys ")
    assert as_typed(HINTS[trouble]).count("hivekeys ") == HINTS[trouble].count("fab ") + own
    assert "fab " not in general(trouble)


def test_the_last_line_of_a_run_is_typed_as_the_run_was(tmp_path: Path, as_installed: None) -> None:
    fleet = InProcessFleet(tmp_path)
    fleet.hosts["hive2"].fault = "link-down"
    ann = Operator(fleet)
    assert ann.rotate() is ExitCode.ROLLED_BACK
    said = next_step(ann.runner.run, fleet.inventory)
    assert said.startswith("without waiting for hive2: hivekeys rotate --fleet inprocess --allow-missing hive2")
    assert standing(ann.runner.run, "an hour") and "fab " not in said + standing(ann.runner.run, "an hour")


def test_tab_completes_what_hivekeys_takes(bastion: Fab) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = bastion("--print-completion-script", shell).out
        assert "hivekeys" in script and "--complete" in script
    assert "rotate" in bastion("--complete", "--", "hivekeys", "rot").out.split()
    assert "--state-dir" in bastion("--complete", "--", "hivekeys", "plan", "--st").out.split()


def test_its_list_does_not_wait_for_fabric(bastion: Fab) -> None:
    """The import of fabric and paramiko is most of what `fab --list` takes."""
    answer = bastion("--list", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in answer.err.splitlines()}
    assert "invoke.program" in imported
    assert imported & {"fabric", "paramiko", "cryptography", "rich", "pydantic", "sqlite3"} == set()
