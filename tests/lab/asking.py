"""What tests ask a host of the lab, from outside: its service, its sshd, its token."""

import http.client
import json
import subprocess
import time
from collections.abc import Callable

from hivekeys.lab import Host, Lab
from hivekeys.lab.files import PROTECTED, SECRETS

FIRST_TOKEN = "1f" * 32
HIVES = ("hive1", "hive2", "hive3")
ACTIVE = f"{SECRETS}/api-token"
RULES = "/etc/sudoers.d"
# An administrator as any host has one, who logs in with the same key here.
ADMIN = f"""\
useradd --create-home --shell /bin/bash admin
cp -r ~deploy/.ssh ~admin/.ssh && chown -R admin:admin ~admin/.ssh
echo 'admin ALL=(ALL:ALL) NOPASSWD: ALL' >{RULES}/admin && chmod 0440 {RULES}/admin
"""


def ask(host: Host, token: str | None, path: str = "", port: int = 0) -> tuple[int, str]:
    """Status and error code of the protected path (or another path, or port); status 0 where nobody answers."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    line = http.client.HTTPConnection(host.address, port or host.port, timeout=2)
    try:
        line.request("GET", path or PROTECTED[host.role], headers=headers)
        answer = line.getresponse()
        return answer.status, json.loads(answer.read()).get("error", {}).get("code", "")
    except OSError:
        return 0, ""
    finally:
        line.close()


def status(host: Host, token: str | None) -> int:
    """The status of the protected path alone."""
    return ask(host, token)[0]


def ssh(lab: Lab, name: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as any SSH client would, with the lab's ssh_config; two seconds of patience for the connection."""
    options = ["-F", str(lab.ssh_config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=2"]
    return subprocess.run(
        ["ssh", *options, name, command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def log_of(lab: Lab, name: str, options: str = "") -> str:
    """What the host's journal says, with all that was logged until now: journald writes a moment later."""
    return lab.sh(name, f"journalctl -q --sync; journalctl -q -o cat {options}")


def put_token(lab: Lab, name: str, token: str) -> None:
    """Put a token in place as a rotation would."""
    lab.write(name, ACTIVE, f"{token}\n", mode=0o600, owner="llama-orch:llama-orch")


def restart(lab: Lab, name: str) -> int:
    """Restart the service and return systemctl's exit code. Tests are quick: the rate limit is not their matter."""
    unit = lab.hosts[name].unit
    return lab.run(name, ["sh", "-c", f"systemctl reset-failed {unit}; systemctl restart {unit}"]).returncode


def eventually(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
