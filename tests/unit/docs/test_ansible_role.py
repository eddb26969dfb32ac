"""The Ansible role of docs/ansible fits what it takes from the project: the lock, the units, and the paths in them.

tests/lab/test_ansible.py plays it.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders.project import PROJECT

ROLE = PROJECT / "docs" / "ansible" / "hivekeys"
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
TASKS = "\n".join(path.read_text() for path in sorted((ROLE / "tasks").iterdir()))
OURS = re.compile(r"\bhivekeys_[a-z_]+\b")
MADE = set(re.findall(r"(?:register: |^ +)(hivekeys_[a-z_]+)(?:$|: )", TASKS, re.MULTILINE))


def test_whatever_the_role_can_be_told_it_uses() -> None:
    assert set(DEFAULTS) <= set(OURS.findall(TASKS))


def test_whatever_it_uses_it_is_told_or_finds_out() -> None:
    assert set(OURS.findall(TASKS)) <= set(DEFAULTS) | MADE


@pytest.mark.parametrize("name", ["hivekeys_lock", "hivekeys_units"])
def test_what_it_takes_from_the_project_is_there(name: str) -> None:
    assert Path(str(DEFAULTS[name]).replace("{{ role_path }}", str(ROLE))).exists()


def test_every_unit_that_starts_hivekeys_is_made_to_start_what_was_installed() -> None:
    """The role exchanges the program, where docs/systemd names the one of a checkout."""
    units = [path.read_text() for path in (PROJECT / "docs" / "systemd").glob("*.service")]
    starting = [text for text in units if "User=hivekeys" in text]
    assert len(starting) == 3
    assert "replace('/.venv/bin/fab ', '/.venv/bin/hivekeys ')" in TASKS
    assert [text for text in starting if "ExecStart=/opt/hivekeys/.venv/bin/fab " not in text] == []


def test_state_folder_and_account_are_those_of_the_units() -> None:
    text = (PROJECT / "docs" / "systemd" / "hivekeys-rotate@.service").read_text()
    assert "StateDirectory=hivekeys-bastion\n" in text and "path: /var/lib/hivekeys-bastion\n" in TASKS
    assert "User=hivekeys\n" in text and "name: hivekeys\n" in TASKS
