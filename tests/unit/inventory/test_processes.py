"""How many processes hold the lines of a run: in a file, and after --processes."""

from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet
from hivekeys.inventory import load
from hivekeys.inventory.written import toml
from hivekeys.tasks.options.pace import PaceOptions

HOSTS = """
fleet = "blue"
[hosts.queen]
role = "queen"
address = "10.0.0.1"
[hosts.hive1]
role = "hive"
address = "10.0.0.2"
"""


def fleet(tmp_path: Path, rollout: str = "") -> Fleet:
    (tmp_path / "f.toml").write_text(HOSTS + rollout)
    return load(tmp_path / "f.toml")


def test_one_process_does_unless_more_are_asked_for(tmp_path: Path) -> None:
    assert fleet(tmp_path).policy.processes == 1


def test_a_file_asks_for_as_many_as_the_machine_has_processors(tmp_path: Path) -> None:
    eight = fleet(tmp_path, "[rollout]\nprocesses = 8\n")
    assert eight.policy.processes == 8
    (tmp_path / "f.toml").write_text(toml(eight))
    assert load(tmp_path / "f.toml").policy == eight.policy


@pytest.mark.parametrize("value", ["0", "65", "-1", "1.5", '"all"'])
def test_a_number_that_no_machine_has_is_refused_with_its_key(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match=r"rollout\.processes"):
        fleet(tmp_path, f"[rollout]\nprocesses = {value}\n")


def test_an_option_overrides_the_file(tmp_path: Path) -> None:
    assert PaceOptions(processes="2").apply_to(fleet(tmp_path)).policy.processes == 2


@pytest.mark.parametrize("value", ["0", "65", "two", "1%"])
def test_an_option_that_is_no_such_number_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match="--processes: found"):
        PaceOptions(processes=value).apply_to(fleet(tmp_path))
