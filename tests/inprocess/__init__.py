"""A fleet that lives in this process: rollouts without SSH, systemd or root.

Only the lowest seam is faked. Each host is a temporary directory with the real `agent.Agent` at work in it,
with real files and real locks; `Machine` stands for systemd, service and clock; a line is a function call
with JSON both ways. Faults have the names of the lab's. No test sleeps: a host's clock moves when its agent
sleeps.

    files, service, processes     what a host has: its token's slots, its service, other processes
    host, faults                  the host itself, and what is wrong with it
    machine, disks                what its agent sees of it: systemd, processes, disks
    line, session, dialer         how a bastion reaches it
    fleet, traps, clock           all of them, what happens in the middle of a run, and the bastion's time

    fleet = InProcessFleet(tmp_path, hives=3)
    fleet.hosts["hive2"].fault = "start-fails"
    fleet.cut("hive3", "swap", when="after")
    …                                             a rollout of fleet.inventory over fleet.dialer()
    assert fleet.hosts["hive1"].accepts(token)
"""

import hivekeys.host.greeting
import hivekeys.host.turning
import hivekeys.host.verbs.accept
import hivekeys.host.verbs.accesses
import hivekeys.host.verbs.audit
import hivekeys.host.verbs.drain
import hivekeys.host.verbs.meter
import hivekeys.host.verbs.notify
import hivekeys.host.verbs.sweep
import hivekeys.host.writing  # noqa: F401  hosts know the verbs of all of these

from .clock import OwnClock, SharedClock
from .dialer import InProcessDialer
from .faults import FAULTS
from .fleet import InProcessFleet
from .host import KEY, Lie, SimulatedHost
from .line import InProcessLine
from .machine import Machine
from .session import Session, hello, told
from .traps import When

__all__ = [
    "FAULTS",
    "KEY",
    "InProcessDialer",
    "InProcessFleet",
    "InProcessLine",
    "Lie",
    "Machine",
    "OwnClock",
    "Session",
    "SharedClock",
    "SimulatedHost",
    "When",
    "hello",
    "told",
]
