"""Workers as processes of this machine: each at the other end of a socket pair, and gone when this process is."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hivekeys
from hivekeys.rotation.shards.link import Link

ROOT = Path(hivekeys.__file__).parents[1]


def start_worker() -> Link:
    """A worker that waits for its hosts. It has a session of its own: Ctrl-C and the terminal's end are not for it."""
    ours, theirs = socket.socketpair()
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hivekeys.rotation.shards.process", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    return Link(ours, let_go=lambda: _end(process))


def started_ahead() -> Callable[[], Link]:
    """What starts a shard's workers; the first starts at once, while the run still gets ready."""
    first = [start_worker()]
    return lambda: first.pop() if first else start_worker()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # one that has ended by itself is only waited for
    process.wait()
