"""Lines to agents over SSH. This package alone names fabric and paramiko; what they raise becomes a Cause.

    reach.py    the socket to the first hop: TCP, or a ProxyCommand
    login.py    host key, keys and algorithms: from a socket to a logged-in connection
    keyring.py  private keys from files and from the agent on this machine
    jumps.py    jump hosts, shared by all the hosts behind them
    channel.py  the session on a host: start the agent, ask, answer
    hearing.py  what a host says until its agent is ready
    sudo.py     a password for sudo, given to a host that asks for it
    pulse.py    the sign of life that keeps the agents, and their locks
    stream.py   its bytes, bounded in time and memory

`ssh -G` and known_hosts are OpenSSH's to read: `hivekeys.openssh`, `hivekeys.known_hosts`.
"""

from hivekeys.bootstrap import COMMANDS, opening
from hivekeys.causes import Cause
from hivekeys.fleet import Become, Fleet, Host
from hivekeys.known_hosts import KnownHosts
from hivekeys.known_keys import KnownKeys
from hivekeys.line import Line
from hivekeys.openssh import OpenSsh, Target
from hivekeys.remote.channel import open_line
from hivekeys.remote.jumps import Jumps
from hivekeys.remote.keyring import Keyring
from hivekeys.remote.login import Login, log_in
from hivekeys.remote.pulse import Pulse
from hivekeys.remote.reach import Wire, reach
from hivekeys.remote.sudo import Sudo
from hivekeys.ssh_settings import Settings

__all__ = ["SshDialer", "Sudo"]


class SshDialer:
    """Opens lines to a fleet's hosts. One for each run; `dial` is safe for many threads at once."""

    def __init__(self, fleet: Fleet, program: bytes, sudo: Sudo | None = None) -> None:
        """`program` is the text of the agent; `sudo` has the password for hosts whose sudo asks for one."""
        self._sudo = sudo
        self._timeouts = fleet.timeouts
        self._opening = opening(program)
        self._openssh = OpenSsh(fleet.ssh.config, fleet.ssh.known_hosts, fleet.timeouts.connect)
        self._known_hosts = KnownHosts(fleet.timeouts.connect)
        self._keyring = Keyring()
        self._jumps = Jumps(self._log_in)
        self._pulse = Pulse()

    def dial(self, host: Host) -> Line | Cause:
        """Connect, verify, log in and start the agent. Bounded by the fleet's time-outs, hop by hop."""
        route = self._openssh.route(Target(host.address, host.port, host.user, host.key, host.jump))
        if isinstance(route, Cause):
            return route
        login = self._log_in(route, host.name)
        if isinstance(login, Cause):
            return login
        door = self._sudo.door(host.name) if self._sudo and host.become is Become.SUDO_PASSWORD else None
        command = door.command if door else COMMANDS[host.become]
        line = open_line(login, command, self._opening, self._timeouts, door)
        return line if isinstance(line, Cause) else self._pulse.keep(line)

    def close(self) -> None:
        """End the sign of life, and the connections to jump hosts; lines behind them break."""
        self._pulse.stop()
        self._jumps.close()

    def _log_in(self, route: tuple[Settings, ...], who: str) -> Login | Cause:
        """A connection to the last hop of `route`, for the host named `who`."""
        *before, settings = route
        known = self._known_hosts.keys(settings.known_as, settings.known_hosts)
        if isinstance(known, Cause):
            return known
        if not before:
            return self._over(reach(settings, self._timeouts.connect), settings, known)
        with self._jumps.wire(tuple(before), who, settings, self._timeouts.channel) as wire:
            return self._over(wire, settings, known)

    def _over(self, wire: Wire | Cause, settings: Settings, known: KnownKeys) -> Login | Cause:
        return wire if isinstance(wire, Cause) else log_in(wire, settings, known, self._keyring, self._timeouts)
