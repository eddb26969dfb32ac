"""Raises and checks this process's limits (open files, threads), and switches core dumps off.

A line to a host is one file descriptor and one thread for the whole run. Too few of them would end a run in its middle,
with an error that names no cause; so soft limits are raised as far as the hard ones let us, and a fleet that needs more
is refused.
"""

import os
import resource
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hivekeys.errors import UserError

BESIDE = 128  # descriptors that are no line: journal, screen, libraries
PR_SET_DUMPABLE = 4  # prctl(2)
A_LOGIN = 4  # and while one logs in: pipes to ssh -G, to a ProxyCommand, to an SSH agent


def forbid_core_dumps() -> None:
    """From now on no core dump is made of this process, and no other one of the same account looks into it.

    A token or a password is in its memory. A limit of core dumps (`ulimit -c`) would not do: a core_pattern that is a
    pipe, as of systemd-coredump, does not ask it, and it lets a debugger in.
    """
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  3 ms that `fab --list` has not

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def raised(hosts: int, width: int, soft: int, hard: int) -> int:
    """The soft limit under which so many hosts can be held, `width` of them logging in at once.

    Raises UserError, naming the limit, when the hard limit is lower than that.
    """
    needed = hosts + width * A_LOGIN + BESIDE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return soft
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"{hosts} hosts need {needed} open files at once, and this machine's hard limit for you is {hard}",
            hint=f"raise it (ulimit -Hn {needed} as root, or `nofile` in /etc/security/limits.conf), or use --limit",
        )
    return needed


def raise_open_files(hosts: int, width: int) -> None:
    """Raise this process's limit of open files to what a run needs; a UserError when that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = raised(hosts, width, soft, hard)
    if wanted != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


BESIDE_THREADS = 16  # threads that are neither a line nor a worker: sign of life, deadlines, screen, resolvers
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Ceiling:
    """A limit of threads: what it is called, how many it lets us start yet, and how to raise it."""

    name: str
    left: int
    hint: str


def check_threads(hosts: int, width: int, ceilings: Iterable[Ceiling]) -> None:
    """Raises UserError, naming the limit, when one of them is too low for so many hosts, `width` of them at work."""
    needed = hosts + width + BESIDE_THREADS
    for ceiling in ceilings:
        if ceiling.left < needed:
            raise UserError(
                f"{hosts} hosts need {needed} threads at once, and {ceiling.name} leaves you {max(0, ceiling.left)}",
                hint=f"{ceiling.hint}, or use --limit",
            )


def ceilings() -> Iterator[Ceiling]:
    """The limits of threads that hold for this process; its user's soft one is raised to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    if hard != resource.RLIM_INFINITY and os.getuid() != 0:  # root is bound by no such limit
        hint = "raise it (ulimit -Hu as root, or `nproc` in /etc/security/limits.conf)"
        yield Ceiling(f"your limit of processes ({hard})", hard - _threads_of(os.getuid()), hint)
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, own = line.split(":", 2)
        if not controllers:
            yield from control_groups(CGROUPS, own)
        elif "pids" in controllers.split(","):  # version 1 of control groups
            yield from control_groups(CGROUPS / "pids", own)


def control_groups(root: Path, own: str) -> Iterator[Ceiling]:
    """The limits of the control group `own`, as in /proc/self/cgroup, and of those that it is in."""
    here = root / own.lstrip("/")
    for group in (here, *here.parents):
        most, now = _text(group / "pids.max").strip(), _text(group / "pids.current").strip()
        if most.isdecimal() and now.isdecimal():
            hint = "raise it (TasksMax= of the systemd unit, --pids-limit of the container)"
            yield Ceiling(f"{group / 'pids.max'} ({most})", int(most) - int(now), hint)
        if group == root:
            return


def _threads_of(user: int) -> int:
    """How many threads a user has now."""
    found = 0
    for process in Path("/proc").iterdir():
        facts = dict(line.partition(":")[::2] for line in _text(process / "status").splitlines())
        if facts.get("Uid", "").split()[:1] == [str(user)]:
            found += int(facts["Threads"])
    return found


def _text(path: Path) -> str:
    """What is in a file; nothing, where there is none or it is not for us to read."""
    try:
        return path.read_text()
    except OSError:
        return ""
