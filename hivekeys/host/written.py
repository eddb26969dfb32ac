"""Lists the folders that a service writes to, which `install --harden` must leave writable.

Runs ON a host, in one text with agent.py, when it is asked for. With ProtectSystem=strict all of them would be
read-only, and a service with a database would not start again.
"""

import os

from hivekeys.host.paths import read_limited

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Iterable

MOST_FOLDERS = 20  # that one unit is given: who has more open is no service of ours
# systemd.exec(5), ProtectSystem=, PrivateTmp=
LEFT_WRITABLE = ("/dev/", "/proc/", "/sys/", "/tmp/", "/var/tmp/")  # noqa: S108  they are only compared with
INFO = 1 << 12  # bytes of an entry in /proc/PID/fdinfo; proc(5)


def folders_written(pids: "Iterable[int]") -> "list[str]":
    """The folders of the files that these processes have open for writing, where they still have names."""
    found = set()
    for pid in pids:
        fds = "/proc/%d/fd" % pid
        try:
            names = os.listdir(fds)
        except OSError:
            continue
        for name in names:
            path = open_for_writing(pid, name)
            if path.startswith("/") and not path.startswith(LEFT_WRITABLE) and not path.endswith(" (deleted)"):
                found.add(os.path.dirname(path))
    return sorted(found)[:MOST_FOLDERS]


def open_for_writing(pid: int, name: str) -> str:
    """What an open file of a process is called; "" for one that is only read, or gone."""
    try:
        fd = os.open("/proc/%d/fdinfo/%s" % (pid, name), os.O_RDONLY)
        try:
            lines = (read_limited(fd, INFO) or b"").decode("ascii", "replace").splitlines()
        finally:
            os.close(fd)
        flags = [int(line.split()[1], 8) for line in lines if line.startswith("flags:")]
        return os.readlink("/proc/%d/fd/%s" % (pid, name)) if flags and flags[0] & os.O_ACCMODE != os.O_RDONLY else ""
    except (OSError, ValueError, IndexError):
        return ""
