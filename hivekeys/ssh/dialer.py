"""Opens lines to the agents of a fleet."""

from hivekeys.fleet import Become, Fleet, Host
from hivekeys.protocol.causes import Cause
from hivekeys.ssh.bootstrap import COMMANDS, opening, with_python
from hivekeys.ssh.channel import open_line
from hivekeys.ssh.heartbeat import Heartbeat
from hivekeys.ssh.line import QUIET, Applicant, Line
from hivekeys.ssh.routes import Routes
from hivekeys.ssh.sudo import Sudo

__all__ = ["Routes", "SshDialer", "Sudo"]


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
        self._routes = Routes(fleet)
        self._heartbeat = Heartbeat()

    def connect(self, host: Host, applicant: Applicant) -> None:
        """Begins to connect to a host that no jump host and no ProxyCommand stands before."""
        self._routes.connect(host, applicant)

    def dial(self, host: Host) -> Line | Cause:
        """Connect, verify, log in and start the agent. Bounded by the fleet's time-outs, hop by hop."""
        route = self._routes.route(host)
        if isinstance(route, Cause):
            return route
        login = self._routes.log_in(route, host.name)
        if isinstance(login, Cause):
            return login
        prompt = self._sudo.prompt(host.name) if self._sudo and host.become is Become.SUDO_PASSWORD else None
        command = with_python(prompt.command if prompt else COMMANDS[host.become], host.python)
        if host.become is Become.RESTRICTED:
            line = open_line(login, command, b"", self._timeouts, digest=self._digest, quiet=self._quiet)
        else:
            line = open_line(login, command, self._opening, self._timeouts, prompt, quiet=self._quiet)
        return line if isinstance(line, Cause) else self._heartbeat.add(line)

    def close(self) -> None:
        """Ends the heartbeat, connections that nobody took, and those to jump hosts; lines behind them break."""
        self._heartbeat.stop()
        self._routes.close()
