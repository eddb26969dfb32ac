"""The Ansible role of docs/ansible on bare machines, Debian 12 and 13: each becomes a bastion and turns its fleet."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from hivekeys.lab import Lab, down, up
from hivekeys.lab.files import SECRETS
from tests.builders.installed import wheel
from tests.builders.project import PROJECT

from .rotating import truth

pytestmark = pytest.mark.lab
PLAYS = PROJECT / "docs" / "ansible"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
BASTIONS = {"hive2": "3.11", "hive1": "3.13"}  # each with its Python
PATIENCE = 900  # seconds
QUICK = '\n[rollout]\nstable_seconds = 0.3\nbatch = "100%"\n'
# What the role may leave on a machine.
TRACES = "ls -d /opt/hivekeys /etc/hivekeys /var/lib/hivekeys-bastion /home/hivekeys /etc/systemd/system/hivekeys* 2>&1"


@dataclass(frozen=True)
class Played:
    """What ansible-playbook said."""

    code: int
    shown: str

    def counts(self, word: str) -> list[int]:
        """How many tasks were `changed`, `failed`, … on each bastion."""
        return [int(number) for number in re.findall(rf"^hive\d .*\b{word}=(\d+)", self.shown, re.MULTILINE)]


class Operator:
    """Somebody with Ansible, on a machine beside the lab."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder

    def play(self, name: str, *words: str) -> Played:
        done = subprocess.run(
            [PLAYBOOK, "--inventory", "bastions.json", *words, PLAYS / name],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Played(done.returncode, done.stdout + done.stderr)

    def given(self, **told: Any) -> None:
        """Ansible's inventory: the bastions, how they are reached, and what the role is told."""
        hosts = {name: {"ansible_host": self.lab.hosts[name].address} for name in BASTIONS}
        login = {
            "ansible_user": "deploy",
            "ansible_pipelining": True,
            "ansible_ssh_common_args": f"-F {self.lab.ssh_config}",
        }
        group = {"hosts": hosts, "vars": {**login, "ansible_python_interpreter": "/usr/bin/python3", **told}}
        (self.folder / "bastions.json").write_text(json.dumps({"bastions": group}))


def lock_for(version: str) -> str:
    """What the lock has for a Python: `pip download` would go by the markers for its own."""
    here = {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": version,
        "python_full_version": f"{version}.0",
    }
    entries = re.split(r"^(?=\w)", (PROJECT / "requirements" / "runtime.lock").read_text(), flags=re.MULTILINE)[1:]
    chosen = ""
    for entry in entries:
        requirement = Requirement(entry.split(" \\\n")[0])
        if requirement.marker is None or requirement.marker.evaluate(here):
            chosen += re.sub(r" ; .*(?= \\\n)", "", entry, count=1)
    return chosen


def typed(lab: Lab, bastion: str, line: str) -> tuple[int, str]:
    """A line as somebody types it there for the bastion's account: exit code, and what was shown."""
    script = f"export HIVEKEYS_STATE_DIR=/var/lib/hivekeys-bastion; /opt/hivekeys/.venv/bin/{line}"
    done = lab.run(bastion, ["runuser", "--login", "hivekeys", "--command", script], timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A fleet of both releases, on whose hives nobody has set up a bastion."""
    name = f"lab-ansible{os.getpid()}"
    try:
        yield up(name, hives=2, releases=("bookworm", "trixie"), inventory_dir=tmp_path_factory.mktemp("inventory"))
    finally:
        down(name)


@pytest.fixture(scope="module")
def operator(bare: Lab, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """The wheel, the libraries for both Pythons, the inventory of the fleet, and what Ansible is told of all that."""
    folder = tmp_path_factory.mktemp("operator")
    for version in BASTIONS.values():
        (folder / "lock").write_text(lock_for(version))
        words = ["download", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", "wheels"]
        for_it = ["--python-version", version, "--requirement", "lock"]
        subprocess.run([sys.executable, "-m", "pip", *words, *for_it], cwd=folder, check=True, timeout=PATIENCE)
    inventory = re.sub("(?m)^(key|known_hosts) = .*\n", "", (bare.folder / "inventory.toml").read_text())
    (folder / "lab.toml").write_text(inventory + QUICK)
    operator = Operator(bare, folder)
    operator.given(
        hivekeys_wheel=str(wheel(folder)),
        hivekeys_wheels=str(folder / "wheels"),
        hivekeys_packages=[],  # the lab has no network, and its image has them
        hivekeys_inventories=[str(folder / "lab.toml")],
        hivekeys_known_hosts=str(bare.known_hosts),
    )
    return operator


@pytest.fixture(scope="module")
def tried(operator: Operator) -> Played:
    """The role with --check, on machines that have nothing of it."""
    return operator.play("bastion.yml", "--check")


@pytest.fixture(scope="module")
def untouched(operator: Operator, tried: Played) -> set[str]:
    """What is there of the role after the trial, on all of them."""
    return {line for name in BASTIONS for line in operator.lab.run(name, ["sh", "-c", TRACES]).stdout.splitlines()}


@pytest.fixture(scope="module")
def set_up(operator: Operator, untouched: set[str]) -> Played:
    """The role was run once, and the keys that it made may log in to the hosts."""
    done = operator.play("bastion.yml")
    assert done.code == 0, done.shown
    for name in BASTIONS:
        key = operator.lab.read(name, "/home/hivekeys/.ssh/id_ed25519.pub")
        for host in operator.lab.hosts:
            operator.lab.run(host, ["tee", "--append", "/home/deploy/.ssh/authorized_keys"], text=key, check=True)
    return done


def test_a_trial_says_what_would_be_done_and_does_nothing(tried: Played, untouched: set[str]) -> None:
    assert tried.code == 0, tried.shown
    assert min(tried.counts("changed")) > 0
    assert {line for line in untouched if "No such file" not in line} == set()


def test_a_bare_machine_becomes_a_bastion(operator: Operator, set_up: Played) -> None:
    for name in BASTIONS:
        assert "ssh-ed25519 " in set_up.shown
        timers = "hivekeys-verify@lab.timer hivekeys-rotate@lab.timer"
        assert operator.lab.sh(name, f"systemctl is-enabled {timers}; systemctl is-active {timers}").split() == [
            *("enabled", "enabled", "active", "active")
        ]


def test_a_second_run_changes_nothing_and_a_trial_of_it_says_so(operator: Operator, set_up: Played) -> None:
    for words in ((), ("--check",)):
        done = operator.play("bastion.yml", *words)
        assert done.code == 0, done.shown
        assert done.counts("changed") == [0, 0], done.shown


@pytest.mark.parametrize("bastion", BASTIONS)
def test_each_bastion_turns_the_fleet(operator: Operator, set_up: Played, bastion: str) -> None:
    old = truth(operator.lab)["queen"].token
    code, shown = typed(operator.lab, bastion, 'hivekeys rotate --fleet lab --yes --reason "a new bastion"')
    assert code == 0 and "done, and proven, on every host (3 proven" in shown, shown
    assert {host.token != old for host in truth(operator.lab).values()} == {True}


@pytest.mark.parametrize("bastion", BASTIONS)
def test_its_units_start_what_was_installed(operator: Operator, set_up: Played, bastion: str) -> None:
    operator.lab.sh(bastion, "systemctl start hivekeys-rotate@lab")
    said = operator.lab.sh(bastion, "journalctl -q --sync; journalctl -q -o cat -u hivekeys-rotate@lab")
    assert "not due" in said


def test_the_check_passes_as_long_as_all_is_well_and_fails_where_something_is_found(
    operator: Operator, set_up: Played
) -> None:
    assert (well := operator.play("check.yml")).code == 0, well.shown
    assert operator.play("check.yml", "--check", "--limit", "hive2").code == 0
    operator.lab.sh("queen", f"chmod 644 {SECRETS}/api-token")
    found = operator.play("check.yml")
    assert found.code == 2 and found.counts("failed") == [1, 1], found.shown
    operator.lab.sh("queen", f"chmod 600 {SECRETS}/api-token")


def test_another_wheel_gets_an_environment_of_its_own_and_the_older_one_stays(
    operator: Operator, set_up: Played
) -> None:
    (given,) = operator.folder.glob("hivekeys-*.whl")
    other = operator.folder / "newer" / given.name
    other.parent.mkdir()
    shutil.copy(given, other)
    with zipfile.ZipFile(other, "a") as archive:
        archive.comment = b"other bytes, and the same version"
    leads = "readlink /opt/hivekeys/.venv"
    before = operator.lab.sh("hive2", leads)
    told = ("--limit", "hive2", "--extra-vars", f"hivekeys_wheel={other}")
    trial = operator.play("bastion.yml", "--check", *told)
    assert trial.counts("changed") == [1] and operator.lab.sh("hive2", leads) == before, trial.shown
    assert (done := operator.play("bastion.yml", *told)).code == 0, done.shown
    assert operator.lab.sh("hive2", leads) != before
    for program in ("/opt/hivekeys/.venv", before.strip()):
        assert operator.lab.sh("hive2", f"{program}/bin/hivekeys --version").startswith("hivekeys ")


def test_a_wheel_that_is_not_there_is_refused_before_anything_is_touched(operator: Operator, set_up: Played) -> None:
    refused = operator.play("bastion.yml", "--limit", "hive2", "--extra-vars", "hivekeys_wheel=elsewhere.whl")
    assert refused.code == 2 and "elsewhere.whl" in refused.shown
    assert refused.counts("changed") == [0]


def test_an_inventory_that_hivekeys_does_not_take_starts_no_timer(operator: Operator, set_up: Played) -> None:
    (operator.folder / "broken.toml").write_text('fleet = "broken"\n[hosts.queen]\nrole = "king"\n')
    told = json.dumps({"hivekeys_inventories": [str(operator.folder / "broken.toml")]})
    refused = operator.play("bastion.yml", "--limit", "hive2", "--extra-vars", told)
    assert refused.code == 2 and "king" in refused.shown
    assert "broken" not in operator.lab.sh("hive2", "systemctl list-timers --all; rm /etc/hivekeys/broken.toml")
