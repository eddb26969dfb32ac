"""`fab install` and `fab uninstall` on real hosts that have the services' binaries and bare units, and nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab, down, up
from hivekeys.lab.files import AUDIT, SECRETS

from .asking import ACTIVE, status
from .rotating import INVENTORY, Answer, fab, truth_of, write_policy

pytestmark = pytest.mark.lab
# What a host is before anybody has set it up. A drop-in of the operator's gives the service a token by hand.
BARE = f"""\
systemctl disable -q --now {{unit}}
rm -rf {SECRETS} /var/log/llama-orch /var/lib/hivekeys /etc/systemd/system/{{unit}}.service.d
userdel llama-orch 2>/dev/null || true
groupdel llama-orch 2>/dev/null || true
unit=/etc/systemd/system/{{unit}}.service
sed -i '/^LoadCredential/d; /^Environment/d; /^NoNew/d; /^Private/d; /^Protect/d; /^ReadWrite/d' $unit
mkdir -p $unit.d
printf '[Service]\\nEnvironment=A=1 LLORCH_API_TOKEN=by-hand "B=b c"\\n' >$unit.d/token.conf
chown -R root:root /etc/llama-orch
systemctl daemon-reload
"""
LISTING = (
    "find /etc /var/lib /var/log /home -xdev -type f -o -type d | sort | grep -v journal; getent passwd; getent group"
)
CONTENTS = "; find /etc /usr/local -xdev -type f | sort | xargs -d '\\n' sha256sum"


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """A queen with credentials, and a hive whose systemd has none."""
    name = f"lab-bare{os.getpid()}"
    try:
        yield up(name, hives=1, releases=("bookworm", "bullseye"), inventory_dir=INVENTORY)
    finally:
        down(name, inventory_dir=INVENTORY)


@pytest.fixture
def lab(pair: Lab) -> Lab:
    for name, host in pair.hosts.items():
        pair.sh(name, BARE.format(unit=host.unit))
    return pair


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def install(lab: Lab, state: Path, *words: str) -> Answer:
    answer = fab("install", "--fleet", lab.name, "--json", *words, state=state)
    assert answer.out, answer.err
    return answer


def parts(answer: Answer, host: str) -> list[str]:
    return [change["part"] for change in answer.hosts[host]["changes"]]


def verified(lab: Lab, state: Path) -> dict[str, list[str]]:
    """The checks that did not pass, with their hosts; but for what no container can tell, nor a new fleet."""
    skipped = "audit-watch,debts"
    findings = fab("verify", "--fleet", lab.name, "--json", "--skip", skipped, state=state).document["findings"]
    found: dict[str, list[str]] = {}
    for one in findings:
        if one["verdict"] != "pass":
            found.setdefault(one["check"], []).append(one["host"])
    return found


def test_a_new_fleet_is_set_up_verified_and_set_up_again_without_a_change(lab: Lab, state: Path) -> None:
    answer = install(lab, state, "--create-account", "--harden")
    assert answer.code == 0, answer.err
    everything = [
        "account",
        "account",
        "directory",
        "token",
        "audit",
        "audit",
        "unit",
        "enabled",
        "fleet",
        "environment",
    ]
    assert {name: parts(answer, name) for name in lab.hosts} == dict.fromkeys(lab.hosts, everything)
    assert all(host["proven"] for host in answer.hosts.values())
    assert verified(lab, state) == {}
    assert fab("verify", "--fleet", lab.name, state=state).code == 0
    environment = "systemctl show -p Environment --value rbee-hive"
    assert 'A=1 "B=b c"' in lab.sh("hive1", environment)
    started = {name: truth_of(lab, name).started for name in lab.hosts}
    again = install(lab, state, "--create-account", "--harden")
    assert (again.code, parts(again, "queen"), parts(again, "hive1")) == (0, [], [])
    assert {name: truth_of(lab, name).started for name in lab.hosts} == started


def test_a_hive_that_joins_gets_the_fleets_token_and_no_other_host_is_touched(lab: Lab, state: Path) -> None:
    install(lab, state, "--create-account", "--plain-file", "--limit", "queen")
    queen = truth_of(lab, "queen")
    answer = install(lab, state, "--create-account", "--limit", "hive1")
    assert answer.code == 0, answer.err
    assert truth_of(lab, "hive1").token == queen.token
    assert truth_of(lab, "queen") == queen
    assert status(lab.hosts["hive1"], queen.token) == 200
    assert verified(lab, state) == {"credential": ["queen"], "hardening": ["queen", "hive1"]}  # nobody asked for them


def test_a_hive_that_was_imaged_anew_refuses_the_token_that_leaked_before(
    lab: Lab, state: Path, tmp_path: Path
) -> None:
    """A bastion that knows nothing of the revocation, and has the leaked token from somewhere, comes to it first."""
    write_policy(lab)
    install(lab, state, "--create-account")
    leaked = tmp_path / "leaked"
    leaked.touch(mode=0o600)
    leaked.write_text(truth_of(lab, "queen").token or "")
    fleet = ("--fleet", lab.name)
    assert fab("revoke", *fleet, "--reason", "a paste", "--yes", "--json", state=state).code == 0
    lab.sh("hive1", BARE.format(unit=lab.hosts["hive1"].unit))
    answer = install(lab, state, "--create-account", "--limit", "hive1")
    assert (answer.code, parts(answer, "hive1")[0]) == (0, "tombstones"), answer.err
    there = fab("rotate", *fleet, "--yes", "--json", "--token-file", str(leaked), state=tmp_path / "elsewhere")
    assert {name: host["cause"]["trouble"] for name, host in there.hosts.items()} == {
        "queen": "revoked",
        "hive1": "revoked",
    }


def test_a_dry_run_says_it_all_and_changes_nothing(lab: Lab, state: Path) -> None:
    before = lab.sh("hive1", LISTING + CONTENTS)
    answer = install(lab, state, "--dry-run", "--create-account")
    assert answer.code == 6
    assert parts(answer, "hive1")[:4] == ["account", "account", "directory", "token"]
    assert lab.sh("hive1", LISTING + CONTENTS) == before


def test_an_account_is_not_created_unasked(lab: Lab, state: Path) -> None:
    before = lab.sh("hive1", LISTING)
    answer = install(lab, state)
    assert answer.code == 4
    assert answer.hosts["hive1"]["cause"]["trouble"] == "account-missing"
    assert lab.sh("hive1", LISTING).replace("/var/lib/hivekeys\n/var/lib/hivekeys/lock\n", "") == before


def test_a_unit_that_systemd_would_not_take_is_left_as_it_was(lab: Lab, state: Path) -> None:
    lab.sh("hive1", "mv /usr/local/bin/rbee-hive /usr/local/bin/elsewhere")
    try:
        answer = install(lab, state, "--create-account")
    finally:
        lab.sh("hive1", "mv /usr/local/bin/elsewhere /usr/local/bin/rbee-hive")
    assert answer.code == 4
    assert answer.hosts["queen"]["ok"]
    assert answer.hosts["hive1"]["cause"]["trouble"] == "systemctl-failed"
    assert "rbee-hive" in answer.hosts["hive1"]["cause"]["detail"]
    assert lab.sh("hive1", "ls /etc/systemd/system/rbee-hive.service.d").split() == ["token.conf"]


def test_a_token_that_is_not_the_fleets_is_not_overwritten(lab: Lab, state: Path) -> None:
    install(lab, state, "--create-account")
    other = "9b" * 32
    lab.sh("hive1", f"umask 077; echo {other} >{ACTIVE}; chown llama-orch:llama-orch {ACTIVE}")
    answer = fab("install", "--fleet", lab.name, state=state)
    assert (answer.code, answer.out) == (2, "")
    assert "2 different tokens" in answer.err
    assert truth_of(lab, "hive1").token == other


def test_what_is_no_token_file_is_left_alone(lab: Lab, state: Path) -> None:
    """A link to a file of root's, and a pipe that nobody writes to, where the token should be."""
    for name, make in (("queen", f"ln -s /etc/shadow {ACTIVE}"), ("hive1", f"mkfifo {ACTIVE}")):
        lab.sh(name, f"install -d -m 700 {SECRETS}; {make}")
    look = f"stat -Lc '%F %a %U' {ACTIVE} /etc/shadow; systemctl is-active queen-rbee rbee-hive || true"
    before = {name: lab.sh(name, look) for name in lab.hosts}
    answer = install(lab, state, "--create-account")
    assert answer.code == 4
    assert {host["cause"]["trouble"] for host in answer.hosts.values()} == {"slot-changed"}
    assert {name: lab.sh(name, look) for name in lab.hosts} == before


def test_what_install_put_there_goes_again_and_nothing_else(lab: Lab, state: Path) -> None:
    before = lab.sh("hive1", LISTING)
    install(lab, state, "--create-account", "--harden")
    lab.sh("hive1", f"systemctl stop rbee-hive; find {AUDIT} -type f -delete")
    answer = fab("uninstall", "--fleet", lab.name, "--limit", "hive1", "--yes", "--json", state=state)
    assert answer.code == 0, answer.out
    assert lab.sh("hive1", LISTING) == before
    assert status(lab.hosts["hive1"], None) == 0  # it would serve everybody without a token
    assert status(lab.hosts["queen"], truth_of(lab, "queen").token) == 200


def test_records_and_their_owner_outlive_the_service(lab: Lab, state: Path) -> None:
    install(lab, state, "--create-account")
    answer = fab("uninstall", "--fleet", lab.name, "--limit", "hive1", "--yes", "--json", state=state)
    assert answer.code == 6
    kept = [change["path"] for change in answer.hosts["hive1"]["changes"] if change["refused"]]
    assert kept == [AUDIT, "/var/log/llama-orch", "llama-orch", "llama-orch"]
    assert lab.sh("hive1", f"ls {AUDIT}")


def test_uninstall_asks_and_nobody_there_is_a_no(lab: Lab, state: Path) -> None:
    answer = fab("uninstall", "--fleet", lab.name, state=state)
    assert (answer.code, answer.out) == (2, "")
    assert "--yes" in answer.err
