"""What the tools are given: the lab in each tool's own form, written once into a private folder."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from hivekeys.lab import Host, Lab
from hivekeys.lab.standin import HEALTH

HERE = Path(__file__).resolve().parent
LIKE = '\n[rollout]\ncanary = 0\nbatch = "100%"\nstable_seconds = 0\nwidth = 50\n'


@dataclass(frozen=True)
class Given:
    """Where everything lies. The token's file is rewritten, 0600, before each run."""

    folder: Path

    def path(self, name: str) -> str:
        """A file of the folder."""
        return str(self.folder / name)

    def give_token(self, token: str) -> None:
        """The new token: alone, and inside the script that goes to a host's stdin."""
        script = (HERE / "turn.sh").read_text().replace("@TOKEN@", token)
        for name, text in (("token", f"{token}\n"), ("turn.sh", script)):
            path = self.folder / name
            path.touch(0o600)
            path.write_text(text)


def write(lab: Lab, folder: Path) -> Given:
    """Write the lab's files for all tools; `folder` is private (0700)."""
    hosts = list(lab.hosts.values())
    fleet = {
        "key": str(lab.key),
        "known_hosts": str(lab.known_hosts),
        "hosts": [
            {"name": host.name, "role": host.role, "address": host.address, "unit": host.unit, "health": _health(host)}
            for host in hosts
        ],
    }
    text = (lab.folder / "inventory.toml").read_text()
    ssh = f"-F {shlex.quote(str(lab.ssh_config))} -o ControlMaster=auto -o ControlPersist=60s"
    groups = {"queen": [h for h in hosts if h.role == "queen"], "hives": [h for h in hosts if h.role == "hive"]}
    ini = "".join(
        f"[{group}]\n" + "".join(f"{h.name} unit={h.unit} health={_health(h)}\n" for h in members)
        for group, members in groups.items()
    )
    files = {
        "fleet.json": json.dumps(fleet),
        "hosts": "".join(f"{h.role} {h.name} {h.unit} {_health(h)}\n" for h in hosts),
        "ssh_config": lab.ssh_config.read_text(),
        "like.toml": text + LIKE,
        "defaults.toml": text,
        "ansible.ini": f"{ini}\n[all:vars]\nansible_ssh_common_args={json.dumps(ssh)}\n",
        **{f"pyinfra_{group}.py": _pyinfra(lab, members) for group, members in groups.items()},
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    return Given(folder)


def _health(host: Host) -> str:
    """Port and path, as a URL ends."""
    return f"{host.port}{HEALTH[host.unit]}"


def _pyinfra(lab: Lab, hosts: list[Host]) -> str:
    common = {
        "ssh_user": "deploy",
        "ssh_key": str(lab.key),
        "ssh_known_hosts_file": str(lab.known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    return "fleet = " + repr([(h.address, {**common, "unit": h.unit, "health": _health(h)}) for h in hosts]) + "\n"
