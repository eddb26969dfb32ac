"""Lines to agents over SSH. This package alone names fabric and paramiko; what they raise becomes a Cause.

    roads.py      the ways to hosts: settings, known keys, jump hosts
    reach.py      the socket to the first hop: TCP, or a ProxyCommand
    transport.py  which algorithms are spoken
    login.py      host key and keys: from a socket to a logged-in connection
    keyring.py    private keys from files and from the agent on this machine
    jumps.py      jump hosts, shared by all the hosts behind them
    channel.py    the session on a host: start the agent, ask, answer
    hearing.py    what a host says until its agent is ready
    sudo.py       a password for sudo, given to a host that asks for it
    pulse.py      the sign of life that keeps the agents, and their locks
    stream.py     its bytes, bounded in time and memory
    deadlines.py  what ends a call that knows no time-out
    keyscan.py    the host keys that a host shows to a stranger

`ssh -G` and known_hosts are OpenSSH's to read: `hivekeys.ssh.openssh`, `hivekeys.ssh.hostkeys.known_hosts`.
"""

from hivekeys.ssh.bootstrap import COMMANDS, opening, with_python
from hivekeys.protocol.causes import Cause
from hivekeys.fleet import Become, Fleet, Host
from hivekeys.ssh.line import QUIET, Line
from hivekeys.ssh.channel import open_line
from hivekeys.ssh.heartbeat import Pulse
from hivekeys.ssh.routes import Roads
from hivekeys.ssh.sudo import Sudo

__all__ = ["Roads", "SshDialer", "Sudo"]


class SshDialer:
    """Opens lines to a fleet's hosts. One for each run; `dial` is safe for many threads at once."""

    def __init__(
        self, fleet: Fleet, program: bytes, sudo: Sudo | None = None, digest: str = "none", quiet: float = QUIET
    ) -> None:
        """`program` is the text of the agent; `sudo` has the password for hosts whose sudo asks for one.

        `digest`: that of the agent which hosts in restricted mode must have; they are sent no program. `quiet`: seconds
        after which a host that gives no sign of life is given up in the middle of a request.
        """
        self._sudo = sudo
        self._digest = digest
        self._quiet = quiet
        self._timeouts = fleet.timeouts
        self._opening = opening(program)
        self._roads = Roads(fleet)
        self._pulse = Pulse()

    def dial(self, host: Host) -> Line | Cause:
        """Connect, verify, log in and start the agent. Bounded by the fleet's time-outs, hop by hop."""
        route = self._roads.route(host)
        if isinstance(route, Cause):
            return route
        login = self._roads.log_in(route, host.name)
        if isinstance(login, Cause):
            return login
        door = self._sudo.door(host.name) if self._sudo and host.become is Become.SUDO_PASSWORD else None
        command = with_python(door.command if door else COMMANDS[host.become], host.python)
        if host.become is Become.RESTRICTED:
            line = open_line(login, command, b"", self._timeouts, digest=self._digest, quiet=self._quiet)
        else:
            line = open_line(login, command, self._opening, self._timeouts, door, quiet=self._quiet)
        return line if isinstance(line, Cause) else self._pulse.keep(line)

    def close(self) -> None:
        """End the sign of life, and the connections to jump hosts; lines behind them break."""
        self._pulse.stop()
        self._roads.close()
