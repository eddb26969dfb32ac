"""Boots hosts in parallel and waits until they answer.

A host is one process tree: its overlay mount, its `/run` and its network namespace belong to that tree and
vanish with it, so to end the processes is to clean up. The shell script below is the story of one host, in
the order it happens.
"""

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hivekeys.errors import ExitCode, UserError
from hivekeys.lab import cgroup, image, network
from hivekeys.lab.model import Host, Lab
from hivekeys.lab.programs import environment

# Each systemd takes some inotify instances, and all of them are root's.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 8192

# Run under `unshare --mount --net`. $UP is the pid of who boots: its network namespace is this machine's. As on any
# host, root administers its own network (nftables): CAP_NET_ADMIN, in a namespace of the host's own.
SCRIPT = """\
set -eu
echo $$ >"$GROUP/cgroup.procs"
ip link set lo up
ip link add eth0 type veth peer name "$PORT" netns "$UP"
ip link set eth0 addrgenmode none
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
nsenter --target "$UP" --net ip link set "$PORT" alias "$ALIAS" addrgenmode none master "$BRIDGE" up
mount -t overlay overlay -o "lowerdir=$IMAGE,upperdir=$FOLDER/upper,workdir=$FOLDER/work" "$FOLDER/root"
mount -t tmpfs tmpfs /run
exec systemd-nspawn --quiet --settings=no --boot --register=no --keep-unit --machine="$HOST" \\
    --directory="$FOLDER/root" --network-namespace-path=/proc/self/ns/net \\
    --capability=CAP_NET_ADMIN --link-journal=no --resolv-conf=off --timezone=off
"""


def folder(lab: Lab, name: str) -> Path:
    """Where a host's own files and its console's output lie."""
    return lab.folder / "hosts" / name


def start(lab: Lab, host: Host) -> None:
    """Start one host and return at once. Its console goes to a file, for when it doesn't come up."""
    place = folder(lab, host.name)
    for part in ("upper", "work", "root"):
        (place / part).mkdir(parents=True, exist_ok=True)
    variables = {
        "HOST": host.name,
        "FOLDER": str(place),
        "IMAGE": str(image.path(host.release)),
        "GROUP": str(cgroup.create(lab.name, host.name)),
        "UP": str(os.getpid()),
        "PORT": network.port(host.address),
        "ADDRESS": host.address,
        "ALIAS": network.alias(lab.name),
        "BRIDGE": network.bridge(lab.name),
        # systemd 257 boots on the unified hierarchy only; the lock and the rest would outlive a killed lab.
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        "SYSTEMD_NSPAWN_LOCK": "0",
    }
    with (place / "console.log").open("wb") as console:
        # A session of its own: the terminal's Ctrl-C and its closing are not for the hosts. And no child of ours.
        subprocess.run(
            ["setsid", "--fork", "unshare", "--mount", "--net", "--propagation=slave", "sh", "-c", SCRIPT],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**environment(), **variables},
            check=True,
        )


def start_all(lab: Lab) -> None:
    """Start every host of the lab."""
    if int(INOTIFY.read_text()) < INOTIFY_INSTANCES:
        INOTIFY.write_text(str(INOTIFY_INSTANCES))
    for host in lab.hosts.values():
        start(lab, host)


def wait(lab: Lab, *, timeout: float, service: bool, only: Iterable[str] = ()) -> None:
    """Wait until the hosts answer SSH and, with `service`, HTTP; at the deadline say which do not, and why."""
    questions: Mapping[str, Callable[[Host], bool]] = {"SSH": _answers_ssh, "HTTP": _answers_http}
    deadline = time.monotonic() + timeout
    for what in ["SSH", "HTTP"] if service else ["SSH"]:
        waiting = [lab.host(name) for name in (tuple(only) or lab.hosts)]
        while waiting := [host for host in waiting if not questions[what](host)]:
            if time.monotonic() > deadline:
                raise UserError(
                    f"no answer to {what} after {timeout:.0f} s from {', '.join(host.name for host in waiting)}",
                    hint=_last_words(lab, waiting[0]),
                    code=ExitCode.INCOMPLETE,
                )
            time.sleep(0.05)


def _answers_ssh(host: Host) -> bool:
    try:
        with socket.create_connection((host.address, 22), timeout=0.5) as line:
            return line.recv(8).startswith(b"SSH-")
    except OSError:
        return False


def _answers_http(host: Host) -> bool:
    line = http.client.HTTPConnection(host.address, host.port, timeout=0.5)
    try:
        line.request("GET", "/health" if host.role == "queen" else "/v1/health")
        return line.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        line.close()


def _last_words(lab: Lab, host: Host) -> str:
    console = folder(lab, host.name) / "console.log"
    lines = console.read_text(errors="replace").split("\n") if console.exists() else []
    return f"the console of {host.name} ends: {' | '.join(line.strip() for line in lines[-4:] if line.strip())}"
