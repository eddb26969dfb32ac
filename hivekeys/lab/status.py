"""The state of a lab: what runs, where, and which faults were injected. Looks, and changes nothing."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hivekeys.errors import UserError
from hivekeys.lab.faults import in_force
from hivekeys.lab.model import Host, Lab


@dataclass(frozen=True)
class HostStatus:
    """One host as it is at this moment. `service` is systemd's word, or `?` where we may not ask."""

    host: Host
    running: bool
    service: str
    faults: tuple[str, ...]


def look(lab: Lab) -> list[HostStatus]:
    """Every host of the lab, the queen first."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda host: _look_at(lab, host), lab.hosts.values()))


def _look_at(lab: Lab, host: Host) -> HostStatus:
    running = lab.running(host.name)
    service = "-"
    if running:
        service = _service(lab, host) if os.geteuid() == 0 else "?"
    return HostStatus(host, running, service, in_force(lab, host.name))


def _service(lab: Lab, host: Host) -> str:
    try:
        return lab.run(host.name, ["systemctl", "is-active", host.unit], timeout=5).stdout.strip() or "?"
    except (UserError, subprocess.TimeoutExpired):  # it ended meanwhile, or hangs
        return "?"
