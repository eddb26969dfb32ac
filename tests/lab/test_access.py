"""The ways to a host, and who may take them: keys, jump hosts, talkative shells, other fleets, other runs."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hivekeys import inventory, report
from hivekeys.errors import ExitCode
from hivekeys.fleet import Ssh
from hivekeys.journal.events import Event, Phase, PhaseStarted, State
from hivekeys.lab import Lab
from hivekeys.protocol.causes import Trouble

from .asking import eventually, log_of
from .rotating import (
    Rotation,
    all_but,
    before,
    end_fab,
    fab,
    fleet_of,
    rotate,
    serves,
    short,
    start_fab,
    truth,
    write_policy,
)

pytestmark = pytest.mark.lab
BASHRC = "/home/deploy/.bashrc"


@pytest.mark.parametrize("text", ["", "# nobody\n"])
def test_hosts_whose_keys_are_unknown_are_not_talked_to(lab: Lab, tmp_path: Path, text: str) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(text)
    was = truth(lab)
    rotation = rotate(replace(fleet_of(lab), ssh=Ssh(known_hosts=(str(known_hosts),))))
    assert rotation.code is ExitCode.ROLLED_BACK
    assert rotation.states == all_but(lab, State.UNREACHABLE)
    assert set(rotation.troubles.values()) == {Trouble.HOST_KEY_UNKNOWN}
    assert any(
        "compare the key on the host's console" in line for line in report.failure_lines(rotation.run, fleet_of(lab))
    )
    assert truth(lab) == was
    assert known_hosts.read_text() == text


def test_an_ansible_inventory_leads_to_the_same_hosts_through_its_jump_host(lab: Lab, tmp_path: Path) -> None:
    lines = [f"{host.name} ansible_host={host.address}" for host in lab.hosts.values()]
    (tmp_path / "hosts.ini").write_text(
        "\n".join(("[queen]", lines[0], "[hives]", *lines[1:]))
        + f"\n[all:vars]\nansible_user=deploy\nansible_ssh_private_key_file={lab.key}\n"
        "[hives:vars]\nansible_ssh_common_args=-o StrictHostKeyChecking=no -o ProxyCommand='ssh -q -W %h:%p queen'\n"
    )
    ours = tmp_path / "ours.toml"
    ours.write_text(
        f'fleet = "{lab.name}"\nansible.inventory = "hosts.ini"\n'
        f'ssh = {{ config = "{lab.ssh_config}", known_hosts = "{lab.known_hosts}" }}\n'
    )
    since = {name: logins(lab, name) for name in lab.hosts}
    answer = fab("plan", "--fleet", str(ours), "--json", state=tmp_path)
    assert answer.code == 0, answer.err
    assert {name: host["cause"] for name, host in answer.hosts.items()} == dict.fromkeys(lab.hosts)
    came_from = {name: set(logins(lab, name)[len(since[name]) :]) for name in lab.hosts if name != "queen"}
    assert came_from == {name: {lab.hosts["queen"].address} for name in came_from}


def test_a_fleet_that_nobody_knew_is_trusted_by_a_list_of_fingerprints(lab: Lab, tmp_path: Path) -> None:
    """The list is what `ssh-keygen -lf` prints. What was written is enough to plan; a second look writes nothing."""
    mine, listed = tmp_path / "known_hosts", tmp_path / "list"
    print_list = ["ssh-keygen", "-lf", str(lab.known_hosts)]
    listed.write_text(subprocess.run(print_list, capture_output=True, text=True, check=True).stdout)
    write_policy(lab)
    lab.inventory.write_text(lab.inventory.read_text().replace(str(lab.known_hosts), str(mine)))
    words = ("trust", "--fleet", lab.name, "--fingerprints", str(listed), "--json")
    answer = fab(*words, state=tmp_path)
    assert answer.code == 0, answer.err
    assert {host["written"] for host in answer.document["hosts"]} == {True}
    assert all(host.address not in mine.read_text() for host in lab.hosts.values())
    assert fab("plan", "--fleet", lab.name, state=tmp_path).code == 0
    was = mine.read_bytes()
    answer = fab(*words, state=tmp_path)
    assert answer.code == 0, answer.err
    assert {host["standing"] for host in answer.document["hosts"]} == {"known"}
    assert mine.read_bytes() == was
    write_policy(lab)


def test_hives_behind_a_jump_host_see_only_the_jump_host(lab: Lab, tmp_path: Path) -> None:
    text = (lab.folder / "inventory.toml").read_text()
    text = text.replace('role = "hive"', 'role = "hive"\njump = "queen"')
    text = text.replace("[ssh]", f'[ssh]\nconfig = "{lab.ssh_config}"')
    path = tmp_path / "behind.toml"
    path.write_text(text)
    since = {name: logins(lab, name) for name in lab.hosts}
    rotation = rotate(short(inventory.load(path)))
    assert rotation.code is ExitCode.DONE, rotation.troubles
    assert serves(lab, rotation.token.reveal())
    came_from = {name: logins(lab, name)[len(since[name]) :] for name in lab.hosts}
    bastion = lab.subnet.replace("0/24", "1")
    assert set(came_from.pop("queen")) == {bastion}
    assert all(set(places) == {lab.hosts["queen"].address} for places in came_from.values())


def logins(lab: Lab, name: str) -> list[str]:
    """Where each login of `deploy` came from so far, by sshd's own log."""
    log = log_of(lab, name, "-u ssh").splitlines()
    return [line.split(" from ")[1].split()[0] for line in log if line.startswith("Accepted publickey for deploy")]


@contextlib.contextmanager
def start_up_file(lab: Lab, name: str, text: str) -> Iterator[None]:
    """A ~/.bashrc for deploy: bash reads it for commands that come over SSH."""
    lab.write(name, BASHRC, text, owner="deploy:deploy")
    try:
        yield
    finally:
        lab.sh(name, f"rm -f {BASHRC}")


@pytest.mark.parametrize(
    "text",
    [
        "echo 'Welcome to hive1!'; echo; printf 'half a line'; echo 'and an error' >&2\n",
        'for i in $(seq 500); do echo "line $i of the news, [bold]{}"; done\n',
        "echo '{\"results\": []}'; echo hivekeys:; printf '\\033[2J\\007'; cat /dev/null\n",
    ],
)
def test_a_talkative_shell_is_listened_past(lab: Lab, text: str) -> None:
    with start_up_file(lab, "hive1", text):
        rotation = rotate(fleet_of(lab))
    assert rotation.code is ExitCode.DONE, rotation.troubles


def test_a_shell_that_runs_nothing_is_named_with_what_it_said(lab: Lab) -> None:
    was = truth(lab)
    with start_up_file(lab, "hive1", "echo 'This account is closed.'; exit 1\n"):
        rotation = rotate(fleet_of(lab))
    assert rotation.code is ExitCode.ROLLED_BACK
    assert rotation.troubles == {"hive1": Trouble.RUBBISH}
    assert "This account is closed." in str(rotation.run.hosts["hive1"].cause)
    assert truth(lab) == was


def test_a_login_banner_does_no_harm(lab: Lab) -> None:
    lab.sh("hive2", "echo 'Banner /etc/debian_version' >/etc/ssh/sshd_config.d/lab-banner.conf; systemctl restart ssh")
    try:
        rotation = rotate(fleet_of(lab))
    finally:
        lab.sh("hive2", "rm /etc/ssh/sshd_config.d/lab-banner.conf; systemctl restart ssh")
    assert rotation.code is ExitCode.DONE, rotation.troubles


def test_a_host_of_another_fleet_is_refused_before_anything_is_written(lab: Lab) -> None:
    assert rotate(fleet_of(lab)).code is ExitCode.DONE
    was = truth(lab)
    mark = partial(lab.write, "hive2", "/var/lib/hivekeys/fleet", mode=0o600)
    mark("production\n")
    rotation = rotate(fleet_of(lab))
    mark(f"{lab.name}\n")
    assert rotation.code is ExitCode.ROLLED_BACK
    assert rotation.states == all_but(lab, State.UNCHANGED, hive2=State.FAILED)
    assert rotation.troubles == {"hive2": Trouble.WRONG_FLEET}
    assert f"it belongs to production, the inventory says {lab.name}" in str(rotation.run.hosts["hive2"].cause)
    assert truth(lab) == was


def test_a_second_run_from_this_bastion_is_told_who_is_at_work_and_since_when(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab)
    words = ("rotate", "--fleet", lab.name, "--yes", "--json")
    lock = tmp_path / lab.name / "lock"
    first = start_fab(*words, "--reason", "the yearly one", state=tmp_path)
    assert eventually(lambda: lock.exists() and lock.stat().st_size > 0)
    first.send_signal(signal.SIGSTOP)
    second = fab(*words, state=tmp_path)  # it ends: nobody waits for whoever holds the lock
    first.send_signal(signal.SIGCONT)
    assert second.code == 5
    assert second.document["form"] == "refusal"
    assert f"another run works on fleet {lab.name}: run {lab.name}-" in second.err
    assert f"pid {first.pid}, since 2" in second.err
    assert "the yearly one" in second.err
    assert "hint:" in second.err
    answer = end_fab(first)
    assert answer.code == 0, answer.err


def test_a_second_run_from_another_bastion_is_told_who_is_at_work(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab)
    words = ("rotate", "--fleet", lab.name, "--yes", "--json")
    first = start_fab(*words, state=tmp_path / "one")
    assert eventually(lambda: lab.run("queen", ["flock", "-n", "/var/lib/hivekeys/lock", "true"]).returncode == 1)
    first.send_signal(signal.SIGSTOP)
    second = fab(*words, state=tmp_path / "two")
    first.send_signal(signal.SIGCONT)
    assert second.code == 5, second.err
    cause = second.hosts["queen"]["cause"]
    assert cause["trouble"] == "host-busy"
    assert f"run {lab.name}-" in cause["detail"]
    assert "@" in cause["detail"]
    assert "since 2" in cause["detail"]
    answer = end_fab(first)
    assert answer.code == 0, answer.err
    assert {host["state"] for host in answer.hosts.values()} == {"proven"}


def test_of_two_bastions_that_claim_at_once_exactly_one_wins(lab: Lab) -> None:
    at_once, loser_left = threading.Barrier(2, timeout=120), threading.Event()

    def winner_waits(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.STAGE:
            assert loser_left.wait(30)

    def turn(who: str) -> Rotation:
        rotation = rotate(fleet_of(lab), before(Phase.CLAIM, at_once.wait), winner_waits, who=who)
        loser_left.set()
        return rotation

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(turn, ("ann@one", "bob@two")))
    loser, winner = sorted(both, key=lambda rotation: rotation.code is ExitCode.DONE)
    assert winner.code is ExitCode.DONE, winner.troubles
    assert loser.code is ExitCode.LOCKED
    assert loser.troubles == {"queen": Trouble.HOST_BUSY}
    assert winner.run.who in str(loser.run.hosts["queen"].cause)
    assert serves(lab, winner.token.reveal(), refused=loser.token.reveal())
