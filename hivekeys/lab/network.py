"""The network of a lab: one bridge, one private /24, a port for each host.

This machine has the address .1 on the bridge, so it is the fleet's bastion. Every link carries the lab's
name as its alias: what a killed lab left can be found, and nothing else is ever removed. There is no route
out.
"""

import hashlib
import ipaddress
import json
import time
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.lab.programs import call

POOL = ipaddress.ip_network("10.213.0.0/16")
FIRST_HOST = 10
MOST_HOSTS = 245  # .10 to .254
_FORWARDING = "3"


def alias(lab: str) -> str:
    """What marks a network link as the lab's."""
    return f"hivekeys-lab:{lab}"


def bridge(lab: str) -> str:
    """The bridge's name; the kernel takes 15 characters, so a long name is hashed."""
    plain = f"hk-{lab}"
    return plain if len(plain) <= 15 else f"hk-{hashlib.sha256(lab.encode()).hexdigest()[:12]}"


def port(address: str) -> str:
    """The name of the bridge's port to the host at `address`."""
    _, _, third, fourth = address.split(".")
    return f"hk{third}-{fourth}"


def free_subnet() -> str:
    """The first /24 of the pool that no route of this machine, in any table, touches."""
    routes = json.loads(call(["ip", "-json", "-4", "route", "show", "table", "all"]))
    taken = [ipaddress.ip_network(r["dst"], strict=False) for r in routes if r["dst"] != "default"]
    for subnet in POOL.subnets(new_prefix=24):
        if not any(subnet.overlaps(other) for other in taken):
            return str(subnet)
    raise UserError(f"every /24 of {POOL} is in use on this machine", hint="take a lab down: fab lab.status")


def addresses(subnet: str, count: int) -> list[str]:
    """The addresses of `count` hosts, the queen's first."""
    network = ipaddress.ip_network(subnet)
    return [str(network[FIRST_HOST + i]) for i in range(count)]


def create(lab: str, subnet: str) -> None:
    """Make the bridge and give this machine its address on it."""
    name = bridge(lab)
    gateway = ipaddress.ip_network(subnet)[1]
    commands = f"""\
link add {name} type bridge mcast_snooping 0
link set {name} alias {alias(lab)} addrgenmode none up
address add {gateway}/24 dev {name}
"""
    call(["ip", "-batch", "-"], text=commands)


def settle(port: str, *, timeout: float = 3) -> None:
    """Wait until the bridge forwards what comes in at `port`: the kernel sees a cable up to a second late."""
    state = Path(f"/sys/class/net/{port}/brport/state")
    deadline = time.monotonic() + timeout
    while state.exists() and state.read_text().strip() != _FORWARDING and time.monotonic() < deadline:
        time.sleep(0.02)


def remove(lab: str) -> None:
    """Remove every link of the lab; the ports' other ends go with them."""
    for link in links(lab):
        # A port whose host has just died may vanish by itself in between; only what stays is an error.
        try:
            call(["ip", "link", "delete", link])
        except UserError:
            if link in links(lab):
                raise


def links(lab: str) -> list[str]:
    """The lab's links on this machine: bridge, ports, and whatever a fault added."""
    found = json.loads(call(["ip", "-json", "link", "show"]))
    return [link["ifname"] for link in found if link.get("ifalias") == alias(lab)]
