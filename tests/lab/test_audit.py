"""Clients that were forgotten in a rotation, and audit trails of any size, on real hosts."""

import contextlib
import http.client
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hivekeys.lab import Lab
from hivekeys.lab.files import AUDIT, PROTECTED, SECRETS

from .asking import ACTIVE, eventually, status
from .rotating import fab, truth, write_policy

pytestmark = pytest.mark.lab
PORT = 9999
# A second service with a copy of the token file of now, which nobody restarts: it takes the old token, calls the queen
# with it each second, and writes into the same trail.
SECOND = f"""\
install -d -m 700 -o llama-orch -g llama-orch /run/old
install -m 600 -o llama-orch -g llama-orch {ACTIVE} /run/old/api-token
systemd-run --quiet --unit=old-worker --uid=llama-orch --gid=llama-orch \\
    --setenv=LLORCH_API_TOKEN_FILE=/run/old/api-token --setenv=LLORCH_AUDIT_MODE=local \\
    --setenv=LLORCH_AUDIT_DIR={AUDIT} --setenv=STANDIN_CALLS=$1 /usr/local/bin/rbee-hive --port {PORT}
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def forgotten(lab: Lab) -> Iterator[None]:
    """A service on hive2 that keeps the token of now, and somebody who calls it with that token all the time."""
    token = lab.read("hive2", ACTIVE).strip()
    queen = lab.hosts["queen"]
    called = f"http://{queen.address}:{queen.port}{PROTECTED['queen']}"
    lab.run("hive2", ["sh", "-euc", SECOND, "sh", called], check=True)
    over = threading.Event()

    def call() -> None:
        while not over.wait(0.2):
            line = http.client.HTTPConnection(lab.hosts["hive2"].address, PORT, timeout=2)
            with contextlib.suppress(OSError, http.client.HTTPException):
                line.request("GET", PROTECTED["hive"], headers={"Authorization": f"Bearer {token}"})
                line.getresponse().read()
            line.close()

    caller = threading.Thread(target=call)
    caller.start()
    yield
    over.set()
    caller.join()
    lab.sh("hive2", "systemctl stop old-worker; rm -r /run/old")


def slots(lab: Lab) -> set[tuple[str, ...]]:
    return {tuple(sorted(host.files)) for host in truth(lab).values()}


def test_a_client_with_the_old_token_is_found_and_keeps_that_token_from_being_retired(
    lab: Lab, state: Path, forgotten: None
) -> None:
    write_policy(lab)
    rotated = fab("rotate", "--fleet", lab.name, "--yes", "--json", state=state)
    assert rotated.code == 4, rotated.err
    assert {host["state"] for host in rotated.hosts.values()} == {"proven"}
    assert slots(lab) == {("api-token", "api-token.backup")}
    uses = [use for use in rotated.document["census"]["uses"] if use["ok"]]
    assert {(use["host"], use["path"]) for use in uses} == {("hive2", PROTECTED["hive"])}
    assert "fab reconcile" in rotated.document["next"]

    def forgotten_clients() -> dict[str, dict[str, Any]]:
        """By their hosts; the services write no addresses."""
        audit = fab("audit", "--fleet", lab.name, "--json", "--token", "previous", "--since", "10m", state=state)
        assert audit.code == 0, audit.err
        previous = audit.document["tokens"]["previous"][0]
        rows = {row["host"]: row for row in audit.document["forgotten"] if row["path"] in PROTECTED.values()}
        assert all(row["token"] == previous for row in rows.values())
        return rows

    # Until it calls once more, it may only have called while the fleet turned: that is no forgotten client.
    assert eventually(lambda: "queen" in forgotten_clients())
    caller = forgotten_clients()["queen"]
    assert (caller["path"], caller["ok_after"]) == (PROTECTED["queen"], 0)
    assert caller["last"] > rotated.document["started"]
    assert eventually(lambda: forgotten_clients()["queen"]["failed_after"] > caller["failed_after"])
    assert forgotten_clients()["hive2"]["ok_after"]

    assert fab("reconcile", "--fleet", lab.name, state=state).code == 4
    crossed = fab("reconcile", "--fleet", lab.name, "--retire-anyway", state=state)
    assert crossed.code == 0, crossed.out + crossed.err
    assert "the old tokens were retired anyway (--retire-anyway)" in crossed.out
    assert slots(lab) == {("api-token",)}
    assert "retired anyway" in fab("status", "--fleet", lab.name, "--run", "last", state=state).out


def test_a_trail_of_any_size_ends_within_its_limits_and_a_hundred_megabytes(lab: Lab, state: Path) -> None:
    """HIVEKEYS_TRAIL_MIB=1024 makes it a gigabyte of the host's own records."""
    size = int(os.environ.get("HIVEKEYS_TRAIL_MIB", "16"))
    assert status(lab.hosts["hive3"], "x") == 401  # a record of its own
    own = f"cd {AUDIT}; f=$(ls -t *.audit | head -1)"
    double = f"while [ $(stat -c %s big) -lt {size << 20} ]; do cat big big >more; mv more big; done"
    lab.sh(
        "hive3",
        f"{own}; tail -n 500 $f >big; {double}; truncate -s 0 more 2>/dev/null; mv big 2001-01-01.audit",
        timeout=300,
    )
    lab.sh("hive3", f"cd {AUDIT}; rm -f more; chown llama-orch: 2001-01-01.audit; chmod 600 2001-01-01.audit")
    peaks: list[int] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.02):
            peaks.extend(agents_memory())

    sampler = threading.Thread(target=sample)
    sampler.start()
    began = time.monotonic()
    try:
        answer = fab("audit", "--fleet", lab.name, "--limit", "hive3", "--json", state=state)
    finally:
        over.set()
        sampler.join()
        lab.sh("hive3", f"rm {AUDIT}/2001-01-01.audit")
    took = time.monotonic() - began
    (host,) = answer.document["hosts"]
    assert (answer.code, host["cut"], host["cause"]) == (0, "", None), host
    assert host["size"] >= size << 20
    assert host["broken"] == 0
    assert peaks, "no agent was seen at work"
    print(f"{host['size'] >> 20} MiB, {host['lines']} records, {took:.1f} s, {max(peaks) >> 10} MiB at most")
    assert max(peaks) < 100 << 10, "KiB"


def agents_memory() -> list[int]:
    """The most memory (KiB) that each agent's process has had so far, seen from outside its host."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"-IS\0-c\0import sys; i = sys.stdin.buffer" in (process / "cmdline").read_bytes():
                peak = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
                found += [int(peak[1])] if peak else []
    return found


def test_a_host_whose_trail_was_tampered_with_names_file_and_line(lab: Lab, state: Path) -> None:
    assert [status(lab.hosts["hive3"], "x") for _ in range(3)] == [401] * 3
    own = f"cd {AUDIT}; f=$(ls -t *.audit | head -1)"
    lab.sh("hive3", f"{own}; cp -p $f /root/kept; systemctl stop rbee-hive; sed -i 2d $f; echo junk >>$f")
    try:
        document: dict[str, Any] = fab("audit", "--fleet", lab.name, "--limit", "hive3", "--json", state=state).document
    finally:
        lab.sh("hive3", f"{own}; mv /root/kept $f; systemctl start rbee-hive")
    (host,) = document["hosts"]
    assert host["broken"] == 1
    assert any(re.search(r"\.audit, line 2: the record before it is missing", place) for place in host["breaks"]), host
    assert any("no audit record" in place for place in host["breaks"])


def test_a_host_without_auditd_says_so_and_is_not_changed(lab: Lab, state: Path) -> None:
    """No rehearsal host has one: it would watch this machine's kernel."""
    before = lab.sh("hive1", f"stat -c '%n %Y %i' {SECRETS}/* /etc/audit 2>&1 || true")
    watch = fab("watch", "--fleet", lab.name, "--limit", "hive1,hive2", "--json", state=state)
    assert watch.code == 4
    assert {host["cause"]["trouble"] for host in watch.hosts.values()} == {"auditd-missing"}
    access = fab("audit", "--fleet", lab.name, "--limit", "hive1", "--file-access", "--json", state=state)
    assert (access.code, access.document["hosts"][0]["cause"]["trouble"]) == (4, "auditd-missing")
    assert lab.sh("hive1", f"stat -c '%n %Y %i' {SECRETS}/* /etc/audit 2>&1 || true") == before
