"""What takes a leaked token besides the services themselves, on real hosts: workers that outlive a restart, a second
hive, and a token that comes from somewhere else than its file.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab
from hivekeys.lab.files import SECRETS

from .asking import eventually, status
from .rotating import Answer, truth_of
from .surviving import Bastion, small_fleet, whole_again, write_inventory
from .workers import DROP_IN, SECOND_PORT, WORKER_PORT, takes, with_worker, without_worker

pytestmark = pytest.mark.lab
REVOKED = ("--yes", "--reason", "token in a public paste", "--attempts", "1", "--json")


@pytest.fixture(scope="module")
def booted() -> Iterator[Lab]:
    with small_fleet("sv") as lab:
        write_inventory(lab, canary=0, stable_seconds=0, revocation_recheck=0)
        yield lab


@pytest.fixture
def lab(booted: Lab) -> Iterator[Lab]:
    yield booted
    for name in ("hive1", "hive2", "hive3"):
        without_worker(booted, name)
        booted.sh(name, f"pkill -KILL -f '[p]ort {SECOND_PORT}' || true; systemctl restart rbee-hive")
    whole_again(booted)


def causes(answer: Answer) -> dict[str, str]:
    return {name: host["cause"]["trouble"] for name, host in answer.hosts.items() if host["cause"]}


def test_a_worker_that_outlives_its_hive_is_found_ended_and_then_every_place_refuses(lab: Lab, tmp_path: Path) -> None:
    bastion, old = Bastion(lab, tmp_path), truth_of(lab, "hive1").token
    with_worker(lab, "hive1")
    answer = bastion.fab("revoke", *REVOKED)
    assert (answer.code, causes(answer)) == (4, {"hive1": "survivor"}), answer.err
    assert takes(lab, "hive1", WORKER_PORT, old), "it is as the run says"
    detail = answer.hosts["hive1"]["cause"]["detail"]
    assert "port 8090) accepts the old token" in detail, detail
    assert "hive1" in answer.document["exposure"]["open"]
    checked = bastion.fab("verify", "--dead-token", "--checks", "kill-mode,survivors,dead-token", "--json")
    failed = {(one["check"], one["host"]) for one in checked.document["findings"] if one["verdict"] == "fail"}
    assert failed == {(check, "hive1") for check in ("kill-mode", "survivors", "dead-token")}, checked.out

    answer = bastion.fab("reconcile", "--end-survivors", "--json")
    assert answer.code == 0, answer.err + answer.out
    assert not takes(lab, "hive1", WORKER_PORT, old)
    assert status(lab.hosts["hive1"], old) == 401
    assert answer.document["exposure"]["open"] == []


def test_a_second_hive_and_a_token_from_elsewhere_are_named_before_anything_is_said_to_refuse(
    lab: Lab, tmp_path: Path
) -> None:
    """The queen starts one over SSH, outside systemd; and a hive's unit sets the variable, so no file would help it."""
    bastion, old = Bastion(lab, tmp_path), truth_of(lab, "hive2").token
    second = f"LLORCH_API_TOKEN_FILE={SECRETS}/api-token nohup /usr/local/bin/rbee-hive --port {SECOND_PORT}"
    lab.sh("hive2", f"setsid runuser -u llama-orch -- sh -c '{second} >/dev/null 2>&1 &'")
    assert eventually(lambda: takes(lab, "hive2", SECOND_PORT, old))
    lab.sh("hive3", f"mkdir -p $(dirname {DROP_IN}); umask 077; echo LLORCH_API_TOKEN={old} >/etc/llama.env")
    lab.write("hive3", DROP_IN, "[Service]\nEnvironmentFile=/etc/llama.env\n")
    lab.sh("hive3", "systemctl daemon-reload; systemctl restart rbee-hive")
    assert eventually(lambda: status(lab.hosts["hive3"], old) == 200)
    before = truth_of(lab, "hive3")

    answer = bastion.fab("revoke", *REVOKED)
    assert answer.code == 4, answer.err
    assert causes(answer) == {"hive2": "survivor", "hive3": "token-in-environment"}
    assert f"port {SECOND_PORT}) accepts the old token" in answer.hosts["hive2"]["cause"]["detail"]
    assert "/etc/llama.env" in answer.hosts["hive3"]["cause"]["detail"]
    assert truth_of(lab, "hive3") == before, "nothing was touched there"

    lab.sh("hive2", f"pkill -KILL -f '[p]ort {SECOND_PORT}'")
    lab.sh("hive3", f"rm {DROP_IN} /etc/llama.env; systemctl daemon-reload; systemctl restart rbee-hive")
    answer = bastion.fab("reconcile", "--json")
    assert answer.code == 0, answer.err
    assert not takes(lab, "hive2", SECOND_PORT, old)
    assert status(lab.hosts["hive3"], old) == 401
