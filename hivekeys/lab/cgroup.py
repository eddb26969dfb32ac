"""Finds and ends the processes of a host by its control group.

Every process of lab NAME lives below `hivekeys-lab/NAME` in the cgroup-2 tree, wherever that is mounted: at
`/sys/fs/cgroup` on a machine of today, at `/sys/fs/cgroup/unified` on a hybrid one. `cgroup.kill` ends a
whole tree at once, so no process is ever looked up by its name.
"""

import time
from pathlib import Path

from hivekeys.errors import ExitCode, UserError

TOP = "hivekeys-lab"


def _mounts() -> list[tuple[str, Path]]:
    """The cgroup file systems: type and mount point."""
    fields = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [(kind, Path(point)) for _, point, kind, *_ in fields if kind in ("cgroup", "cgroup2")]


def _root() -> Path:
    for kind, point in _mounts():
        if kind == "cgroup2":
            return point
    raise UserError(
        "no cgroup2 file system is mounted",
        hint="mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
    )


def of(lab: str, part: str = "") -> Path:
    """Where the control group of a lab, or of one part of it (a host, a relay), is or would be."""
    return _root() / TOP / lab / part


def create(lab: str, part: str) -> Path:
    """Make the group and return it; a process joins by writing its pid to `cgroup.procs`."""
    group = of(lab, part)
    group.mkdir(parents=True, exist_ok=True)
    return group


def first_process(lab: str, host: str) -> int | None:
    """The pid, as this machine sees it, of the host's own PID 1; None when the host does not run."""
    try:
        pids = (of(lab, host) / "payload/init.scope/cgroup.procs").read_text().split()
    except OSError:  # never booted, or ended this instant
        return None
    return int(pids[0]) if pids else None


def kill(lab: str, part: str = "", *, timeout: float = 20) -> None:
    """End every process in the group and below, and wait until none is left; nothing to do is fine."""
    group = of(lab, part)
    if not group.exists():
        return
    pids = _pids(group)
    (group / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + timeout
    while "populated 1" in (group / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            raise UserError(
                f"processes of lab {lab!r} do not end",
                hint=f"see {group}/cgroup.procs",
                code=ExitCode.INCOMPLETE,
            )
        time.sleep(0.01)
    # They are dead now; give the machine's PID 1 a moment to bury them.
    deadline = time.monotonic() + 3
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)


def freeze(lab: str, part: str, *, still: bool, timeout: float = 20) -> None:
    """Let every process in the group and below stand still, or go on; returns once they do."""
    group = of(lab, part)
    (group / "cgroup.freeze").write_text(f"{still:d}")
    deadline = time.monotonic() + timeout
    while f"frozen {still:d}" not in (group / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            words = "stand still" if still else "go on"
            raise UserError(f"processes of {part} in lab {lab!r} do not {words}", code=ExitCode.INCOMPLETE)
        time.sleep(0.01)


def _pids(group: Path) -> list[int]:
    """The processes of the group and below, at this instant."""
    return [int(pid) for procs in group.rglob("cgroup.procs") for pid in procs.read_text().split()]


def remove(lab: str, part: str = "") -> None:
    """Remove the (empty) groups, in every hierarchy: on a hybrid machine nspawn mirrors them into the old one."""
    for _, point in _mounts():
        group = point / TOP / lab / part
        if group.exists():
            for folder in sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True):
                folder.rmdir()
            group.rmdir()
        top = point / TOP
        if top.exists() and not any(p.is_dir() for p in top.iterdir()):
            top.rmdir()
