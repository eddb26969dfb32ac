"""The program of a worker that is a process: `python -m hivekeys.rotation.shards.process DESCRIPTOR`."""

import hashlib
import os
import signal
import socket
import sys

from hivekeys.protocol.program import installed_program, program_of
from hivekeys.rotation.shards.link import Link, LinkLostError
from hivekeys.rotation.shards.messages import Begin
from hivekeys.rotation.shards.worker import Worker
from hivekeys.ssh import limits, password
from hivekeys.ssh.dialer import SshDialer, Sudo
from hivekeys.ssh.excluded import Guarded
from hivekeys.ssh.line import Dialer


def dialer_of(begin: Begin) -> Dialer:
    """What dials the hosts of this worker over SSH."""
    limits.raise_open_files(len(begin.hosts), begin.fleet.policy.width)
    sudo = Sudo(password.Password(begin.password)) if begin.password is not None else None
    digest = hashlib.sha256(installed_program()).hexdigest()
    return Guarded(SshDialer(begin.fleet, program_of(*begin.modules), sudo, digest), begin.excluded)


def main() -> None:
    """Serves one run, and leaves at once when it is gone."""
    limits.forbid_core_dumps()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # who is asked to stop is the run; it tells us
        signal.signal(number, signal.SIG_IGN)
    link = Link(socket.socket(fileno=int(sys.argv[1])))
    try:
        Worker(link, dialer_of).serve()
    except LinkLostError:
        os._exit(1)  # no thread is waited for: what its host does, the host ends by itself


if __name__ == "__main__":
    main()
