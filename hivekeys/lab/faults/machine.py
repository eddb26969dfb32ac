"""A fault of the whole host: all of its processes stand still."""

from hivekeys.lab import cgroup
from hivekeys.lab.model import Host, Lab


def freeze(lab: Lab, host: Host) -> None:
    """No process of the host runs any more. Its kernel is this machine's: connections are taken, and clocks go on."""
    cgroup.freeze(lab.name, host.name, still=True)


def thaw(lab: Lab, host: Host) -> None:
    """All of them go on where they were."""
    cgroup.freeze(lab.name, host.name, still=False)
