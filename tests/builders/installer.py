"""An operator at the bastion who types `fab install` for an in-process fleet."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import hivekeys.host.verbs.install
import hivekeys.host.verbs.tombstones
import hivekeys.host.verbs.uninstall  # noqa: F401  hosts know their verbs
from hivekeys.journal.events import Event, Phase, PhaseStarted
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.verbs import Greeting
from hivekeys.token import Fingerprint, Token, generate
from hivekeys.upkeep.changes import UpkeepResult
from hivekeys.upkeep.current_token import Grounds
from hivekeys.upkeep.first_token import TokenSource
from hivekeys.upkeep.install import install
from hivekeys.upkeep.upkeep import Upkeep
from tests.inprocess import KEY, InProcessFleet, OwnClock


class Installer:
    """Types `fab install`. `events` is what it recorded, `kept` a result for each host, in the order of change."""

    def __init__(
        self,
        fleet: InProcessFleet,
        revoked: Mapping[Fingerprint, str] = MappingProxyType({}),
        key: bytes = KEY,
        apply: bool = True,
        hosts: Sequence[str] = (),
        known: Token | None = None,
        source: str = "",
    ) -> None:
        """`hosts`: those of --limit; `known`: what the journal knows; `source`: the host that --from names."""
        self.events: list[Event] = []
        told = {fingerprint.keyed: run for fingerprint, run in revoked.items()}
        greeting = Greeting(fleet.inventory.name, key, "install-1", "ann@bastion", revoked=told)
        every = {host.name: host for host in fleet.inventory.hosts}
        chosen = [every[name] for name in hosts or every]
        grounds = Grounds(known.fingerprint(key) if known else None, every.get(source))
        work = Upkeep(
            fleet.inventory, chosen, fleet.dialer(), greeting, self.events.extend, Phase.INSTALL, apply, "", OwnClock()
        )
        try:
            self.kept: list[UpkeepResult] = install(work, (), TokenSource(generate, revoked, grounds))
        finally:
            work.close()

    @property
    def phases(self) -> dict[str, tuple[str, ...]]:
        return {event.title: event.hosts for event in self.events if isinstance(event, PhaseStarted)}

    @property
    def troubles(self) -> dict[str, Trouble]:
        return {one.host: one.cause.trouble for one in self.kept if one.cause}
