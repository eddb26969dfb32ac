"""What a contributor is told holds: the workflow, the hooks, the templates and the paths that CONTRIBUTING.md names."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import hivekeys
from tests.builders.project import PROJECT

GITHUB = PROJECT / ".github"
MAKEFILE = (PROJECT / "Makefile").read_text()
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def workflow() -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / "test.yml").read_text())["jobs"]
    return jobs


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("name", workflow())
def test_the_workflow_runs_what_a_developer_runs(name: str) -> None:
    """No command is the workflow's own: each is a target of the Makefile, or a file of ours."""
    for command in commands(workflow()[name]):
        program, *arguments = shlex.split(command)
        if program == "make":
            assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in arguments), command
        else:
            assert (PROJECT / program).is_file(), command


def test_the_workflow_tries_every_python_that_is_supported() -> None:
    oldest = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"]
    versions = workflow()["unit"]["strategy"]["matrix"]["python"]
    assert oldest == f">={versions[0]}"
    assert versions == [f"3.{minor}" for minor in range(11, 15)]
    assert commands(workflow()["unit"]) == ["make develop", "make lint", "make unit"]


def test_hooks_run_the_commands_of_make_lint() -> None:
    hooks = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for hook in hooks:
        command = hook["entry"].removesuffix(" --fix")
        assert command in MAKEFILE or command == ".venv/bin/python -m docs.generate", command


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_every_issue_form_asks_something(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert form["name"] and form["description"]
    assert any(field.get("validations", {}).get("required") for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


def test_a_report_of_a_fault_brings_the_run_and_the_status() -> None:
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    required = {field["id"] for field in form["body"] if field.get("validations", {}).get("required")}
    assert {"what", "run", "status", "exit-code"} <= required
    labels = [field["attributes"].get("label", "") for field in form["body"]]
    assert "Output of `fab status --json`" in labels


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_path_that_a_contributor_is_told_of_exists(name: str) -> None:
    text = (PROJECT / name).read_text()
    paths = re.findall(r"\b(?:hivekeys|tasks|tests)/[\w/.]*\w/?", text)
    assert [path for path in paths if not (PROJECT / path).exists()] == []
    for target in re.findall(r"\bmake ([a-z]+)", text):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_the_changelog_has_a_date_for_the_version_and_a_line_for_each_change() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text()
    version = hivekeys.__version__
    first, second, *_ = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", second)
    sections = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert not re.search(r"^ +\S", text, re.MULTILINE), "a change that goes on in a second line"
    assert max(map(len, text.splitlines())) <= 160
