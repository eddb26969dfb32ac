"""Names and machines on real hosts: two names of one machine, and two services that share one."""

import json
from pathlib import Path

import pytest

from hivekeys.lab import Lab

from .asking import status
from .rotating import Answer, fab, truth_of

pytestmark = pytest.mark.lab
PACE = '[rollout]\nstable_seconds = 0.3\nhealth_deadline = 15\nbatch = "100%"\nrevocation_recheck = 0.2\n'


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def doubled(lab: Lab, folder: Path) -> Path:
    """An inventory in which the SSH configuration leads hive3's name to hive4."""
    addresses = {name: host.address for name, host in lab.hosts.items()} | {"hive3": lab.hosts["hive4"].address}
    config = folder / "ssh_config"
    config.write_text("".join(f"Host {name}.example\n    HostName {where}\n" for name, where in addresses.items()))
    hosts = "".join(
        f'[hosts.{name}]\nrole = "{host.role}"\naddress = "{name}.example"\n' for name, host in lab.hosts.items()
    )
    path = folder / "doubled.toml"
    ssh = f'[ssh]\nuser = "deploy"\nkey = "{lab.key}"\nknown_hosts = "{lab.known_hosts}"\nconfig = "{config}"\n'
    path.write_text(f'fleet = "{lab.name}"\n{ssh}{PACE}{hosts}')
    return path


def causes(answer: Answer) -> dict[str, str]:
    return {name: host["cause"]["trouble"] for name, host in answer.hosts.items() if host["cause"]}


SAME = {"hive3": "same-machine", "hive4": "same-machine"}


def test_a_rotation_of_two_names_of_one_machine_is_refused_and_turns_nobody(
    lab: Lab, state: Path, tmp_path: Path
) -> None:
    """What it said before: five hosts are proven; the sixth, which no name led to, had never been touched."""
    was = {name: truth_of(lab, name) for name in lab.hosts}
    fleet = ("--fleet", str(doubled(lab, tmp_path)))
    planned = fab("plan", *fleet, "--json", state=state)
    assert (planned.code, causes(planned)) == (4, SAME), planned.err
    answer = fab("rotate", *fleet, "--yes", "--json", state=state)
    assert (answer.code, causes(answer)) == (3, SAME), answer.err
    assert causes(fab("status", *fleet, "--json", state=state)) == SAME
    assert {name: truth_of(lab, name) for name in lab.hosts} == was


def test_a_checklist_names_two_names_of_one_machine(lab: Lab, state: Path, tmp_path: Path) -> None:
    answer = fab("verify", "--fleet", str(doubled(lab, tmp_path)), "--json", "--checks", "machine", state=state)
    failed = {one["host"]: one["detail"] for one in answer.document["findings"] if one["verdict"] == "fail"}
    assert failed == {"hive3": "the name hive4 leads here too", "hive4": "the name hive3 leads here too"}
    assert answer.code == 6


def test_a_revocation_of_two_names_of_one_machine_turns_all_that_it_reaches_and_names_both(
    lab: Lab, state: Path, tmp_path: Path
) -> None:
    was = {name: truth_of(lab, name) for name in lab.hosts}
    fleet = ("--fleet", str(doubled(lab, tmp_path)))
    answer = fab("revoke", *fleet, "--reason", "it was in a chat", "--yes", "--json", state=state)
    assert (answer.code, causes(answer)) == (4, SAME), answer.err
    assert [name for name in lab.hosts if truth_of(lab, name) == was[name]] == ["hive3"]
    refusing = [name for name in lab.hosts if status(lab.hosts[name], was[name].token) == 401]
    assert refusing == ["queen", "hive1", "hive2", "hive4", "hive5"]
    again = fab("reconcile", "--fleet", lab.name, "--json", state=state)
    assert again.code == 0, again.err
    assert status(lab.hosts["hive3"], was["hive3"].token) == 401
    assert json.loads(again.out)["exit_code"] == 0
