"""A token leaked, and somebody is in the fleet who wants to keep it alive: revocations of real hosts against him."""

import contextlib
import hashlib
import hmac
import json
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab
from hivekeys.lab.files import SECRETS
from hivekeys.protocol.verbs import Greeting, ProbeWrite
from hivekeys.ssh.dialer import SshDialer
from hivekeys.ssh.session import Session

from .asking import log_of, status
from .liar import Lie, is_honest, tells
from .rotating import AGENT, Answer, fleet_of, serves, start_fab, truth, truth_of
from .surviving import Bastion, agents_left, write_inventory
from .thief import Thief
from .whole import whole_at_once
from .workers import WORKER_PORT, takes, with_worker, without_worker

pytestmark = pytest.mark.lab
LEAKED = ("--yes", "--reason", "token in a public paste", "--json")
STATE = "/var/lib/hivekeys"


@pytest.fixture(scope="module")
def booted(five_hives: Lab) -> Iterator[Lab]:
    was = five_hives.inventory.read_text()
    write_inventory(five_hives, canary=0, stable_seconds=0, revocation_recheck=0)
    yield five_hives
    five_hives.inventory.write_text(was)


@pytest.fixture
def lab(booted: Lab) -> Iterator[Lab]:
    yield booted
    agents_left(booted)
    whole_at_once(booted)


@pytest.fixture
def bastion(lab: Lab, tmp_path: Path) -> Bastion:
    return Bastion(lab, tmp_path / "state")


def secret(folder: Path, token: str) -> str:
    """A file with the token that only its owner reads."""
    path = folder / "leaked"
    path.touch(0o600)
    path.write_text(f"{token}\n")
    return str(path)


def causes(answer: Answer) -> dict[str, str]:
    return {name: host["cause"]["trouble"] for name, host in answer.hosts.items() if host["cause"]}


# -- all of it at once


@pytest.fixture
def ill(lab: Lab) -> Iterator[Lab]:
    """A worker of hive1's that outlives a restart has the token; and hive2 lies."""
    with_worker(lab, "hive1")
    tells(lab, "hive2", Lie("probe_write", "superseded"))
    yield lab
    without_worker(lab, "hive1")
    lab.sh("hive1", "systemctl restart rbee-hive")
    is_honest(lab, "hive2")


def logins(lab: Lab, name: str) -> int:
    return log_of(lab, name).count("Accepted publickey")


def killed_when_the_queen_has_turned(bastion: Bastion) -> None:
    """A revocation whose bastion dies then: every host has its token, staged."""
    run = start_fab("revoke", "--fleet", bastion.lab.name, *LEAKED[:3], "--events", "--quiet", state=bastion.home)
    with run:
        assert run.stdout
        events = map(json.loads, run.stdout)
        assert any((event["type"], event.get("phase")) == ("host-answered", "queen") for event in events)
        run.send_signal(signal.SIGKILL)
        list(events)


def test_a_liar_a_survivor_and_a_host_cut_out_half_way_are_named_and_all_others_refuse(
    ill: Lab, bastion: Bastion
) -> None:
    lab, left = ill, ("queen", "hive4", "hive5")
    old = truth_of(lab, "queen").token
    with Thief(lab, old) as thief:
        assert thief.is_in(*lab.hosts)
        killed_when_the_queen_has_turned(bastion)
        first, met = lab.read("hive3", f"{SECRETS}/api-token.new").strip(), logins(lab, "hive3")
        began = time.monotonic()
        answer = bastion.fab("revoke", *LEAKED, "--without", "hive3", "--attempts", "2")
        took = time.monotonic() - began
        assert answer.code == 4, answer.err
        states = {name: host["state"] for name, host in answer.hosts.items()}
        named = {"hive1": "failed", "hive2": "failed", "hive3": "excluded"}
        assert states == dict.fromkeys(left, "proven") | named, answer.err
        assert {name: causes(answer).get(name) for name in named} == {
            "hive1": "survivor",
            "hive2": "superseded",
            "hive3": None,
        }
        assert set(answer.document["exposure"]["open"]) == set(named)
        assert took < 60
        assert thief.is_out(*left)
    assert thief.again.isdisjoint(left)
    new = truth_of(lab, "queen").token
    assert new not in (old, first)
    assert serves(lab, new, refused=old, but=tuple(named))
    assert {status(lab.hosts[name], first) for name in left} == {401}
    assert takes(lab, "hive1", WORKER_PORT, old), "as was said"

    is_honest(lab, "hive2")
    answer = bastion.fab("reconcile", "--end-survivors", "--json")
    assert answer.code == 4, answer.err
    assert {name: host["state"] for name, host in answer.hosts.items()} == dict.fromkeys(lab.hosts, "proven") | {
        "hive3": "excluded"
    }
    assert serves(lab, new, refused=old, but=("hive3",))
    assert not takes(lab, "hive1", WORKER_PORT, old)
    assert new not in lab.sh("hive3", f"cat {SECRETS}/*").split()
    assert logins(lab, "hive3") == met, "nobody has contacted it"


# -- a thief's session on the queen


@contextlib.contextmanager
def holding(lab: Lab, name: str) -> Iterator[int]:
    """A session of the login, held open with the host's lock; yields its process on the host."""
    fleet = fleet_of(lab)
    host = next(host for host in fleet.hosts if host.name == name)
    dialer = SshDialer(fleet, AGENT)
    greeting = Greeting(fleet.name, secrets.token_bytes(32), "x-1", "somebody@elsewhere", write=True, claim=False)
    session = Session(host, dialer, fleet.policy, greeting)
    assert session.open() is None
    reply = session.ask((ProbeWrite(),))
    assert getattr(reply, "cause", reply) is None
    yield json.loads(lab.read(name, f"{STATE}/lock"))["pid"]
    session.close()
    dialer.close()


def test_a_session_that_a_thief_holds_open_on_the_queen_is_named_and_with_take_over_ended(
    lab: Lab, bastion: Bastion
) -> None:
    was = truth(lab)
    with holding(lab, "queen") as pid:
        answer = bastion.fab("revoke", *LEAKED)
        assert answer.code == 5, answer.err
        assert f"pid {pid} on the host, login deploy" in answer.hosts["queen"]["cause"]["detail"]
        assert truth(lab) == was
        answer = bastion.fab("revoke", *LEAKED, "--take-over")
        assert answer.code == 0, answer.err
        assert lab.run("queen", ["test", "-d", f"/proc/{pid}"]).returncode == 1
    assert serves(lab, truth_of(lab, "queen").token, refused=was["queen"].token)


# -- hosts that cannot be written to, or remember too much, or nothing

FULL = f"""\
mkdir -p {STATE}
mount -t tmpfs -o size=4k,mode=700 tmpfs {STATE}
head -c 4096 /dev/zero >{STATE}/filler
"""


def test_a_host_whose_disk_is_full_is_fenced_without_its_lock(lab: Lab, bastion: Bastion) -> None:
    old = truth_of(lab, "queen").token
    lab.sh("hive2", FULL)
    try:
        answer = bastion.fab("revoke", *LEAKED, "--attempts", "1", "--fence")
        assert (answer.code, answer.hosts["hive2"]["state"]) == (4, "fenced"), answer.err
        assert causes(answer) == {"hive2": "write-failed"}
        assert status(lab.hosts["hive2"], old) == 0
        assert lab.run("hive2", ["systemctl", "is-active", "rbee-hive"]).stdout.strip() == "inactive"
        assert serves(lab, truth_of(lab, "queen").token, refused=old, but=("hive2",))
    finally:
        lab.sh("hive2", f"umount {STATE}")


def test_a_token_whose_files_are_gone_is_condemned_though_nobody_can_be_asked_with_it(
    lab: Lab, bastion: Bastion, tmp_path: Path
) -> None:
    """The services run on it, and one run of the journal brought it. Before: "asked twice", and it could come back."""
    assert bastion.fab("rotate", "--yes").code == 0
    old = truth_of(lab, "queen").token
    for name in lab.hosts:
        lab.sh(name, f"rm {SECRETS}/api-token")
        assert status(lab.hosts[name], old) == 200
    answer = bastion.fab("revoke", *LEAKED, "--attempts", "1")
    assert answer.code == 4, answer.err
    assert {host["state"] for host in answer.hosts.values()} == {"healthy"}
    told = bastion.fab("report").out
    assert "NOT OVER" in told and "no copy of the old token is left to try" in told, told
    new = truth_of(lab, "queen").token
    assert {status(host, new) for host in lab.hosts.values()} == {200}
    words = ("rotate", "--yes", "--token-file", secret(tmp_path, old))
    answer = bastion.fab(*words)
    assert (answer.code, "was revoked by run" in answer.err) == (2, True), answer.err
    assert Bastion(lab, tmp_path / "another").fab(*words).code == 3, "the hosts remember it, too"

    answer = bastion.fab("revoke", *LEAKED, "--token-file", secret(tmp_path, old))
    assert answer.code == 0, answer.err
    assert serves(lab, truth_of(lab, "queen").token, refused=old)


def stone(token: str) -> dict[str, str]:
    """A tombstone as hosts keep it."""
    salt = secrets.token_bytes(16)
    return {
        "salt": salt.hex(),
        "digest": hmac.new(salt, token.encode(), hashlib.sha256).hexdigest(),
        "run": "old-fleet-0123abcd",
    }


def test_many_tombstones_are_obeyed_and_added_to_and_too_many_are_a_refusal(
    lab: Lab, bastion: Bastion, tmp_path: Path
) -> None:
    """429 of them were more than 64 KiB, which read as none; and the next revocation wrote over them."""
    old, leaked = truth_of(lab, "queen").token, secrets.token_hex(32)
    many = [*(stone(secrets.token_hex(32)) for _ in range(428)), stone(leaked)]
    too_many = json.dumps(many * 20)
    assert len(json.dumps(many)) > 1 << 16 and len(too_many) > 1 << 20
    for name in lab.hosts:
        lab.sh(name, f"mkdir -pm 700 {STATE}")
        lab.write(name, f"{STATE}/tombstones", too_many if name == "hive3" else json.dumps(many))
    answer = bastion.fab("rotate", "--yes", "--json", "--token-file", secret(tmp_path, leaked))
    assert (answer.code, causes(answer)) == (3, {"hive3": "record-unsound"}), answer.err

    answer = bastion.fab("revoke", *LEAKED, "--attempts", "1")
    assert (answer.code, causes(answer)) == (4, {"hive3": "record-unsound"}), answer.err
    others = [name for name in lab.hosts if name != "hive3"]
    assert {len(json.loads(lab.read(name, f"{STATE}/tombstones"))) for name in others} == {430}
    assert lab.read("hive3", f"{STATE}/tombstones") == too_many, "nothing is written over what cannot be read"
    assert serves(lab, truth_of(lab, "queen").token, refused=old, but=("hive3",))
