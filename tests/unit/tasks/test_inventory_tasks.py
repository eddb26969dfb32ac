"""`fab inventory.check` and `fab inventory.convert`, as an operator types them. Neither contacts anybody."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.builders.fab import INVENTORY, Fab
from tests.builders.project import PROJECT, TESTS

FORMS = TESTS / "unit" / "inventory" / "inventories"
# Python imports this first; from then on whatever would leave the process, or start another, is written down.
WATCH = """
import sys
def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.system", "os.fork")):
        with open({log!r}, "a") as log:
            log.write(f"{{event}} {{args[:1]}}\\n")
sys.addaudithook(watch)
"""


@pytest.fixture
def fab(tmp_path: Path) -> Fab:
    fab = Fab(tmp_path)
    shutil.copytree(FORMS, tmp_path / "forms")
    (tmp_path / "forms" / "program").chmod(0o700)
    return fab


def test_check_shows_every_host_as_it_would_be_reached(fab: Fab) -> None:
    answer = fab("inventory.check", "--fleet", "forms/hosts.ini")
    assert answer.code == 0 and answer.err == ""
    rows = [line.split() for line in answer.out.splitlines()]
    key, jump = "/home/ops/.ssh/fleet", "ops@bastion.example:2222"
    assert ["queen", "queen", "10.0.0.10", "–", "deploy", key, "none", "sudo", "queen-rbee:9080", "queen"] in rows
    assert ["hive-c", "hive", "hive-c", "2222", "root", key, jump, "none", "rbee-hive@gpu:9081", "hives", "lab"] in rows
    assert "6 hosts, 5 of them hives; –: as OpenSSH's configuration says" in answer.out
    assert "forms/hosts.ini is right; no host was contacted" in answer.out


def test_check_as_json_has_every_setting(fab: Fab) -> None:
    answer = fab("inventory.check", "--fleet", "./forms/mapped.toml", "--json")
    document = json.loads(answer.out)
    assert (answer.code, document["fleet"], document["source"]) == (0, "mapped", "forms/mapped.toml")
    assert document["files"] == [str(fab.folder / "forms" / "mapped.ini")]
    queen = document["hosts"][0]
    assert (queen["name"], queen["role"], queen["port"], queen["service"]["mode"]) == ("boss", "queen", None, "0600")


def test_check_says_who_shares_a_machine(fab: Fab) -> None:
    hosts = '[hosts.queen]\nrole = "queen"\n[hosts.hive1]\nrole = "hive"\nbeside = "queen"\n'
    own = 'service = { token = "/etc/llama-orch/hive/api-token" }\n'
    (fab.folder / "forms" / "shared.toml").write_text(f'fleet = "shared"\n{hosts}{own}')
    answer = fab("inventory.check", "--fleet", "./forms/shared.toml")
    assert answer.code == 0 and "hive1 is on the machine of queen" in answer.out
    document = json.loads(fab("inventory.check", "--fleet", "./forms/shared.toml", "--json").out)
    assert [(host["name"], host["address"], host["beside"]) for host in document["hosts"]] == [
        ("queen", "queen", None),
        ("hive1", "queen", "queen"),
    ]


def test_check_shows_the_groups_of_hosts_where_there_are_any(fab: Fab) -> None:
    assert " groups" not in fab("inventory.check").out
    racked = INVENTORY.replace('role = "hive"', 'role = "hive"\ngroups = ["rack1", "gpu-a100"]')
    (fab.folder / "inventory" / "paper.toml").write_text(racked)
    rows = [line.split() for line in fab("inventory.check").out.splitlines()]
    assert ["hive2", "hive"] in [row[:2] for row in rows if row[-2:] == ["rack1", "gpu-a100"]]
    assert "–" in next(row for row in rows if row[:2] == ["queen", "queen"])[-1]
    hosts = json.loads(fab("inventory.check", "--json").out)["hosts"]
    assert {host["name"]: host["groups"] for host in hosts[:2]} == {"queen": [], "hive1": ["rack1", "gpu-a100"]}


def test_check_names_what_it_saw_and_did_not_read(fab: Fab) -> None:
    with (fab.folder / "forms" / "hosts.ini").open("a") as file:
        file.write("ansible_shutdown_command=/sbin/halt\n")
    answer = fab("inventory.check", "--fleet", "forms/hosts.ini")
    assert answer.code == 0 and "not read: ansible_shutdown_command" in answer.out


def test_check_refuses_a_mistake_with_exit_2(fab: Fab) -> None:
    path = fab.folder / "forms" / "hosts.ini"
    with path.open("a") as file:
        file.write("ansible_connection=winrm\n")
    answer = fab("inventory.check", "--fleet", "forms/hosts.ini")
    assert answer.code == 2 and answer.out == ""
    assert answer.err.startswith(
        'hivekeys: forms/hosts.ini: "queen, hive[01:03], hive-a, hive-c".ansible_connection: found "winrm", expected'
    )
    assert "hint: docs/howto.md" in answer.err


@pytest.mark.parametrize(
    ("task", "form"), [("check", "fleet.toml"), ("check", "llama_orch.toml"), ("convert", "fleet.toml")]
)
def test_nobody_is_contacted_and_nothing_is_run(fab: Fab, task: str, form: str) -> None:
    log = fab.folder / "log"
    (fab.folder / "sitecustomize.py").write_text(WATCH.format(log=str(log)))
    assert fab(f"inventory.{task}", "--fleet", f"forms/{form}", PYTHONPATH=f"{fab.folder}:{PROJECT}").code == 0
    assert not log.exists(), log.read_text()


@pytest.mark.parametrize(("task", "form"), [("check", "program"), ("convert", "folder")])
def test_of_an_ansible_inventory_only_ansible_inventory_is_run(fab: Fab, task: str, form: str) -> None:
    """And with that the watch is seen to work."""
    log = fab.folder / "log"
    (fab.folder / "sitecustomize.py").write_text(WATCH.format(log=str(log)))
    assert fab(f"inventory.{task}", "--fleet", f"forms/{form}", PYTHONPATH=f"{fab.folder}:{PROJECT}").code == 0
    lines = [line for line in log.read_text().splitlines() if not line.startswith("os.fork")]
    assert lines == [f"subprocess.Popen ({str(Path(sys.executable).with_name('ansible-inventory'))!r},)"]


def test_a_converted_inventory_is_a_file_of_ours_that_means_the_same(fab: Fab) -> None:
    answer = fab("inventory.convert", "--fleet", "forms/hosts.ini", "--output", "inventory/new.toml")
    assert (answer.code, answer.out) == (0, "")
    assert "inventory/new.toml written: 6 hosts" in answer.err
    both = [fab("inventory.check", "--json", "--fleet", name) for name in ("new", "forms/hosts.ini")]
    converted, given = (json.loads(answer.out) for answer in both)
    assert converted["hosts"] == given["hosts"]
    assert sorted(path.name for path in (fab.folder / "inventory").iterdir()) == ["new.toml", "paper.toml"]


def test_convert_prints_the_file_when_none_is_named(fab: Fab) -> None:
    answer = fab("inventory.convert", "--fleet", "paper")
    assert answer.code == 0 and answer.out.startswith('fleet = "paper"\n')
    assert '[hosts."hive[1:3]"]' in answer.out


def test_convert_replaces_no_file_unless_it_is_told_to(fab: Fab) -> None:
    there = fab.folder / "inventory" / "paper.toml"
    before = there.read_text()
    convert = ("inventory.convert", "--fleet", "forms/hosts.yml", "--output", "inventory/paper.toml")
    answer = fab(*convert)
    assert answer.code == 2 and "is there already" in answer.err and "--force" in answer.err
    assert there.read_text() == before
    assert fab(*convert, "--force").code == 0
    assert there.read_text().startswith('fleet = "forms"')


@pytest.mark.parametrize(
    ("output", "said"),
    [("new.ini", "expected a name that ends in .toml"), ("nowhere/new.toml", "No such file or directory")],
)
def test_convert_refuses_a_place_where_the_file_can_t_be(fab: Fab, output: str, said: str) -> None:
    answer = fab("inventory.convert", "--fleet", "paper", "--output", output)
    assert answer.code == 2 and said in answer.err
    assert sorted(path.name for path in fab.folder.glob("*new*")) == []
