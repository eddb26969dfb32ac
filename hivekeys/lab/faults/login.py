"""Faults of the login: sshd, sudo, host keys."""

import os
import signal
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.lab import cgroup
from hivekeys.lab.access import KEY_TYPES
from hivekeys.lab.model import Host, Lab

_DENIAL = "/etc/sudoers.d/zz-lab"  # the last word in sudoers wins
_ORIGINAL = "/etc/ssh/lab-true-keys"

# A reload is a signal: sshd closes its port and executes itself anew, a moment after systemctl has returned.
_RELOAD = """\
systemctl reload ssh
key=$(cut -d ' ' -f 2 /etc/ssh/ssh_host_ed25519_key.pub)
until ssh-keyscan -T 1 -t ed25519 127.0.0.1 2>/dev/null | grep -qF "$key"; do sleep 0.05; done
"""

_CHANGE_KEYS = f"""\
mkdir -p {_ORIGINAL}
mv /etc/ssh/ssh_host_* {_ORIGINAL}/
for kind in {" ".join(KEY_TYPES)}; do ssh-keygen -q -t "$kind" -N '' -f "/etc/ssh/ssh_host_${{kind}}_key"; done
{_RELOAD}"""

_RESTORE_KEYS = f"""\
mv -f {_ORIGINAL}/* /etc/ssh/
rmdir {_ORIGINAL}
{_RELOAD}"""


def freeze(lab: Lab, host: Host) -> None:
    """Stop sshd in its tracks: connections are accepted by the kernel and then hang, and so do the open ones."""
    _signal(lab, host, signal.SIGSTOP)


def thaw(lab: Lab, host: Host) -> None:
    """Let sshd go on."""
    _signal(lab, host, signal.SIGCONT)


def _signal(lab: Lab, host: Host, what: signal.Signals) -> None:
    """To the listener first, and to the sessions' sshd, but not to what runs in them."""
    group = cgroup.of(lab.name, host.name) / "payload/system.slice/ssh.service/cgroup.procs"
    if not group.exists():
        raise UserError(f"sshd of {host.name} does not run", hint="fab lab.status shows what does")
    for pid in sorted(map(int, group.read_text().split())):
        try:
            if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                os.kill(pid, what)
        except (FileNotFoundError, ProcessLookupError):
            continue  # the session has just ended


def refuse_sudo(lab: Lab, host: Host) -> None:
    """Let sudo turn the account `deploy` away."""
    lab.write(host.name, _DENIAL, "deploy ALL=(ALL:ALL) !ALL\n", mode=0o440)


def allow_sudo(lab: Lab, host: Host) -> None:
    """Let sudo serve `deploy` again."""
    lab.sh(host.name, f"rm -f {_DENIAL}")


def change_keys(lab: Lab, host: Host) -> None:
    """Give sshd new host keys."""
    lab.sh(host.name, _CHANGE_KEYS)


def restore_keys(lab: Lab, host: Host) -> None:
    """Give sshd its true host keys back."""
    lab.sh(host.name, f"if [ -d {_ORIGINAL} ]; then\n{_RESTORE_KEYS}fi")
