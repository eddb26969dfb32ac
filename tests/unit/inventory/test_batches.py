"""How many hives turn together, in a file and after --batch: understood, or refused with what is expected."""

from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.fleet import Amount, Batch, GroupByGroup, OfEach, Ramp
from hivekeys.inventory.batches import EXPECTED, batch, typed
from hivekeys.inventory.written import toml
from hivekeys.tasks.options.pace import PaceOptions
from tests.builders.loading import load

ONE, QUARTER = Amount(1, least=1), Amount(25, percent=True, least=1)
WRITTEN: list[tuple[object, str, Batch]] = [
    (5, "5", Amount(5, least=1)),
    ("25%", "25%", QUARTER),
    ("1 of each rack", "1 of each rack", OfEach(ONE, "rack")),
    ("25% of each gpu-node", "25% of each gpu-node", OfEach(QUARTER, "gpu-node")),
    ("rack by rack", "rack by rack", GroupByGroup("rack")),
    ([1, 5, "25%"], "1,5,25%", Ramp((ONE, Amount(5, least=1), QUARTER))),
    ([1, "rack by rack"], "1, rack by rack", Ramp((ONE, GroupByGroup("rack")))),
    ([7], "7", Amount(7, least=1)),
]
WRONG = [
    *(0, -1, True, 1.5, "0%", "101%", "5", "", [], [0], [[1]], "0 of each rack", "101% of each rack", "1 of each"),
    *("rack by node", "1 of each rack 2", "by", " by ", "a by b by a", "1 of rack", {"a": 1}, [1] * 101),
]
HOSTS = """
fleet = "f"
[hosts.queen]
role = "queen"
[hosts."hive[1:2]"]
role = "hive"
groups = ["rack1"]
[hosts.hive3]
role = "hive"
groups = ["rack2", "gpu"]
"""


@pytest.mark.parametrize(("value", "words", "meant"), WRITTEN)
def test_a_file_and_an_operator_mean_the_same(value: object, words: str, meant: Batch) -> None:
    assert batch(value) == typed(words) == meant


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_whatever_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=EXPECTED[:20]):
        batch(value)


@pytest.mark.parametrize("words", ["0", "1,", "1 of each", "rack by node", "1;5", "²", "9999999"])
def test_whatever_else_is_typed_is_refused(words: str) -> None:
    with pytest.raises(ValueError, match=EXPECTED[:20]):
        typed(words)


@pytest.mark.parametrize("value", ['"1 of each rack"', '"rack by rack"', '[1, "25% of each rack", "rack by rack"]'])
def test_a_fleet_with_such_waves_is_written_as_the_same_fleet(tmp_path: Path, value: str) -> None:
    (tmp_path / "f.toml").write_text(HOSTS + f"[rollout]\nbatch = {value}\n")
    fleet = load(tmp_path / "f.toml")
    (tmp_path / "g.toml").write_text(toml(fleet))
    assert load(tmp_path / "g.toml").policy == fleet.policy
    assert f"batch = {value}" in toml(fleet)


def test_a_hive_in_no_such_group_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(HOSTS + '[rollout]\nbatch = [1, "1 of each gpu-node"]\n')
    with pytest.raises(UserError) as caught:
        load(tmp_path / "f.toml")
    said = 'rollout.batch: found "1 of each gpu-node", expected every hive in one group of this kind'
    assert said in caught.value.message and caught.value.message.endswith(": hive[1:3] are in none")


def test_a_hive_in_two_such_groups_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(HOSTS.replace('"gpu"', '"rack-b"') + '[rollout]\nbatch = "rack by rack"\n')
    with pytest.raises(UserError, match="hive3 is in rack2 and rack-b"):
        load(tmp_path / "f.toml")


def test_an_option_is_held_against_the_groups_as_well(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(HOSTS)
    fleet = load(tmp_path / "f.toml")
    assert PaceOptions(batch="rack by rack").apply_to(fleet).policy.batch == GroupByGroup("rack")
    with pytest.raises(UserError, match=r"--batch: found \"1 of each site\".*hive\[1:3\] are in none"):
        PaceOptions(batch="1 of each site").apply_to(fleet)
