"""Workers as processes of this machine: each at the other end of a socket pair, and gone when this process is."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hivekeys
from hivekeys.errors import UserError
from hivekeys.rotation.shards.link import Link

FEWER = "ask for fewer `processes`, or raise what the machine allows (ulimit -u, TasksMax=)"
ROOT = Path(hivekeys.__file__).parents[1]


def start_worker() -> Link:
    """A worker that waits for its hosts. It has a session of its own: Ctrl-C and the terminal's end are not for it.

    Raises UserError where this machine has no room for one more process.
    """
    ours, theirs = socket.socketpair()
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-P", "-m", "hivekeys.rotation.shards.process", str(theirs.fileno())]
    with theirs:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )
        except OSError as error:
            ours.close()
            raise UserError(
                f"a process for the lines to hosts cannot be started: {error.strerror}", hint=FEWER
            ) from None
    return Link(ours, let_go=lambda: _end(process))


def started_ahead() -> Callable[[], Link]:
    """What starts a shard's workers; the first starts at once, while the run still gets ready."""
    first = [start_worker()]
    return lambda: first.pop() if first else start_worker()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # one that has ended by itself is only waited for
    process.wait()
