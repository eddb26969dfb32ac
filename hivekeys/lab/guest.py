"""Runs a program inside a host, from outside (`nsenter`)."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence

from hivekeys.lab.programs import environment

_ENVIRONMENT = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "SYSTEMD_PAGER=",
]


def run(pid: int, argv: Sequence[str], *, text: str | None, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `argv` beside the process `pid` as root, with a clean environment.

    At the deadline the whole process group ends, and subprocess.TimeoutExpired is raised: nsenter itself is
    only the parent of what runs in the host, so to end it alone would leave the program behind.
    """
    enter = ["nsenter", "--target", str(pid), "--all", "--wd", "env", "--ignore-environment", *_ENVIRONMENT]
    child = subprocess.Popen(
        [*enter, *argv],
        stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment(),
        start_new_session=True,
    )
    try:
        out, err = child.communicate(text, timeout)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise
    return subprocess.CompletedProcess(list(argv), child.returncode, out, err)
