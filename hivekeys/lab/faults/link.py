"""Faults of the network link between a host and the bridge."""

import subprocess
import sys
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.lab import cgroup, network
from hivekeys.lab.model import Host, Lab
from hivekeys.lab.programs import call, environment

DELAY = 0.2
_RELAY = Path(__file__).with_name("relay.py")


def cut(lab: Lab, host: Host) -> None:
    """Pull the cable out."""
    call(["ip", "link", "set", network.port(host.address), "down"])


def plug(lab: Lab, host: Host) -> None:
    """Put the cable in again."""
    port = network.port(host.address)
    call(["ip", "link", "set", port, "up"])
    network.settle(port)


def slow(lab: Lab, host: Host) -> None:
    """Hold every packet to the host back for 200 ms: by netem, or by a relay where the kernel has no netem."""
    port = network.port(host.address)
    try:
        call(["tc", "qdisc", "add", "dev", port, "root", "netem", "delay", f"{DELAY * 1000:.0f}ms"])
    except UserError:
        _start_relay(lab, host, port)


def speed(lab: Lab, host: Host) -> None:
    """Let packets pass at once again."""
    port = network.port(host.address)
    relay = _relay(host)
    if cgroup.of(lab.name, relay).exists():
        cgroup.kill(lab.name, relay)
        cgroup.remove(lab.name, relay)
        call(["ip", "link", "set", port, "arp", "on", "master", network.bridge(lab.name)])
        network.settle(port)
        if f"{port}-in" in network.links(lab.name):
            call(["ip", "link", "delete", f"{port}-in"])
    elif "netem" in call(["tc", "qdisc", "show", "dev", port]):
        call(["tc", "qdisc", "delete", "dev", port, "root"])


def _relay(host: Host) -> str:
    return f"relay-{host.name}"


def _start_relay(lab: Lab, host: Host, port: str) -> None:
    """Take the port off the bridge, put another in its place, and carry the frames between the two by hand.

    Neither side may answer for this machine (`arp off`), or packets would find a way around the relay.
    """
    group = cgroup.create(lab.name, _relay(host))
    near, far = f"{port}-in", f"{port}-out"
    alias = network.alias(lab.name)
    commands = f"""\
link add {near} type veth peer name {far}
link set {near} alias {alias} addrgenmode none master {network.bridge(lab.name)} up
link set {far} alias {alias} addrgenmode none arp off up
link set {port} arp off nomaster
"""
    call(["ip", "-batch", "-"], text=commands)
    network.settle(near)
    join = f'echo $$ >"{group}/cgroup.procs"; exec "$@"'
    subprocess.run(
        ["sh", "-c", join, "sh", sys.executable, "-IS", str(_RELAY), port, far, str(DELAY)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        cwd="/",
        check=True,
    )
