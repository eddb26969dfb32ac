"""Every fault on every release: it disturbs nothing that runs, the next step meets it, and mend undoes it."""

import hashlib
import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from hivekeys.lab import Host, Lab
from hivekeys.lab.faults import FAULTS, in_force, inject, mend
from hivekeys.lab.files import SECRETS

from .asking import ACTIVE, FIRST_TOKEN, HIVES, ask, eventually, log_of, put_token, restart, ssh, status

pytestmark = pytest.mark.lab
NEW = "d0" * 32
WORKER_PORT = 8082  # the first that is free from 8081 on, which the hive has
STATE = f"stat -c '%a %U' {SECRETS}; stat -c '%n %a %U' {SECRETS}/*; md5sum {SECRETS}/*"


@pytest.fixture(autouse=True)
def first_token_again(fleet: Lab) -> Iterator[None]:
    """However a test ends, the next one finds the fleet as it was booted."""
    yield

    def again(name: str) -> None:
        if mend(fleet, name) or fleet.read(name, ACTIVE).strip() != FIRST_TOKEN:
            put_token(fleet, name, FIRST_TOKEN)
            restart(fleet, name)
            assert eventually(partial(accepts, fleet.hosts[name], FIRST_TOKEN))

    with ThreadPoolExecutor() as pool:
        list(pool.map(again, HIVES))


def accepts(host: Host, token: str) -> bool:
    """Whether the service takes the token."""
    return status(host, token) == 200


def new_token_met(lab: Lab, name: str, new: int, old: int, garbage: int) -> bool:
    """Whether the service answers so to the new token, the old one and garbage, once it is up again."""
    host = lab.hosts[name]
    return eventually(lambda: [status(host, t) for t in (NEW, FIRST_TOKEN, "x")] == [new, old, garbage])


def start_fails(lab: Lab, name: str) -> None:
    assert restart(lab, name) != 0
    assert status(lab.hosts[name], NEW) == 0


def start_slow(lab: Lab, name: str) -> None:
    began = time.monotonic()
    assert restart(lab, name) == 0
    assert status(lab.hosts[name], NEW) == 0
    assert eventually(lambda: accepts(lab.hosts[name], NEW))
    assert time.monotonic() - began > 2


def keeps_old_token(lab: Lab, name: str) -> None:
    assert restart(lab, name) == 0
    assert new_token_met(lab, name, 401, 200, 401)
    assert ask(lab.hosts[name], None, "/v1/health")[0] == 200


def no_token(lab: Lab, name: str) -> None:
    assert restart(lab, name) == 0
    assert new_token_met(lab, name, 401, 401, 401)
    assert ask(lab.hosts[name], None, "/v1/health")[0] == 200


def accepts_any_token(lab: Lab, name: str) -> None:
    assert restart(lab, name) == 0
    assert new_token_met(lab, name, 200, 200, 200)


def calls_peers(lab: Lab, name: str) -> None:
    assert restart(lab, name) == 0
    fp6 = hashlib.sha256(NEW.encode()).hexdigest()[:6]
    assert eventually(lambda: f"token:{fp6}" in log_of(lab, "queen", "-u queen-rbee -n 20"))


def worker_survives(lab: Lab, name: str) -> None:
    assert restart(lab, name) == 0
    assert new_token_met(lab, name, 200, 401, 401)
    answers = [ask(lab.hosts[name], token, "/v1/ready", WORKER_PORT)[0] for token in (FIRST_TOKEN, NEW)]
    assert answers == [200, 401]


def crash_loops(lab: Lab, name: str) -> None:
    assert restart(lab, name) == 0
    assert eventually(lambda: accepts(lab.hosts[name], NEW))
    count = f"systemctl show -p NRestarts --value {lab.hosts[name].unit}"
    assert eventually(lambda: int(lab.sh(name, count)) >= 2)


def disk_full(lab: Lab, name: str) -> None:
    write = lab.run(name, ["sh", "-c", f"umask 077; head -c 65 /dev/zero >{SECRETS}/more"])
    assert "No space left" in write.stderr
    assert lab.read(name, ACTIVE) == f"{NEW}\n"
    assert restart(lab, name) == 0
    lab.sh(name, f"rm {SECRETS}/more")


def read_only(lab: Lab, name: str) -> None:
    assert "Read-only" in lab.run(name, ["touch", f"{SECRETS}/more"]).stderr
    assert restart(lab, name) == 0


def link_down(lab: Lab, name: str) -> None:
    assert "timed out" in ssh(lab, name, "true").stderr
    assert status(lab.hosts[name], NEW) == 0


def link_slow(lab: Lab, name: str) -> None:
    line = http.client.HTTPConnection(lab.hosts[name].address, 8081, timeout=5)
    began = time.monotonic()
    line.connect()  # one round trip
    line.request("GET", "/v1/health")  # another
    assert line.getresponse().read()
    line.close()
    assert time.monotonic() - began >= 0.4
    assert ssh(lab, name, "head -c 3000000 /dev/zero | wc -c").stdout == "3000000\n"


def sshd_frozen(lab: Lab, name: str) -> None:
    assert "timed out during banner exchange" in ssh(lab, name, "true").stderr
    assert lab.run(name, ["true"]).returncode == 0


def frozen(lab: Lab, name: str) -> None:
    assert "timed out during banner exchange" in ssh(lab, name, "true").stderr
    assert status(lab.hosts[name], NEW) == 0


def sudo_refused(lab: Lab, name: str) -> None:
    refused = ssh(lab, name, "sudo -n true")
    assert refused.returncode == 1
    assert "sudo: a password is required" in refused.stderr


def host_key_changed(lab: Lab, name: str) -> None:
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in ssh(lab, name, "true").stderr


MEETS: dict[str, Callable[[Lab, str], None]] = {
    "start-fails": start_fails,
    "start-slow": start_slow,
    "keeps-old-token": keeps_old_token,
    "no-token": no_token,
    "accepts-any-token": accepts_any_token,
    "calls-peers": calls_peers,
    "worker-survives": worker_survives,
    "crash-loops": crash_loops,
    "disk-full": disk_full,
    "read-only": read_only,
    "link-down": link_down,
    "link-slow": link_slow,
    "sshd-frozen": sshd_frozen,
    "frozen": frozen,
    "sudo-refused": sudo_refused,
    "host-key-changed": host_key_changed,
}
BEFORE_THE_FILE_IS_NEW = (
    "start-fails",
    "start-slow",
    "keeps-old-token",
    "no-token",
    "accepts-any-token",
    "calls-peers",
    "worker-survives",
    "crash-loops",
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_lies_in_wait_is_met_and_mended(fleet: Lab, fault: str) -> None:
    """On every release, and on all at once: most of it is waiting."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(lies_in_wait_is_met_and_mended, fleet, fault), HIVES))


def lies_in_wait_is_met_and_mended(fleet: Lab, fault: str, name: str) -> None:
    host = fleet.hosts[name]
    running = fleet.sh(name, f"systemctl show -p MainPID {host.unit}")

    if fault not in BEFORE_THE_FILE_IS_NEW:
        put_token(fleet, name, NEW)
    inject(fleet, name, fault, seconds=2)
    assert in_force(fleet, name) == (fault,)
    if fault != "frozen":  # there systemd does not answer
        assert fleet.sh(name, f"systemctl show -p MainPID {host.unit}") == running
    if fault in BEFORE_THE_FILE_IS_NEW:
        put_token(fleet, name, NEW)
    files = fleet.sh(name, STATE)
    MEETS[fault](fleet, name)

    assert mend(fleet, name) == (fault,)
    assert mend(fleet, name) == ()
    assert fleet.sh(name, STATE) == files
    assert fleet.sh(name, f"grep -c '{SECRETS}' /proc/mounts || true") == "0\n"
    assert restart(fleet, name) == 0
    assert new_token_met(fleet, name, 200, 401, 401)
    assert ssh(fleet, name, "sudo -n id -u").stdout == "0\n"


def test_several_faults_at_once_are_all_mended(fleet: Lab) -> None:
    put_token(fleet, "hive1", NEW)
    for fault in ("read-only", "disk-full", "start-fails", "sudo-refused", "link-down"):
        inject(fleet, "hive1", fault)
        inject(fleet, "hive1", fault)
    assert in_force(fleet, "hive1") == ("read-only", "disk-full", "start-fails", "sudo-refused", "link-down")
    assert len(mend(fleet, "hive1")) == 5
    assert fleet.sh("hive1", f"grep -c '{SECRETS}' /proc/mounts || true") == "0\n"
    assert restart(fleet, "hive1") == 0
    assert new_token_met(fleet, "hive1", 200, 401, 401)
    assert ssh(fleet, "hive1", "sudo -n id -u").stdout == "0\n"


def test_files_written_while_the_disk_was_another_stay(fleet: Lab) -> None:
    put_token(fleet, "hive2", NEW)
    inject(fleet, "hive2", "disk-full")
    # What a full disk still allows: a link, a rename, a removal.
    fleet.sh("hive2", f"cd {SECRETS}; ln api-token api-token.backup; mv api-token other; ln other api-token; rm other")
    mend(fleet, "hive2")
    assert fleet.sh("hive2", f"cd {SECRETS}; ls; cat api-token.backup") == f"api-token\napi-token.backup\n{NEW}\n"
    fleet.sh("hive2", f"rm {SECRETS}/api-token.backup")
