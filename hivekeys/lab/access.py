"""The keys and files by which SSH clients and hivekeys reach a lab.

Paths in the files are absolute, so they can be read from anywhere. Nothing here talks to a host.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.lab import files
from hivekeys.lab.model import Accepts, Host, Lab, Units
from hivekeys.lab.programs import call

# Two types, as on a real host: a client that asks for the wrong one must not meet an unknown key.
KEY_TYPES = ("ed25519", "ecdsa")
MARK = "# Written by `fab lab.up`, removed by `fab lab.down`."


def make_key(path: Path, kind: str = "ed25519", comment: str = "hivekeys-lab") -> None:
    """A key without a passphrase."""
    path.parent.mkdir(parents=True, exist_ok=True)
    call(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(path)])


def make_host_keys(lab: Lab, upper: dict[str, Path]) -> str:
    """Make every host's own keys below its `upper` folder; returns the known_hosts that is true for them."""

    def make(host: Host) -> str:
        lines = ""
        for kind in KEY_TYPES:
            path = upper[host.name] / f"etc/ssh/ssh_host_{kind}_key"
            make_key(path, kind, f"root@{host.name}")
            algorithm, key, *_ = path.with_suffix(".pub").read_text().split()
            lines += f"{host.address},{host.name} {algorithm} {key}\n"
        return lines

    with ThreadPoolExecutor(8) as pool:
        return "".join(pool.map(make, lab.hosts.values()))


def inventory(lab: Lab) -> str:
    """The lab as a fleet."""
    hosts = "".join(
        f'\n[hosts.{host.name}]\nrole = "{host.role}"\naddress = "{host.address}"\n' for host in lab.hosts.values()
    )
    return f"""\
{MARK}
fleet = "{lab.name}"

[ssh]
user = "deploy"
key = "{lab.key}"
known_hosts = "{lab.known_hosts}"
become = "sudo"
{_services(lab)}{hosts}"""


def _services(lab: Lab) -> str:
    """What the services do otherwise than the inventory's defaults."""
    if lab.shape.accepts is Accepts.FRONT:
        return "".join(_front(lab, lab.hosts[name]) for name in ("queen", "hive1"))
    if lab.shape.accepts is not Accepts.ONE:
        said = f'accepts = "{lab.shape.accepts}"\napply = '
        return "".join(f'\n[services.{role}]\n{said}"{lab.shape.apply(role)}"\n' for role in ("queen", "hive"))
    if lab.shape.units is not Units.ENVIRONMENT_FILE:
        return ""
    keys = f'token = "{files.ENVIRONMENT}"\nformat = "environment"\n'
    return "".join(f"\n[services.{role}]\n{keys}" for role in ("queen", "hive"))


def _front(lab: Lab, host: Host) -> str:
    """A front where the services listen now. A queen listens on all addresses, whatever she is told."""
    inner = 10_000 + host.port
    start = files.command(lab, host).replace(str(host.port), str(inner)).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    told = f'listen = "0.0.0.0:{host.port}", start = "{start}", firewall = true'
    return f'\n[services.{host.role}]\naccepts = "front"\nport = {inner}\nfront = {{ {told} }}\n'


def ssh_config(lab: Lab) -> str:
    """For `ssh -F`: every host by its name, and nothing of the user's own configuration."""
    hosts = "".join(f"\nHost {host.name}\n    HostName {host.address}\n" for host in lab.hosts.values())
    return f"""\
{MARK}
{hosts}
Host *
    User deploy
    IdentityFile {lab.key}
    IdentitiesOnly yes
    UserKnownHostsFile {lab.known_hosts}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""


def write(lab: Lab, known_hosts: str) -> None:
    """Write the files. Under sudo they and the key belong to who called it, who can then use the fleet without root."""
    check_inventory(lab.inventory)
    lab.inventory.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        lab.known_hosts: known_hosts,
        lab.ssh_config: ssh_config(lab),
        lab.folder / "inventory.toml": inventory(lab),
        lab.inventory: inventory(lab),
    }
    for path, text in texts.items():
        path.write_text(text)
    for path in (*texts, lab.key):
        os.chown(path, int(os.environ.get("SUDO_UID", "0")), int(os.environ.get("SUDO_GID", "0")))


def is_ours(path: Path) -> bool:
    """Whether a lab wrote the file."""
    return path.exists() and path.read_text().startswith(MARK)


def check_inventory(path: Path) -> None:
    """Refuse to write over an inventory that no lab wrote."""
    if path.exists() and not is_ours(path):
        raise UserError(f"{path} was not written by the lab", hint="move it away, or give the lab another --name")
