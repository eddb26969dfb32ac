"""A simulated host: its directory, its service, its clock, and what is wrong with it."""

import datetime
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivekeys.fleet import Host
from hivekeys.host import agent
from hivekeys.host.serving import LEASE_SECONDS
from hivekeys.host.state import STATE
from hivekeys.token import Token

from .faults import FAULTS, SILENCING
from .processes import Other
from .service import ServiceStandIn

if TYPE_CHECKING:
    from .fleet import InProcessFleet
    from .line import InProcessLine


IDLE_SECONDS = LEASE_SECONDS  # an agent that hears nothing leaves; serve
KEY = b"\x5a" * 32  # the fleet's key, where a test makes its own session
Lie = Callable[[dict[str, object], dict[str, Any]], dict[str, Any]]  # (request, honest answer) → the host's answer


class SimulatedHost(ServiceStandIn):
    """A host. `fault` is one of FAULTS, or None."""

    sudo_relays = False  # sudo stands between its callers and what they run
    sudo_rules = ""  # what it lists
    credentials_shown = ""  # what systemd says of the unit's credentials, "" as of most

    def __init__(self, fleet: "InProcessFleet", host: Host, root: Path) -> None:
        super().__init__(host, root, fleet.credentials)
        self.fleet = fleet
        self.name = host.name
        self.identity = str(root).encode()  # its machine's; b"": it cannot be told
        self.has_hard_links = True  # the file system of its token directory
        self.systemctl_hangs = False
        self.unit_settings: dict[str, str] = {}  # what `systemctl show` says of its unit beside the usual
        self.units: dict[str, str] = {}  # other units of the host, and their LoadState
        self.outlives_sigterm = False
        self.started: list[str] = []  # commands that its agent ran
        self.terminated: list[int] = []  # processes that were told to leave
        self.deaf: set[int] = set()  # those that do not
        self.lies: Lie | None = None  # what a hostile host says instead of what its agent would
        self.lies_later: Lie | None = None  # the same, once a test says so
        self.port_held_by: int | None = None  # uid of a stranger that took the service's port
        self.listens_on, self.speaks_tls = ("127.0.0.1", host.service.port), False  # whatever the inventory says
        self.addresses = {"127.0.0.1", "::1"}  # its own
        self.heard: list[str] = []  # tokens that the stranger was told
        self.others: dict[int, Other] = {}
        self.signals: list[tuple[int, int]] = []  # that those got
        self.others_heard: dict[int, list[str]] = {}  # tokens that each of them was told, by its pid
        self.kill_mode = "control-group"
        self.is_audited = False  # the service says that it writes an audit trail
        self.records_calls = False  # and does, of every call; as v0.1.0, not from where
        self.ahead = 0.0  # seconds that its wall clock is ahead of this machine's
        self.lines: list[InProcessLine] = []
        self.left_behind: dict[int, tuple[agent.Agent, float]] = {}
        self._fault: str | None = None
        (root / "var/lib").mkdir(parents=True, exist_ok=True)  # another service of the machine may have made it
        self.make_secrets()

    @property
    def fault(self) -> str | None:
        return self._fault

    @fault.setter
    def fault(self, name: str | None) -> None:
        if name is not None and name not in FAULTS:
            raise ValueError(f"no fault is called {name}")
        self._fault = name
        for line in self.lines:
            line.agent.deadline.lease = self.clock + LEASE_SECONDS if name in SILENCING else math.inf

    def runs(self, **settings: Any) -> Other:
        """One more process on this host."""
        other = Other(**settings)
        self.others[other.pid] = other
        return other

    def reimage(self) -> None:
        """The host as the installer leaves it: no tokens, no state of hivekeys', a service that lets nobody in."""
        for line in list(self.lines):
            line.drop()
        self.left_behind.clear()
        shutil.rmtree(self.root / STATE, ignore_errors=True)
        for path in self.secrets.iterdir():
            path.unlink()
        self.start()

    def writes(
        self,
        token: Token | None,
        *,
        ok: bool = True,
        path: str = "/v1/work",
        address: str = "10.0.0.9",
        after: float = 0.0,
        since: float | None = None,
    ) -> None:
        """The service's record of a call with this token, `after` so many seconds from `since`, or from now."""
        folder = self.root / "var/log/llama-orch/audit"
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.time() if since is None else since
        at = datetime.datetime.fromtimestamp(begin + after, datetime.UTC).isoformat()
        user = f"token:{token.fingerprint(KEY).fp6}" if token else None
        event: dict[str, Any] = {"event_type": "auth_failure", "attempted_user": user, "ip": address, "path": path}
        if ok:
            event = {"event_type": "auth_success", "actor": {"user_id": user, "ip": address}, "path": path}
        with (folder / f"{at[:10]}.audit").open("a") as file:
            file.write(json.dumps({"timestamp": at, "service_id": self.host.service.unit, "event": event}) + "\n")

    def end_leases(self) -> None:
        """Agents that have not heard of their bastion for that long have left, and their lock with them."""
        for pid, (left, since) in list(self.left_behind.items()):
            if self.clock - since >= IDLE_SECONDS:
                left.state.release()
                del self.left_behind[pid]
