"""The templates of docs/ci are what their services read, and each command in them is one that hivekeys takes."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hivekeys.fleet import Fleet
from hivekeys.inventory import load
from tests.builders.commands import mistake_in
from tests.builders.fab import INVENTORY
from tests.builders.project import PROJECT

TEMPLATES = sorted((PROJECT / "docs" / "ci").iterdir())
HIVEKEYS = Path(sys.executable).with_name("hivekeys")


def jobs(path: Path) -> dict[str, list[str]]:
    """The commands of each job, in order."""
    read = yaml.safe_load(path.read_text())
    if path.stem == "github":
        return {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in read["jobs"].items()}
    return {name: list(_scripts(job)) for name, job in read.items() if not name.startswith(".")}


def _scripts(job: dict[str, Any]) -> Iterator[str]:
    yield from job["script"]
    yield from job.get("after_script", ())


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "production.toml").write_text(INVENTORY.replace('"paper"', '"production"'))
    return load(folder / "production.toml")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_each_command_is_one_that_hivekeys_takes(path: Path, fleet: Fleet) -> None:
    for commands in jobs(path).values():
        for command in commands:
            if command.startswith("hivekeys "):
                assert mistake_in(f"fab {command.partition(' ')[2]}", fleet) == "", command


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_the_job_for_a_change_of_the_inventory_checks_it_and_contacts_no_host(
    path: Path, fleet: Fleet, tmp_path: Path
) -> None:
    commands = [command for command in jobs(path)["inventory"] if "install" not in command]
    assert commands
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "hivekeys").symlink_to(HIVEKEYS)
    for text, code in ((None, 0), ('fleet = "production"\n[hosts.queen]\nrole = "king"\n', 2)):
        if text:
            (tmp_path / "inventory" / "production.toml").write_text(text)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_rotation_in_ci_acts_only_when_it_is_due_and_one_at_a_time(path: Path) -> None:
    (command,) = [command for command in jobs(path)["rotate"] if " rotate " in command]
    words = shlex.split(command)
    assert {"--yes", "--if-older-than"} <= set(words)
    job = yaml.safe_load(path.read_text())
    once = job["jobs"]["rotate"]["concurrency"]["group"] if path.stem == "github" else job["rotate"]["resource_group"]
    assert once == "hivekeys-production"


def test_what_github_shows_is_what_verify_has_written() -> None:
    steps = yaml.safe_load((PROJECT / "docs" / "ci" / "github.yml").read_text())["jobs"]["verify"]["steps"]
    written = next(shlex.split(step["run"])[-1] for step in steps if "verify" in step.get("run", ""))
    assert written == next(step["with"]["sarif_file"] for step in steps if "upload-sarif" in step.get("uses", ""))
