"""`fab init`: a first inventory that every verb reads, from what an operator knows; no file is ever replaced."""

import json
from pathlib import Path

import pytest

from hivekeys.inventory import load
from tests.builders.fab import Fab

TOLD = ("--queen", "10.0.0.10", "--hives", "10.0.1.[11:50],10.0.2.7", "--user", "deploy", "--jump", "gate.example")
ANSIBLE = """
all:
  children:
    core: {hosts: {q1: {ansible_host: 192.0.2.1}}}
    gpu: {hosts: {h1: {ansible_host: 192.0.2.2}, h2: {ansible_host: 192.0.2.3}}}
"""


@pytest.fixture
def new(fab: Fab) -> Fab:
    """A bastion without a fleet."""
    (fab.folder / "inventory" / "paper.toml").unlink()
    return fab


def test_what_is_told_becomes_a_fleet_with_the_next_commands(new: Fab) -> None:
    answer = new("init", "production", *TOLD)
    path = new.folder / "inventory" / "production.toml"
    assert (answer.code, answer.out) == (0, ""), answer.err
    assert answer.err == (
        f"{path} written: 42 hosts; next: fab trust --fleet production   then: fab plan --fleet production\n"
    )
    fleet = load(path)
    assert [host.name for host in fleet.hosts][:3] == ["queen", "hive01", "hive02"]
    assert [host.address for host in fleet.hosts][-2:] == ["10.0.1.50", "10.0.2.7"]
    assert {(host.user, host.jump) for host in fleet.hosts} == {("deploy", "gate.example")}
    assert new("inventory.check").code == 0, "the only fleet there is"


def test_an_ansible_inventory_stays_where_the_hosts_are(new: Fab) -> None:
    (new.folder / "hosts.yml").write_text(ANSIBLE)
    answer = new("init", "production", "--ansible", "hosts.yml", "--queen", "core", "--hives", "gpu", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["hosts"] == ["q1", "h1", "h2"]
    (new.folder / "hosts.yml").write_text(ANSIBLE.replace("h2:", "h9:"))
    checked = json.loads(new("inventory.check", "--json").out)
    assert [host["name"] for host in checked["hosts"]] == ["q1", "h1", "h9"]


def test_a_file_that_is_there_stays_as_it_is(fab: Fab) -> None:
    path = fab.folder / "inventory" / "paper.toml"
    before = path.read_bytes()
    answer = fab("init", "paper", *TOLD)
    assert answer.code == 2 and f"{path}: is there already" in answer.err
    assert path.read_bytes() == before


def test_printing_writes_nothing(new: Fab) -> None:
    answer = new("init", "production", *TOLD, "--print")
    assert answer.code == 0 and 'fleet = "production"' in answer.out
    assert list((new.folder / "inventory").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["production"], "--queen and --hives, or --ansible, are missing"),
        (["production", "--queen", "10.0.0.1"], "--queen and --hives, or --ansible, are missing"),
        (["production", "--queen", "a b", "--hives", "h1"], 'production.toml: hosts.queen.address: found "a b"'),
        (["production", "--queen", "q", "--hives", "h[5:1]"], "--hives: expected a range that counts up"),
        (["no such name", *TOLD], "no such name.toml: fleet: found"),
        (["../production", *TOLD], "'../production': expected a fleet's name"),
        (["production", "--ansible", "gone.yml"], "gone.yml: can't be read: No such file"),
    ],
)
def test_what_would_be_no_fleet_is_refused_and_not_written(new: Fab, words: list[str], said: str) -> None:
    answer = new("init", *words)
    assert answer.code == 2 and said in answer.err, answer
    assert list(new.folder.rglob("*.toml")) == []


def test_without_a_folder_for_the_project_it_is_the_operators_own(new: Fab) -> None:
    (new.folder / "inventory").rmdir()
    answer = new("init", "production", *TOLD)
    path: Path = new.folder / ".config" / "hivekeys" / "production.toml"
    assert answer.code == 0 and path.exists(), answer.err
    assert path.parent.stat().st_mode & 0o077 == 0
    assert new("inventory.check", "--fleet", "production").code == 0


def test_the_folder_that_the_environment_names_goes_before_the_operators_own(new: Fab) -> None:
    (new.folder / "inventory").rename(new.folder / "elsewhere")
    answer = new("init", "production", *TOLD, HIVEKEYS_INVENTORY="elsewhere")
    assert answer.code == 0, answer.err
    assert (new.folder / "elsewhere" / "production.toml").exists()
