"""What is a host's own: the files laid into the upper layer of its overlay before it boots.

Pure but for `lay` at the end. The units are the guide's ("Example Service File"), with the audit trail
switched on and `Restart=on-failure`, as a service of a fleet has it.
"""

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from hivekeys.lab.image import DEPLOY, LLAMA_ORCH
from hivekeys.lab.model import RELEASES, Host, Lab

SECRETS = "/etc/llama-orch/secrets"
AUDIT = "/var/log/llama-orch/audit"
STANDIN = Path(__file__).with_name("standin.py")
PROTECTED = {"queen": "/v2/workers/list", "hive": "/v1/workers/list"}
_CREDENTIALS_SINCE = 250  # systemd's LoadCredential came with 247, but `%d` only with 250


@dataclass(frozen=True)
class Entry:
    """A file, a folder (no text), or a symbolic link of a host."""

    path: str
    text: str | None = None
    mode: int = 0o644
    owner: int = 0
    link: str = ""


def unit(host: Host) -> str:
    """The service's unit file, with credentials where the host's systemd has them."""
    token = f"Environment=LLORCH_API_TOKEN_FILE={SECRETS}/api-token"
    if RELEASES[host.release] >= _CREDENTIALS_SINCE:
        token = f"LoadCredential=api-token:{SECRETS}/api-token\nEnvironment=LLORCH_API_TOKEN_FILE=%d/api-token"
    return f"""\
[Unit]
Description={host.unit} of the rehearsal fleet
After=network.target

[Service]
Type=simple
User=llama-orch
Group=llama-orch
ExecStart={command(host)}
Restart=on-failure
{token}
Environment=LLORCH_AUDIT_MODE=local
Environment=LLORCH_AUDIT_DIR={AUDIT}
NoNewPrivileges=true
PrivateTmp=true
ProtectSystem=strict
ProtectHome=true
ReadWritePaths={AUDIT}

[Install]
WantedBy=multi-user.target
"""


def command(host: Host) -> str:
    """How the unit starts its service."""
    return f"/usr/local/bin/{host.unit} --port {host.port}"


def entries(lab: Lab, host: Host, *, token: str, login_key: str) -> list[Entry]:
    """Everything that makes the image this host, folders before what is in them."""
    by_address = "".join(f"{other.address} {other.name}\n" for other in lab.hosts.values())
    peers = [other for other in lab.hosts.values() if other.role != host.role]
    calls = "".join(f"http://{peer.address}:{peer.port}{PROTECTED[peer.role]}\n" for peer in peers)
    return [
        Entry("/etc", mode=0o755),
        Entry("/etc/hostname", f"{host.name}\n"),
        # Without its own name here a host's sudo waits for a DNS server that isn't there.
        Entry("/etc/hosts", f"127.0.0.1 localhost\n{by_address}"),
        Entry("/etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444),
        Entry("/etc/systemd", mode=0o755),
        Entry("/etc/systemd/system", mode=0o755),
        Entry(f"/etc/systemd/system/{host.unit}.service", unit(host)),
        Entry("/etc/systemd/system/multi-user.target.wants", mode=0o755),
        Entry(
            f"/etc/systemd/system/multi-user.target.wants/{host.unit}.service",
            link=f"/etc/systemd/system/{host.unit}.service",
        ),
        Entry("/etc/ssh", mode=0o755),
        Entry("/home", mode=0o755),
        Entry("/home/deploy", mode=0o755, owner=DEPLOY),
        Entry("/home/deploy/.ssh", mode=0o700, owner=DEPLOY),
        Entry("/home/deploy/.ssh/authorized_keys", login_key, 0o600, DEPLOY),
        Entry("/etc/llama-orch", mode=0o755, owner=LLAMA_ORCH),
        Entry("/etc/llama-orch/peers", calls, owner=LLAMA_ORCH),
        Entry(SECRETS, mode=0o700, owner=LLAMA_ORCH),
        Entry(f"{SECRETS}/api-token", token, 0o600, LLAMA_ORCH),
        Entry("/var", mode=0o755),
        Entry("/var/log", mode=0o755),
        Entry("/var/log/llama-orch", mode=0o755, owner=LLAMA_ORCH),
        Entry(AUDIT, mode=0o750, owner=LLAMA_ORCH),
        Entry("/usr", mode=0o755),
        Entry("/usr/local", mode=0o755),
        Entry("/usr/local/bin", mode=0o755),
        Entry(f"/usr/local/bin/{host.unit}", STANDIN.read_text(), 0o755),
    ]


def lay(upper: Path, host_entries: list[Entry], binary: str) -> None:
    """Write the entries below `upper`; a real service's program takes the place of the stand-in."""
    for entry in host_entries:
        place = upper / entry.path.lstrip("/")
        if entry.link:
            place.symlink_to(entry.link)
            continue
        if entry.text is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.touch(0o600)
            place.write_text(entry.text)
        os.chown(place, entry.owner, entry.owner)
        place.chmod(entry.mode)
        if binary and entry.path.startswith("/usr/local/bin/"):
            shutil.copyfile(binary, place)
