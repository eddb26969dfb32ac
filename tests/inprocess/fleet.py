"""A fleet of simulated hosts: what their agents began, who was out of service, and what happens in the middle."""

import grp
import os
import pwd
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hivekeys.fleet import CLIENT_SERVICE, SERVICES, Fleet, Host, Policy, Role
from hivekeys.service import Apply, Drain, Format
from hivekeys.token import generate

from .dialer import InProcessDialer
from .host import SimulatedHost
from .line import CutError, FrozenError, InProcessLine
from .traps import Trap, When


@dataclass(frozen=True)
class Entry:
    """One verb that a host's agent began: fleet.log holds them in the order in which they began."""

    host: str
    verb: str
    time: float  # the host's clock


def client_host(name: str, owner: str, group: str, own: Mapping[str, Any]) -> Host:
    """A host whose program presents the token; without a unit it reads its file by itself."""
    service = replace(CLIENT_SERVICE, owner=owner, group=group, token="/etc/runner/api-token", **own)
    service = service if service.unit else replace(service, apply=Apply.WATCH)
    return Host(name, Role.CLIENT, f"{name}.test", service=service)


class InProcessFleet:
    """One queen, so many hives, all with the same token and their services up.

    `inventory` is the fleet as the engine knows it, `token` what it starts with, `log` every verb that
    any agent began, `out_together` each set of hosts that were out of service at the same time (from the
    beginning of `restart` to a proof that holds). `on_request(host, request)` is called before a request
    is delivered.
    """

    def __init__(
        self,
        folder: Path,
        hives: int = 3,
        *,
        policy: Policy | None = None,
        credentials: bool = False,
        account: tuple[str, str] | None = None,
        beside: Mapping[str, str] = MappingProxyType({}),
        environment: str = "",
        service: Mapping[str, Any] = MappingProxyType({}),
        drain: Drain | None = None,
        clients: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        """`drain`: of the hives. `clients`: what each client has beside a file of its own, by its name.

        `environment`: the path of the units' environment file, where the token is a line of that; needs root.
        `credentials`: units read their token through systemd. `account`: the services' owner and group, if not
        whoever runs the tests; needs root. `beside`: the hosts that share the machine of another. `service`: what all
        services have of their own.
        """
        me, mine = account or (pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name)
        roles = {"queen": Role.QUEEN} | {f"hive{number}": Role.HIVE for number in range(1, hives + 1)}
        self.inventory = Fleet(
            name="inprocess",
            hosts=tuple(
                Host(
                    name,
                    role,
                    f"{beside.get(name, name)}.test",
                    service=replace(
                        SERVICES[role],
                        owner=me,
                        group=mine,
                        token=f"/etc/llama-orch/{name}/api-token"
                        if name in beside
                        else environment or SERVICES[role].token,
                        format=Format.ENVIRONMENT if environment else Format.TOKEN,
                        **service,
                        drain=drain if role is Role.HIVE else None,
                    ),
                    beside=beside.get(name, ""),
                )
                for name, role in roles.items()
            )
            + tuple(client_host(name, me, mine, own) for name, own in clients.items()),
            policy=policy or Policy(),
        )
        self.credentials = credentials
        self.token = generate()
        self.log: list[Entry] = []
        self.dialled: list[str] = []
        self.leads: dict[str, str] = {}  # names that lead to another host than the one they are meant for
        self.out_together: list[frozenset[str]] = []
        self.on_request: Callable[[SimulatedHost, dict[str, Any]], None] | None = None
        self._out: set[str] = set()
        self._traps: list[Trap] = []
        self._lock = threading.RLock()
        self.hosts = {host.name: SimulatedHost(self, host, folder / host.home) for host in self.inventory.hosts}
        for host in self.hosts.values():
            host.write(self.token)
            if host.host.service.unit:
                host.start()

    def dialer(self) -> InProcessDialer:
        """What one run on the bastion opens its lines with."""
        return InProcessDialer(self)

    def bastion_dies(self) -> None:
        """Every line ends as when the process that held it was killed."""
        for host in self.hosts.values():
            for line in list(host.lines):
                line.close()

    def bastion_falls_silent(self) -> None:
        """Its machine is gone, or the way to it: the agents wait for what no longer comes."""
        for host in self.hosts.values():
            for line in list(host.lines):
                line.leave()

    def advance(self, seconds: float) -> None:
        """Time passes on every host."""
        for host in self.hosts.values():
            host.clock += seconds

    def verbs(self, host: str) -> list[str]:
        """What this host's agents began, in order."""
        return [entry.verb for entry in self.log if entry.host == host]

    # -- things that happen in the middle of a run

    def at(
        self,
        host: str,
        verb: str,
        action: Callable[[SimulatedHost], None],
        *,
        when: When = "before",
        nth: int = 1,
    ) -> None:
        """Call `action(host)` before or after the n-th time the host's agent carries out the verb ("*": any)."""
        self._traps.append(Trap(host, verb, when, lambda found, _: action(found), nth))

    def cut(self, host: str, verb: str = "*", *, when: When = "before", nth: int = 1, silent: bool = False) -> None:
        """Break the line there. The agent begins nothing more; if `silent`, it finishes, unheard.

        `verb` may be "request": before it is delivered, or after all of it was done and before the reply.
        """
        self._traps.append(Trap(host, verb, when, lambda _, line: self._break(line, silent), nth))

    def _break(self, line: InProcessLine, silent: bool) -> None:
        if not silent:
            raise CutError
        line.silenced = True

    # -- what lines and agents report

    def asks(self, host: SimulatedHost, request: dict[str, object], line: InProcessLine) -> None:
        if self.on_request:
            self.on_request(host, request)
        self._spring(host, "request", "before", line)

    def answers(self, line: InProcessLine) -> None:
        self._spring(line.host, "request", "after", line)

    def begins(self, host: SimulatedHost, verb: str, line: InProcessLine) -> None:
        self._spring(host, verb, "before", line)
        if host.fault == "frozen":
            raise FrozenError
        with self._lock:
            self.log.append(Entry(host.name, verb, host.clock))
            if verb == "restart":
                self._out.add(host.name)
                self.out_together.append(frozenset(self._out))

    def ended(self, host: SimulatedHost, verb: str, line: InProcessLine, *, ok: bool) -> None:
        with self._lock:
            if verb == "prove" and ok:
                self._out.discard(host.name)
        self._spring(host, verb, "after", line)

    def _spring(self, host: SimulatedHost, verb: str, when: When, line: InProcessLine) -> None:
        """Count down the traps that this meets, and let off those whose time has come."""
        due = []
        with self._lock:
            for trap in list(self._traps):
                fits = trap.verb == verb or (trap.verb == "*" and verb != "request")
                if fits and trap.when == when and trap.host in (host.name, "*"):
                    trap.nth -= 1
                    if trap.nth == 0:
                        self._traps.remove(trap)
                        due.append(trap)
        for trap in due:
            trap.action(host, line)
