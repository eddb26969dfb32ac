"""A rotation of real hosts, whole: what the program answers, and what is then true of the hosts."""

import itertools
import re
from pathlib import Path

import pytest

from hivekeys.journal.events import Phase, State
from hivekeys.lab import Lab
from hivekeys.lab.files import SECRETS
from hivekeys.token import Token

from .asking import FIRST_TOKEN, log_of, status
from .rotating import Truth, all_but, before, fab, fleet_of, rotate, serves, truth, write_policy

pytestmark = pytest.mark.lab
HIVES = tuple(f"hive{number}" for number in range(1, 6))


@pytest.fixture
def new_token(tmp_path: Path) -> str:
    """A token in a file that only root reads: `tmp_path / "token"`."""
    token = "Rv3" + "k8Qz".join("wdx5tnuL72gmFYcP")
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(f"{token}\n")
    return token


def test_every_host_ends_proven_and_on_the_one_new_token(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab)
    old = truth(lab)["queen"].token
    answer = fab("rotate", "--fleet", lab.name, "--yes", "--json", state=tmp_path)
    assert answer.code == 0, answer.err
    for host in answer.hosts.values():
        assert host["state"] == "proven"
        assert host["proofs"] == {"new": 200, "old": 401, "none": 401, "garbage": 401}
        assert answer.document["token"] in host["logged"]
        assert host["gap_seconds"] < 5
        assert host["cause"] is None
    new = truth(lab)["queen"].token
    assert new != old
    assert serves(lab, new, refused=old)


def test_a_rotation_costs_a_host_one_login_and_one_sudo(lab: Lab) -> None:
    """As sshd and sudo on the hosts count them."""

    def counted(name: str) -> tuple[int, int]:
        log = log_of(lab, name).splitlines()
        return sum(line.startswith("Accepted publickey") for line in log), sum("COMMAND=" in line for line in log)

    before = {name: counted(name) for name in lab.hosts}
    assert rotate(fleet_of(lab)).code == 0
    assert {name: counted(name) for name in lab.hosts} == {
        name: (logins + 1, sudos + 1) for name, (logins, sudos) in before.items()
    }


def test_the_token_directory_keeps_owner_and_mode(lab: Lab) -> None:
    script = f"stat -c '%a %U:%G' {SECRETS}; ls -A {SECRETS}"
    before = {name: lab.sh(name, script) for name in lab.hosts}
    assert rotate(fleet_of(lab)).code == 0
    assert {name: lab.sh(name, script) for name in lab.hosts} == before


@pytest.mark.parametrize(
    ("policy", "waves"),
    [
        ({"canary": 1, "batch": 2}, [["queen"], ["hive1"], ["hive2", "hive3"], ["hive4", "hive5"]]),
        ({"canary": 2, "batch": "40%"}, [["queen"], ["hive1", "hive2"], ["hive3", "hive4"], ["hive5"]]),
        ({"canary": 0, "batch": "100%"}, [["queen"], list(HIVES)]),
        ({"canary": 0, "batch": 3, "order": "hives-first"}, [list(HIVES[:3]), list(HIVES[3:]), ["queen"]]),
    ],
)
def test_hosts_restart_in_the_waves_asked_for(
    lab: Lab, tmp_path: Path, policy: dict[str, object], waves: list[list[str]]
) -> None:
    write_policy(lab, **policy)
    before = truth(lab)
    answer = fab("rotate", "--fleet", lab.name, "--yes", "--json", state=tmp_path)
    assert answer.code == 0, answer.err
    assert [wave["hosts"] for wave in answer.document["waves"]] == waves
    after = truth(lab)
    assert all(after[name].started > before[name].started for name in lab.hosts)
    assert in_turn(after, waves)
    for name in lab.hosts:
        assert starts_on(lab, name, answer.document["token"]) == 1


def in_turn(hosts: dict[str, Truth], waves: list[list[str]]) -> bool:
    """Whether every service of a wave started before any of the next, by systemd's clock."""
    spans = [[hosts[name].started for name in wave] for wave in waves]
    return all(max(earlier) < min(later) for earlier, later in itertools.pairwise(spans))


def starts_on(lab: Lab, name: str, fp6: str) -> int:
    """How many processes of the service let that token in, by their own log."""
    log = lab.sh(name, f"journalctl -q --sync; journalctl -q -a -o short -u {lab.hosts[name].unit}")
    lines = [line for line in log.splitlines() if "authenticated" in line and f"token:{fp6}" in line]
    return len({re.search(r"\[(\d+)\]:", line)[1] for line in lines})  # type: ignore[index]  # each has its pid


def test_plan_shows_every_host_and_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    before = truth(lab)
    answer = fab("plan", "--fleet", lab.name, "--json", state=tmp_path)
    assert answer.code == 0, answer.err
    assert [host["proofs"]["new"] for host in answer.hosts.values()] == [200] * 6
    assert truth(lab) == before


def test_a_part_of_the_fleet_is_turned_and_the_rest_owes(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab)
    old = truth(lab)["queen"].token
    answer = fab("rotate", "--fleet", lab.name, "--exclude", "hive[4:5]", "--yes", "--json", state=tmp_path)
    assert answer.code == 4
    states = {name: host["state"] for name, host in answer.hosts.items()}
    assert states == dict.fromkeys(("queen", *HIVES[:3]), "proven") | dict.fromkeys(HIVES[3:], "owes")
    found = truth(lab)
    assert [found[name].token == old for name in lab.hosts] == [False] * 4 + [True] * 2

    again = fab("rotate", "--fleet", lab.name, "--yes", "--json", state=tmp_path)
    assert again.code == 0, again.err
    assert serves(lab, truth(lab)["queen"].token, refused=old)


def test_a_token_of_the_operators_own_is_taken(lab: Lab, tmp_path: Path, new_token: str) -> None:
    write_policy(lab)
    words = ("rotate", "--fleet", lab.name, "--yes", "--token-file")
    assert fab(*words, str(tmp_path / "token"), state=tmp_path).code == 0
    assert serves(lab, new_token)
    refused = fab(*words, str(tmp_path / "token"), state=tmp_path)
    assert refused.code == 2
    assert "already has" in refused.err
    assert "hint:" in refused.err
    assert serves(lab, new_token)


def test_a_timer_rotates_only_what_is_old_enough(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab)
    words = ("rotate", "--fleet", lab.name, "--yes", "--if-older-than", "90d")
    was = truth(lab)
    young = fab(*words, state=tmp_path)
    assert young.code == 0
    assert "not due" in young.out + young.err
    assert truth(lab) == was
    assert fab("history", "--fleet", lab.name, "--json", state=tmp_path).document["runs"] == []

    lab.sh("hive3", "touch -d '91 days ago' /etc/llama-orch/secrets/api-token")
    assert fab(*words, state=tmp_path).code == 0
    assert serves(lab, truth(lab)["queen"].token, refused=was["queen"].token)


def test_all_three_releases_at_once(fleet: Lab) -> None:
    first = rotate(fleet_of(fleet))
    assert first.code == 0, first.troubles
    assert first.states == all_but(fleet, State.PROVEN)
    assert serves(fleet, first.token.reveal(), refused=FIRST_TOKEN)
    loaded = {name: seen.loaded.evidence for name, host in first.run.hosts.items() if (seen := host.seen)}
    assert loaded == {"queen": "credential", "hive1": "younger", "hive2": "credential", "hive3": "credential"}
    # The other tests of this fleet know its first token.
    assert rotate(fleet_of(fleet), token=Token(FIRST_TOKEN)).code == 0
    assert serves(fleet, FIRST_TOKEN, refused=first.token.reveal())
    for name in fleet.hosts:
        fleet.sh(name, "rm -rf /var/lib/hivekeys")


def test_nobody_is_left_behind_on_a_host(lab: Lab) -> None:
    assert rotate(fleet_of(lab)).code == 0
    for name in lab.hosts:
        # An agent that has heard the end of its line still needs a moment to end.
        leave = 'while pgrep -u root -f "[s]ys.stdin.buffer"; do sleep 0.1; done'
        assert lab.run(name, ["timeout", "60", "sh", "-c", leave], timeout=90).returncode == 0
        assert status(lab.hosts[name], None) == 401


def test_systemds_limit_of_starts_does_not_fail_a_restart_that_was_asked_for(lab: Lab) -> None:
    restarts = "systemctl reset-failed queen-rbee; for i in 1 2 3 4 5; do systemctl restart queen-rbee; done"
    rotation = rotate(fleet_of(lab), before(Phase.QUEEN, lambda: lab.sh("queen", restarts), "queen"))
    assert rotation.code == 0, rotation.troubles
    assert "Start request repeated too quickly" in log_of(lab, "queen", "-u queen-rbee")
