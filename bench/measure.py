"""One run, measured from outside: time and memory of its processes, what its hosts logged, and what is true of them.

The tool runs in a control group of its own, so that processes it leaves behind count too.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hivekeys.lab import Lab, cgroup
from hivekeys.lab.files import SECRETS
from tests.lab.asking import status

T = TypeVar("T")
PART = "bench"
PATIENCE = 600  # seconds for one command of a tool
_COUNT = """\
logged() { journalctl -q -o cat --since "@$1" -t sshd -t sshd-session -t sudo; }
logged "$1" | \\
	awk '/^Accepted publickey/ { a++ } /^Starting session: / { e++ } /COMMAND=/ { s++ } END { print a+0, e+0, s+0 }'
"""


@dataclass(frozen=True)
class Run:
    """What one run cost: seconds and MiB on the bastion; of an average host, milliseconds of CPU and what it logged."""

    wall: float
    cpu: float
    host_cpu: float
    memory: float
    connections: float
    execs: float
    sudos: float


class WrongError(Exception):
    """The tool failed, or what it left on a host is not what was asked for."""


def prepare(lab: Lab) -> None:
    """Let every host's sshd log its sessions, and its systemd allow as many restarts as a benchmark needs."""
    script = """\
echo 'LogLevel VERBOSE' >/etc/ssh/sshd_config.d/bench.conf
systemctl reload ssh
mkdir -p /etc/systemd/system/$1.service.d
printf '[Unit]\\nStartLimitIntervalSec=0\\n' >/etc/systemd/system/$1.service.d/bench.conf
systemctl daemon-reload
"""
    _everywhere(lab, lambda name: lab.run(name, ["sh", "-euc", script, "sh", lab.hosts[name].unit], check=True))


def run(lab: Lab, commands: Sequence[Sequence[str]], variables: Mapping[str, str], log: Path) -> Run:
    """Run the commands of one tool; what they print goes to `log`."""
    group = cgroup.create(lab.name, PART)
    before, hosts_before = _cpu(group), _cpu_of_hosts(lab)
    began = time.time()
    started = time.monotonic()
    over = threading.Event()
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(group, over, peak))
    watcher.start()
    try:
        for command in commands:
            _run(group, command, variables, log)
        wall = time.monotonic() - started
    finally:
        over.set()
        watcher.join()
        cgroup.kill(lab.name, PART)
    cpu, host_cpu = _cpu(group) - before, (_cpu_of_hosts(lab) - hosts_before) * 1000 / len(lab.hosts)
    seen = _everywhere(lab, lambda name: _counted(lab, name, began))
    means = [sum(host[i] for host in seen) / len(seen) for i in range(3)]
    return Run(wall, cpu, host_cpu, peak[0], *means)


def check(lab: Lab, token: str, old: str) -> None:
    """Ask every host, beside all tools, whether the job is done; raises WrongError, naming the host."""

    def look(name: str) -> None:
        shape = lab.run(name, ["stat", "-c", "%a %U:%G %s", f"{SECRETS}/api-token"], check=True).stdout.strip()
        answers = [status(lab.hosts[name], one) for one in (token, old, None)]
        same = lab.read(name, f"{SECRETS}/api-token") == f"{token}\n"
        if not same or shape != "600 llama-orch:llama-orch 65" or answers != [200, 401, 401]:
            raise WrongError(f"{name}: the token's file is {'right' if same else 'wrong'}, {shape}; answers {answers}")

    _everywhere(lab, look)


def _run(group: Path, command: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
    join = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs"), *command]
    with log.open("ab") as out:
        done = subprocess.run(
            join,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **variables},
            timeout=PATIENCE,
            check=False,
        )
    if done.returncode:
        raise WrongError(f"{Path(command[0]).name} ended with {done.returncode}; see {log}")


def _cpu(group: Path) -> float:
    """Seconds of processor time of a control group, with all that ended in it."""
    lines = (group / "cpu.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["usage_usec"]) / 1e6


def _cpu_of_hosts(lab: Lab) -> float:
    return sum(_cpu(cgroup.of(lab.name, name)) for name in lab.hosts)


def _watch(group: Path, over: threading.Event, peak: list[float]) -> None:
    """Sum the resident memory of the group's processes ten times a second; pages they share count for each."""
    page = os.sysconf("SC_PAGE_SIZE")
    while not over.wait(0.1):
        total = 0
        for pid in (group / "cgroup.procs").read_text().split():
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except OSError:  # it has just ended
                continue
        peak[0] = max(peak[0], total * page / 2**20)


def _counted(lab: Lab, name: str, since: float) -> list[int]:
    lab.run(name, ["journalctl", "--sync"])
    return [
        int(count) for count in lab.run(name, ["sh", "-euc", _COUNT, "sh", f"{since:.3f}"], check=True).stdout.split()
    ]


def _everywhere(lab: Lab, do: Callable[[str], T]) -> list[T]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(do, lab.hosts))
