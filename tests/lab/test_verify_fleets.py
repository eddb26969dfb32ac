"""`fab verify` on fleets that are not as the lab sets them up: by the guide's own hand, on other releases, two at once.

The commands are guide.md's. The image has no openssl and no uuidgen: two shell functions print what those would. A
host gets the token by the same hand that has to bring it to every host; the guide does not say how.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab, down, up
from hivekeys.lab.files import AUDIT, SECRETS

from .asking import ACTIVE, eventually, status
from .rotating import INVENTORY, Answer, fab

pytestmark = pytest.mark.lab

# What `openssl rand -hex 32` and `uuidgen` print.
PROGRAMS = """\
umask 022
openssl() { head -c "$3" /dev/urandom | od -An -v -tx1 | tr -d ' \\n'; echo; }
uuidgen() { cat /proc/sys/kernel/random/uuid; }
"""
BARE = f"""\
systemctl stop {{unit}}
rm -rf {SECRETS} {AUDIT} /etc/systemd/system/{{unit}}.service /tmp/api-token*
chown root: /etc/llama-orch
"""
INSTALL = """\
sudo mkdir -p /etc/llama-orch/secrets
sudo mv /tmp/api-token /etc/llama-orch/secrets/api-token
sudo chown llama-orch:llama-orch /etc/llama-orch/secrets/api-token
sudo chmod 600 /etc/llama-orch/secrets/api-token
"""
UNIT = """\
cat >/etc/systemd/system/{unit}.service <<'END'
[Unit]
Description=rbee Orchestrator Daemon
After=network.target

[Service]
Type=simple
User=llama-orch
Group=llama-orch
ExecStart=/usr/local/bin/{unit} --port {port}

# Load credentials securely
LoadCredential=api-token:/etc/llama-orch/secrets/api-token
Environment="LLORCH_API_TOKEN_FILE=%d/api-token"

# Security hardening
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=strict
ProtectHome=true

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable -q {unit}
systemctl restart {unit}
"""
ROTATE_QUEEN = """\
openssl rand -hex 32 > /tmp/api-token-new
chmod 600 /tmp/api-token-new
sudo cp /tmp/api-token-new /etc/llama-orch/secrets/api-token-new
sudo chown llama-orch:llama-orch /etc/llama-orch/secrets/api-token-new
sudo chmod 600 /etc/llama-orch/secrets/api-token-new
sudo systemctl restart queen-rbee
"""
ROTATE_HIVE = """\
sudo cp /tmp/api-token-new /etc/llama-orch/secrets/api-token
sudo systemctl restart rbee-hive
"""
# A guide's host has no audit trail, and its token directory is as `mkdir -p` made it.
FAILS = {"directory-mode", "audit"}
UNTOLD = {"audit-fresh", "audit-chain", "audit-watch", "debts"}


def install(lab: Lab, make: str) -> str:
    """Both hosts from nothing, with a token that this command line makes on the queen."""
    for name, host in lab.hosts.items():
        lab.sh(name, BARE.format(unit=host.unit))
    lab.sh("queen", PROGRAMS + make)
    token = lab.read("queen", "/tmp/api-token")  # noqa: S108  where the guide puts it
    lab.write("hive1", "/tmp/api-token", token)  # noqa: S108
    for name, host in lab.hosts.items():
        lab.sh(name, PROGRAMS + INSTALL + UNIT.format(unit=host.unit, port=host.port))
        assert eventually(lambda: status(host, token.strip()) == 200)  # noqa: B023  called at once
    return token.strip()


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """A queen and one hive."""
    name = f"lab-guide{os.getpid()}"
    try:
        yield up(name, hives=1, inventory_dir=INVENTORY)
    finally:
        down(name, inventory_dir=INVENTORY)


def judged(lab: Lab, state: Path) -> tuple[Answer, dict[str, dict[str, set[str]]]]:
    """{verdict: {host: its checks}}."""
    answer = fab("verify", "--fleet", lab.name, "--json", state=state)
    found: dict[str, dict[str, set[str]]] = {}
    for one in answer.document["findings"]:
        found.setdefault(one["verdict"], {}).setdefault(one["host"], set()).add(one["check"])
    return answer, found


def test_a_fleet_from_the_guides_own_commands_is_judged_check_by_check(pair: Lab, tmp_path: Path) -> None:
    token = install(pair, "openssl rand -hex 32 > /tmp/api-token")
    answer, found = judged(pair, tmp_path)
    assert answer.code == 6
    assert found["fail"] == {"queen": FAILS, "hive1": FAILS}
    assert found["can't tell"] == {"queen": UNTOLD, "hive1": UNTOLD}
    assert "warn" not in found
    assert token not in answer.out


def test_the_guides_other_way_to_a_token_makes_one_that_is_too_short(pair: Lab, tmp_path: Path) -> None:
    install(pair, "uuidgen | tr -d '-' > /tmp/api-token")
    _, found = judged(pair, tmp_path)
    assert found["fail"] == {"queen": FAILS | {"token-length"}, "hive1": FAILS | {"token-length"}}


def test_what_the_guides_rolling_update_leaves_behind_is_found(pair: Lab, tmp_path: Path) -> None:
    """The queen never reads the new file; the hive has it, by hand, and they cannot talk any more."""
    install(pair, "openssl rand -hex 32 > /tmp/api-token")
    pair.sh("queen", PROGRAMS + ROTATE_QUEEN)
    new = pair.read("queen", "/tmp/api-token-new")  # noqa: S108
    pair.write("hive1", "/tmp/api-token-new", new)  # noqa: S108
    pair.sh("hive1", PROGRAMS + ROTATE_HIVE)
    for name, token in (("queen", pair.read("queen", ACTIVE)), ("hive1", new)):
        assert eventually(lambda: status(pair.hosts[name], token.strip()) == 200)  # noqa: B023  called at once
    answer, found = judged(pair, tmp_path)
    assert found["fail"] == {"queen": FAILS | {"strays"}, "hive1": FAILS | {"strays", "same-token"}}
    assert new.strip() not in answer.out


@pytest.fixture(scope="module")
def releases() -> Iterator[Lab]:
    """A queen on bookworm, hives on bullseye (systemd 247: no credentials) and trixie."""
    name = f"lab-releases{os.getpid()}"
    try:
        yield up(name, hives=2, releases=("bookworm", "bullseye", "trixie"), inventory_dir=INVENTORY)
    finally:
        down(name, inventory_dir=INVENTORY)


def test_every_release_of_the_lab_passes(releases: Lab, tmp_path: Path) -> None:
    answer, found = judged(releases, tmp_path)
    assert answer.code == 0, answer.out
    assert "fail" not in found
    assert "warn" not in found
    assert found["can't tell"] == {name: {"audit-watch", "debts"} for name in releases.hosts}


def shared(lab: Lab, other: Lab, state: Path) -> Answer:
    words = ("--against", other.name, "--checks", "shared-token", "--json")
    return fab("verify", "--fleet", lab.name, *words, state=state)


def told(answer: Answer) -> dict[str, tuple[str, str]]:
    return {one["host"]: (one["verdict"], one["detail"]) for one in answer.document["findings"]}


def test_fleets_with_tokens_of_their_own_share_none_and_nothing_is_written(
    releases: Lab, pair: Lab, tmp_path: Path
) -> None:
    install(pair, "openssl rand -hex 32 > /tmp/api-token")
    for lab in (pair, releases):
        for name in lab.hosts:
            lab.sh(name, "rm -rf /var/lib/hivekeys")
    answer = shared(pair, releases, tmp_path)
    assert answer.code == 0
    assert told(answer) == dict.fromkeys(pair.hosts, ("pass", ""))
    for lab in (pair, releases):
        for name in lab.hosts:
            assert lab.sh(name, "ls /var/lib").split().count("hivekeys") == 0


def test_a_token_that_another_fleet_has_in_any_slot_is_found(releases: Lab, pair: Lab, tmp_path: Path) -> None:
    token = install(pair, "openssl rand -hex 32 > /tmp/api-token")
    releases.write("hive2", f"{ACTIVE}.backup", token, mode=0o600, owner="llama-orch:llama-orch")
    try:
        answer = shared(pair, releases, tmp_path)
    finally:
        releases.sh("hive2", f"rm {ACTIVE}.backup")
    assert answer.code == 6
    assert told(answer) == dict.fromkeys(pair.hosts, ("fail", f"fleet {releases.name} has it on hive2"))
    assert token not in answer.out + answer.err


def test_a_host_of_the_other_fleet_that_cannot_be_asked_leaves_it_open(
    releases: Lab, pair: Lab, tmp_path: Path
) -> None:
    """One of them says that it belongs to a third fleet."""
    install(pair, "openssl rand -hex 32 > /tmp/api-token")
    releases.sh("hive1", "install -d -m 700 /var/lib/hivekeys; echo another >/var/lib/hivekeys/fleet")
    try:
        answer = shared(pair, releases, tmp_path)
    finally:
        releases.sh("hive1", "rm -r /var/lib/hivekeys")
    assert answer.code == 4
    assert {verdict for verdict, _ in told(answer).values()} == {"can't tell"}
    assert f"fleet {releases.name} could not be asked on hive1 (wrong-fleet" in told(answer)["queen"][1]
