"""The route to each host: settings for every hop, known keys, connections to jump hosts."""

import contextlib
from collections.abc import Iterator

from hivekeys.errors import UserError
from hivekeys.fleet import Fleet, Host
from hivekeys.protocol.causes import Cause
from hivekeys.protocol.hints import general
from hivekeys.ssh.connector import Connector
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_hosts import KnownHosts
from hivekeys.ssh.hostkeys.known_keys import KnownKeys
from hivekeys.ssh.jumps import Jumps, Route
from hivekeys.ssh.keyring import Keyring
from hivekeys.ssh.line import Applicant
from hivekeys.ssh.login import Login, log_in
from hivekeys.ssh.openssh import OpenSsh, Target
from hivekeys.ssh.reach import Wire, reach
from hivekeys.ssh.settings import Settings


class Routes:
    """One for each run. Safe for many threads."""

    def __init__(self, fleet: Fleet) -> None:
        self.timeouts = fleet.timeouts
        self._openssh = OpenSsh(fleet.ssh.config, fleet.ssh.known_hosts, fleet.timeouts.connect)
        self._known_hosts = KnownHosts(fleet.timeouts.connect)
        self._keyring = Keyring()
        self._jumps = Jumps(self.log_in)
        self._connector = Connector(self._direct, fleet.timeouts.connect)

    def connect(self, host: Host, applicant: Applicant) -> None:
        """Begins to connect to a host, if it is reached directly: the next wire to it is there then."""
        self._connector.connect(host, applicant)

    def _direct(self, host: Host) -> Settings | None:
        route = self.route(host)
        return route[0] if not isinstance(route, Cause) and len(route) == 1 and not route[0].proxy_command else None

    def route(self, host: Host) -> Route | Cause:
        """Every hop to the host, which comes last. Contacts no host."""
        return self._openssh.route(Target(host.address, host.port, host.user, host.key, host.jump))

    def known(self, settings: Settings) -> KnownKeys | Cause:
        """What known_hosts says of a hop."""
        return self._known_hosts.keys(settings.known_as, settings.known_hosts)

    def known_in(self, name: str, file: str) -> tuple[HostKey, ...]:
        """The keys that one file has for a name. UserError if it cannot be read."""
        known = self._known_hosts.keys(name, (file,))
        if isinstance(known, Cause):
            raise UserError(known.detail, hint=general(known.trouble))
        return known.keys

    @contextlib.contextmanager
    def wire(self, route: Route, who: str) -> Iterator[Wire | Cause]:
        """A wire to the last hop of `route`, for the host named `who`. Log in within the block."""
        *before, settings = route
        if not before:
            yield self._connector.take(who, settings) or reach(settings, self.timeouts.connect)
            return
        with self._jumps.wire(tuple(before), who, settings, self.timeouts.channel) as wire:
            yield wire

    def log_in(self, route: Route, who: str) -> Login | Cause:
        """A connection to the last hop of `route`, for the host named `who`. Bounded by the time-outs, hop by hop."""
        known = self.known(route[-1])
        if isinstance(known, Cause):
            return known
        with self.wire(route, who) as wire:
            if isinstance(wire, Cause):
                return wire
            return log_in(wire, route[-1], known, self._keyring, self.timeouts)

    def reload_known_hosts(self) -> None:
        """known_hosts has been changed: read it anew, and give jump hosts that were refused another chance."""
        self._known_hosts = KnownHosts(self.timeouts.connect)
        self._jumps.close()
        self._jumps = Jumps(self.log_in)

    def close(self) -> None:
        """End connections that nobody took, and those to jump hosts; lines behind them break."""
        self._connector.close()
        self._jumps.close()
