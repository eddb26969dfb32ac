"""`fab watch`, `fab audit --file-access` and verify's look with a real auditd: this machine itself, over loopback.

auditd watches one kernel, so no rehearsal host can have one. What the test finds (rules, files, whether auditd runs and
whether the kernel listens) it leaves as it was.
"""

import contextlib
import getpass
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hivekeys.host.agent import Agent
from hivekeys.host.verbs import inspect
from hivekeys.verify.checks import CHECKS
from hivekeys.verify.findings import Verdict, examine
from tests.builders.documents import valid
from tests.builders.observations import GOOD, INSPECTED, NORM
from tests.builders.project import PROJECT

from .bastion import Bastion, wait_until

RULES = Path("/etc/audit/rules.d")
LOG = Path("/var/log/audit/audit.log")
TOKEN = "3b" * 32

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and os.environ.get("CI") != "true", reason="auditd needs root: sudo make test"
)


def auditctl(*words: str) -> str:
    done = subprocess.run(["auditctl", *words], capture_output=True, text=True, timeout=20, check=False)
    return done.stdout


def status() -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in auditctl("-s").splitlines() if " " in line)


@pytest.fixture(scope="module")
def auditd() -> Iterator[None]:
    """A running auditd. What cannot be had is a failure that says why, not a skip: then nothing here was tested."""
    before = status()
    assert before, "auditctl says nothing: this kernel has no audit, or the package auditd is missing (make system)"
    assert before["enabled"] != "2", "the audit rules of this machine are locked (enabled 2): restart it"
    rules, started = auditctl("-l"), None
    kept = {path: path.read_bytes() for path in RULES.glob("*.rules")}
    size = LOG.stat().st_size if LOG.exists() else None
    if before["pid"] == "0":
        started = subprocess.Popen(["auditd", "-n"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until(lambda: status().get("pid") == str(started.pid), "auditd that the kernel talks to")
    auditctl("-e", "1")
    yield
    if started:
        started.terminate()
        started.wait(20)
        if size is None:
            LOG.unlink(missing_ok=True)
    auditctl("-e", before["enabled"])
    assert auditctl("-l") == rules
    assert {path: path.read_bytes() for path in RULES.glob("*.rules")} == kept


@dataclass
class Machine:
    """This machine as a fleet of one host, and an operator at it."""

    fleet: str
    state: Path
    token: Path

    def fab(self, *words: str) -> tuple[int, dict[str, Any]]:
        verb, *options = words
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fab")), verb, "--fleet", self.fleet, "--json", *options],
            cwd=PROJECT,
            env={**os.environ, "HIVEKEYS_STATE_DIR": str(self.state)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout, done.stderr
        kept = [path.read_bytes() for path in (LOG, *self.state.rglob("*")) if path.is_file()]
        written = b"".join([done.stdout.encode(), done.stderr.encode(), *kept])
        assert not [secret for secret in (TOKEN, TOKEN.encode().hex().upper()) if secret.encode() in written]
        return done.returncode, valid(json.loads(done.stdout))["hosts"][0]

    def changes(self, *words: str) -> tuple[int, list[str]]:
        code, host = self.fab("watch", *words)
        return code, [change["path"] for change in host["changes"] if not change["refused"]]

    def verdict(self) -> Verdict:
        """What the checklist says of it. `fab verify` asks systemd before, which this machine need not have."""
        agent = Agent()
        agent.service, agent.deadline.end = {"token": str(self.token)}, agent.system.monotonic() + 60
        observation = replace(GOOD, inspected=replace(INSPECTED, watch=inspect.audit_watch(agent)))
        (finding,) = examine([observation], NORM, [CHECKS["audit-watch"]])
        return finding.verdict

    @property
    def rule(self) -> str:
        return f"-w {self.token} -p r -k secret-access"


@pytest.fixture
def machine(ssh: Bastion, tmp_path: Path, auditd: None) -> Iterator[Machine]:
    sshd = ssh.sshd()
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    token = folder / "api-token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    name = f"lab-auditd{os.getpid()}"
    inventory = PROJECT / "inventory" / f"{name}.toml"
    account = getpass.getuser()
    inventory.write_text(f"""\
fleet = "{name}"
[ssh]
port = {sshd.port}
user = "{account}"
key = "{ssh.key}"
become = "none"
config = "{ssh.config}"
known_hosts = ["{ssh.known_hosts}"]
[services.queen]
token = "{token}"
owner = "{account}"
group = "{account}"
[hosts.queen]
role = "queen"
address = "127.0.0.1"
""")
    found = Machine(name, tmp_path / "state", token)
    try:
        yield found
    finally:
        inventory.unlink()
        if found.rule in auditctl("-l").splitlines():
            auditctl("-W", str(token), "-p", "r", "-k", "secret-access")
        with contextlib.suppress(FileNotFoundError):
            (RULES / "50-hivekeys.rules").unlink()


def test_a_watch_is_put_kept_for_the_next_start_and_taken_away_and_all_of_it_once(machine: Machine) -> None:
    ours = RULES / "50-hivekeys.rules"
    assert machine.verdict() is Verdict.WARN
    shown = machine.changes("--dry-run")
    assert shown == (6, [str(ours), str(machine.token)])
    assert machine.rule not in auditctl("-l")
    assert not ours.exists()
    assert machine.changes() == (0, shown[1])
    assert machine.rule in auditctl("-l").splitlines()
    assert machine.rule in ours.read_text().splitlines()
    assert ours.stat().st_mode & 0o022 == 0
    assert machine.verdict() is Verdict.PASS
    assert machine.changes() == (0, [])
    assert machine.changes("--remove") == (0, [str(machine.token), str(ours)])
    assert machine.rule not in auditctl("-l")
    assert not ours.exists()
    assert machine.changes("--remove") == (0, [])
    assert machine.verdict() is Verdict.WARN


def test_a_rule_by_hand_is_enough_in_force_and_is_not_taken_away(machine: Machine) -> None:
    """As the guide has it put there."""
    auditctl("-w", str(machine.token), "-p", "r", "-k", "secret-access")
    assert machine.verdict() is Verdict.PASS
    assert machine.changes() == (0, [str(RULES / "50-hivekeys.rules")])
    (RULES / "50-hivekeys.rules").unlink()
    code, host = machine.fab("watch", "--remove")
    assert (code, [change["refused"][:25] for change in host["changes"]]) == (6, ["the rule is not hivekeys'"])
    assert machine.rule in auditctl("-l").splitlines()


def test_who_reads_the_token_file_is_told_from_the_tools_own_reads(machine: Machine) -> None:
    assert machine.changes()[0] == 0
    machine.fab("fix")  # an agent looks into the file, as in every run
    subprocess.run(["cat", machine.token], stdout=subprocess.DEVNULL, check=True)
    machine.token.parent.chmod(0o711)
    for parent in machine.token.parent.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(["runuser", "-u", "nobody", "--", "cat", machine.token], stderr=subprocess.DEVNULL, check=False)

    def readers() -> dict[tuple[str, str, bool], dict[str, Any]]:
        code, host = machine.fab("audit", "--file-access", "--since", "10m")
        assert (code, host["watched"], host["cut"]) == (0, True, None)
        return {(one["kind"], Path(one["program"]).name, one["ok"]): one for one in host["readers"]}

    wait_until(lambda: len(readers()) >= 3, "auditd's record on the disk")
    found = readers()
    assert found["other", "cat", True]["account"] == "root"
    assert found["other", "cat", False]["account"] == "nobody"
    assert any(kind == "hivekeys" and ok for kind, _, ok in found)
    code, host = machine.fab("audit", "--file-access", "--failed")
    assert {one["account"] for one in host["readers"]} == {"nobody"}
    assert code == 0


def test_a_name_in_hex_and_a_second_key_are_read(machine: Machine, tmp_path: Path) -> None:
    """auditd writes what has a blank or a quote in it in hex."""
    odd = tmp_path / "a cat"
    odd.write_bytes(Path("/bin/cat").read_bytes())
    odd.chmod(0o755)
    assert machine.changes()[0] == 0
    subprocess.run([odd, machine.token], stdout=subprocess.DEVNULL, check=True)

    def programs() -> list[str]:
        return [one["program"] for one in machine.fab("audit", "--file-access", "--since", "10m")[1]["readers"]]

    wait_until(lambda: str(odd) in programs(), "the odd reader")
