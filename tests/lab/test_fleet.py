"""Real hosts: they are what they should be, they go without a trace, and a killed lab comes back."""

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hivekeys.errors import UserError
from hivekeys.lab import Lab, cgroup, down, load, memory, network, up, whole
from hivekeys.lab.files import AUDIT, SECRETS
from hivekeys.lab.model import LABS

from .asking import ACTIVE, FIRST_TOKEN, HIVES, ask, eventually, log_of, put_token, restart, ssh

pytestmark = pytest.mark.lab
ALL = ("queen", *HIVES)


@pytest.mark.parametrize("name", ALL)
def test_any_ssh_client_gets_in_and_sudo_asks_nothing(fleet: Lab, name: str) -> None:
    assert ssh(fleet, name, "sudo -n hostname; whoami").stdout == f"{name}\ndeploy\n"


@pytest.mark.parametrize("name", ALL)
def test_a_host_is_set_up_as_the_guide_says(fleet: Lab, name: str) -> None:
    assert (
        fleet.sh(name, f"stat -c '%a %U:%G' {SECRETS} {ACTIVE}")
        == "700 llama-orch:llama-orch\n600 llama-orch:llama-orch\n"
    )
    assert fleet.read(name, ACTIVE) == f"{FIRST_TOKEN}\n"
    assert fleet.sh(name, "getent passwd llama-orch").endswith(":/usr/sbin/nologin\n")
    assert fleet.sh(name, "systemctl --failed --no-legend") == ""
    assert fleet.sh(name, "command -v curl && command -v python3 && command -v sudo && command -v sshd")
    log = log_of(fleet, name, f"-u {fleet.hosts[name].unit}")
    assert "API token loaded (authentication enabled)" in log
    assert FIRST_TOKEN not in log


@pytest.mark.parametrize("name", ALL)
def test_the_service_knows_who_may_come_in(fleet: Lab, name: str) -> None:
    host = fleet.hosts[name]
    assert ask(host, FIRST_TOKEN) == (200, "")
    assert ask(host, None) == (401, "MISSING_API_KEY")
    assert ask(host, "garbage") == (401, "INVALID_API_KEY")
    assert ask(host, None, "/health" if name == "queen" else "/v1/health") == (200, "")
    assert ask(host, FIRST_TOKEN, "/elsewhere") == (404, "")
    assert ask(host, None, "/elsewhere") == (401, "MISSING_API_KEY")


def test_the_credential_is_a_copy_that_only_a_restart_renews(fleet: Lab) -> None:
    put_token(fleet, "hive3", "e" * 64)
    assert ask(fleet.hosts["hive3"], FIRST_TOKEN)[0] == 200
    assert restart(fleet, "hive3") == 0
    assert eventually(lambda: ask(fleet.hosts["hive3"], "e" * 64)[0] == 200)
    assert ask(fleet.hosts["hive3"], FIRST_TOKEN)[0] == 401
    assert '"invalid token"' in _audit(fleet, "hive3")
    put_token(fleet, "hive3", FIRST_TOKEN)
    restart(fleet, "hive3")
    assert eventually(lambda: ask(fleet.hosts["hive3"], FIRST_TOKEN)[0] == 200)


@pytest.mark.parametrize("name", ALL)
def test_the_audit_trail_is_one_chain_since_each_start(fleet: Lab, name: str) -> None:
    assert [ask(fleet.hosts[name], FIRST_TOKEN)[0] for _ in range(3)] == [200] * 3
    previous = ""
    for record in map(json.loads, _audit(fleet, name).splitlines()):
        assert record["prev_hash"] in (previous, "0" * 64)
        event = json.dumps(record["event"], separators=(",", ":"))
        moment = record["timestamp"].replace("Z", "+00:00")  # written so, hashed so: as the services do
        told = record["audit_id"] + moment + record["service_id"] + event + record["prev_hash"]
        assert record["hash"] == hashlib.sha256(told.encode()).hexdigest()
        previous = record["hash"]
    assert fleet.sh(name, f"stat -c '%a %U' {AUDIT}/*.audit") == "600 llama-orch\n"
    assert FIRST_TOKEN not in _audit(fleet, name)


def test_a_program_that_hangs_on_a_host_is_ended_at_its_deadline(fleet: Lab) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        fleet.run("hive1", ["sleep", "4711"], timeout=0.5)
    assert fleet.run("hive1", ["pgrep", "-f", "sleep 4711"]).returncode == 1


def test_up_again_finds_the_fleet_and_another_shape_is_refused(fleet: Lab) -> None:
    shape = fleet.shape
    again = up(fleet.name, hives=shape.hives, releases=shape.releases, inventory_dir=fleet.inventory.parent)
    assert again == fleet == load(fleet.name)
    with pytest.raises(UserError, match="is up"):
        up(fleet.name, hives=shape.hives + 1, inventory_dir=fleet.inventory.parent)


def test_two_labs_at_once_share_nothing_and_leave_nothing(tmp_path: Path) -> None:
    before = _machine()
    names = [f"lab-{which}{os.getpid()}" for which in "ab"]
    with ThreadPoolExecutor() as pool:
        labs = list(pool.map(lambda name: up(name, hives=1, inventory_dir=tmp_path), names))
    addresses = [host.address for lab in labs for host in lab.hosts.values()]
    assert len(set(addresses)) == len(addresses)
    assert len({lab.read("hive1", ACTIVE) for lab in labs}) == 2
    assert [down(name) for name in names] == [True, True]
    assert [down(name) for name in names] == [False, False]
    for name in names:
        assert _left(name) == []
    assert list(tmp_path.iterdir()) == []
    assert _machine() == before


@pytest.mark.parametrize("killed_when", ["lab.json", "hosts/hive1/console.log"])
def test_a_lab_whose_up_was_killed_is_cleared_by_the_next(tmp_path: Path, killed_when: str) -> None:
    name = f"lab-k{os.getpid()}"
    arguments = f"{name!r}, hives=1, inventory_dir=Path({str(tmp_path)!r})"
    boot = f"from pathlib import Path; from hivekeys.lab import up; up({arguments})"
    with subprocess.Popen([sys.executable, "-c", boot]) as child:
        assert eventually((LABS / name / killed_when).exists)
        child.kill()
    half = memory.load(name)
    assert half is not None
    assert not whole(half)
    assert up(name, hives=1, inventory_dir=tmp_path).running("hive1")
    assert down(name)
    assert _left(name) == []


def test_a_lab_whose_processes_were_killed_is_cleared_by_down(tmp_path: Path) -> None:
    lab = up(f"lab-d{os.getpid()}", hives=1, inventory_dir=tmp_path)
    for host in lab.hosts:
        pid = cgroup.first_process(lab.name, host)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(lab.running(host) for host in lab.hosts))
    assert not whole(lab)
    assert down(lab)
    assert _left(lab.name) == []


def _audit(lab: Lab, name: str) -> str:
    return lab.sh(name, f"cat {AUDIT}/*.audit || true")


def _left(name: str) -> list[str]:
    """What there is of a lab on this machine: folder, links, groups in any hierarchy, mounts."""
    groups = [f"{folder}/{cgroup.TOP}/{name}" for folder in _cgroup_mounts()]
    found = [path for path in (str(LABS / name), *groups) if Path(path).exists()]
    return (
        found + network.links(name) + [line for line in Path("/proc/self/mounts").read_text().split() if name in line]
    )


def _cgroup_mounts() -> list[str]:
    lines = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [fields[1] for fields in lines if fields[2].startswith("cgroup")]


def _machine() -> list[str]:
    """What a lab might leave in places that are not its own."""
    places = [Path("/run/netns"), Path("/run/systemd/nspawn"), Path("/run/systemd/machines")]
    return sorted(map(str, itertools.chain.from_iterable(p.rglob("*") for p in places if p.exists())))
