"""What a rotation of a large fleet costs the bastion: wall, CPU, memory, threads, descriptors; the hosts are simulated.

    python -m bench.size --hosts 200 1000 3000 --width 32 --rtt 0 20 200 --dead 0.05 --slow 0.05

For each combination it starts a fleet (`bench.simulated`, a process of its own, which is not counted), lets
`fab rotate` turn it, and prints a row. The fleet's work shares this machine's processors with the bastion's.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench.contenders import FAB
from bench.results import machine
from bench.simulated import KINDS, Hosts

LOOKS = 0.2  # seconds between two looks at the bastion's threads and descriptors
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  a thousand hosts have a thousand disks, not one
ROLLOUT = 'width = {width}\nprocesses = {processes}\nmax_failures = "50%"\nbatch = "{batch}"\n'


@dataclass(frozen=True)
class Row:
    """One run: seconds of wall and CPU, milliseconds of CPU a host, MiB, most threads and descriptors at once.

    `cpu` is of all processes; `own_ms_a_host` of the one that decides, its start included.
    """

    hosts: int
    width: int
    processes: int
    rtt_ms: float
    wall: float
    cpu: float
    cpu_ms_a_host: float
    own_ms_a_host: float
    peak_mib: float
    threads: int
    descriptors: int
    exit: int
    states: str
    requests: str  # how many hosts were asked so many times
    load: float


def main() -> None:
    """Measure every combination that was asked for."""
    asked = _asked()
    print(json.dumps(machine()), flush=True)
    print(" | ".join(field.name for field in fields(Row)), flush=True)
    for hosts, width, processes, rtt in itertools.product(asked.hosts, asked.width, asked.processes, asked.rtt):
        with tempfile.TemporaryDirectory(dir=MEMORY) as hives, tempfile.TemporaryDirectory() as own:
            row = measured(Path(hives), Path(own), hosts, width, processes, rtt, asked)
        print(" | ".join(map(str, asdict(row).values())), flush=True)


def measured(
    folder: Path, own: Path, hosts: int, width: int, processes: int, rtt: float, asked: argparse.Namespace
) -> Row:
    """A fleet, and one rotation of it; the bastion's `own` folder is on a disk."""
    shares = [f"--{kind}={getattr(asked, kind)}" for kind in KINDS]
    rollout = ROLLOUT.format(width=width, processes=processes, batch=asked.batch)
    told = [f"--hosts={hosts}", f"--rtt={rtt / 1000}", f"--slow-seconds={asked.slow_seconds}", f"--rollout={rollout}"]
    told += ["--waits"] if asked.waits else []
    with Hosts(folder, *told, *shares) as simulated:
        command = [FAB, "rotate", "--fleet", str(folder / "fleet.toml"), "--state-dir", str(own / "state")]
        command = [*asked.under.split(), *command, "--yes", "--json"]
        began = time.monotonic()
        with (own / "result.json").open("wb") as out, Path(asked.log).open("ab") as log:
            bastion = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
            most, alone, usage, code = _watched(bastion)
        wall = time.monotonic() - began
        reports = simulated.report().values()
    result = json.loads((own / "result.json").read_text())
    cpu = usage.ru_utime + usage.ru_stime
    states = Counter(host["state"] for host in result["hosts"])
    return Row(
        hosts,
        width,
        processes,
        rtt,
        round(wall, 1),
        round(cpu, 1),
        round(1000 * cpu / hosts, 1),
        round(1000 * alone / hosts, 1),
        round(usage.ru_maxrss / 1024, 1),
        *most,
        code,
        ", ".join(f"{count} {state}" for state, count in states.most_common()),
        ", ".join(f"{many} × {each}" for each, many in Counter(one.requests for one in reports).most_common()),
        round(os.getloadavg()[0], 1),
    )


def _watched(bastion: "subprocess.Popen[bytes]") -> tuple[tuple[int, int], float, resource.struct_rusage, int]:
    """Until it has ended: most threads and most descriptors, its own CPU, that with its children's, its exit code."""
    most, alone = [0, 0], 0.0
    over = threading.Event()

    def watch() -> None:
        nonlocal alone
        while not over.wait(LOOKS):
            try:
                status = Path(f"/proc/{bastion.pid}/status").read_text().split("Threads:")[1]
                seen = int(status.split()[0]), sum(1 for _ in Path(f"/proc/{bastion.pid}/fd").iterdir())
                used = Path(f"/proc/{bastion.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            except (OSError, IndexError):  # it has just ended
                continue
            most[:] = map(max, most, seen)
            alone = max(alone, sum(map(int, used)) / os.sysconf("SC_CLK_TCK"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _, status, usage = os.wait4(bastion.pid, 0)
    finally:
        over.set()
        watcher.join()
    bastion.returncode = os.waitstatus_to_exitcode(status)
    return (most[0], most[1]), alone, usage, bastion.returncode


def _asked(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.size", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--hosts", type=int, nargs="+", default=[200, 1000, 3000])
    parser.add_argument("--width", type=int, nargs="+", default=[32], help="hosts in flight at once (default: 32)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="that hold the lines (default: 1)")
    parser.add_argument("--rtt", type=float, nargs="+", default=[0.0], help="round-trip times in milliseconds")
    parser.add_argument("--batch", default="25%", help="hives in a wave (default: 25%%)")
    for kind, meaning in KINDS.items():
        parser.add_argument(f"--{kind}", type=float, default=0.0, help=f"share of hosts that {meaning}")
    parser.add_argument("--slow-seconds", type=float, default=5.0, help="seconds that a slow host's answers take more")
    parser.add_argument("--waits", action="store_true", help="what hosts wait for takes its time: stable_seconds")
    parser.add_argument("--log", default=os.devnull, help="a file for what the bastion says")
    parser.add_argument("--under", default="", help="a command to run the bastion under, such as a profiler")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
