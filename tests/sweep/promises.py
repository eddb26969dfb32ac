"""DESIGN.md's promises, checked on the hosts and not by the program's own word.

`WatchedFleet` looks at a host before and after every verb that its agents carry out, and remembers what broke a
promise; `breaches` looks at what a run left behind. Nothing here asks the engine what happened but for the states
that it reported: these are compared with the hosts.
"""

import json
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Policy, Role
from hivekeys.host.slots import is_under
from hivekeys.host.state import STATE
from hivekeys.journal.events import Event, State
from hivekeys.journal.run import Run
from hivekeys.service import Apply, Drain
from hivekeys.token import Token
from tests.inprocess import KEY, InProcessFleet, InProcessLine, SimulatedHost

GARBAGE = "0f" * 32
ALONE = {"staged": None, "previous": None}
HEX = frozenset("0123456789abcdef")
POLICY = Policy(canary=1, batch=Amount(1), stable_seconds=3.0, revocation_recheck=0.0)
MOVING = ("stage", "accept", "swap", "revert", "retire", "discard")  # verbs that change what lies in the slots
SCRATCH = ".api-token.hivekeys"
OnVerb = Callable[[InProcessLine, str, str], None]  # the line, "before" or "after", "host: verb"


class WatchedFleet(InProcessFleet):
    """A fleet under watch. `broken` has every promise that was seen broken, in words; it must stay empty.

    `made` maps a run to the tokens that it brought to any host. A host in `refuses_new` does not start with any token
    but the one from the beginning.
    """

    def __init__(
        self,
        folder: Path,
        hives: int = 2,
        policy: Policy = POLICY,
        drain: Drain | None = None,
        service: Mapping[str, Any] = MappingProxyType({}),
        clients: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        self.broken: list[str] = []
        self.made: dict[str, set[str]] = defaultdict(set)
        self.refuses_new: set[str] = set()
        self.keeps_clients = "accepts" in service  # as the services do that accept two
        self.revoking: set[str] = set()  # runs that may only go forward
        self.revoked: set[str] = set()  # tokens that leaked
        self._before: dict[str, set[str]] = {}  # what lay on a host when a verb began
        self.on_verb: OnVerb | None = None
        self._runs: dict[InProcessLine, str] = {}
        self._turning: set[str] = set()
        super().__init__(folder, hives, policy=policy, drain=drain, service=service, clients=clients)
        self.ever = {self.token.reveal()}

    def condemn(self, keyed: set[str]) -> None:
        """A journal says from now on that these tokens leaked."""
        with self._lock:
            self.revoked |= {text for text in self.ever if Token(text).fingerprint(KEY).keyed in keyed}

    # -- what agents report

    def asks(self, host: SimulatedHost, request: dict[str, Any], line: InProcessLine) -> None:
        for step in request["steps"]:
            if step["verb"] == "hello":
                self._runs[line] = step["run"]
        with self._lock:
            self._turning.discard(host.name)
        super().asks(host, request, line)

    def answers(self, line: InProcessLine) -> None:
        with self._lock:
            self._turning.discard(line.host.name)
        super().answers(line)

    def begins(self, host: SimulatedHost, verb: str, line: InProcessLine) -> None:
        if self.on_verb:
            self.on_verb(line, "before", f"{host.name}: {verb}")
        super().begins(host, verb, line)
        if verb in MOVING:
            self._before[host.name] = {text for text in host.slots().values() if text}
        if verb == "restart":
            self._begins_restart(host, line)
        if verb == "retire":
            self._begins_retire(host, line)

    def ended(self, host: SimulatedHost, verb: str, line: InProcessLine, *, ok: bool) -> None:
        if verb in MOVING:
            self._look_at_files(host, verb, line)
        super().ended(host, verb, line, ok=ok)
        self._look_at_clients(f"{host.name}: {verb}")
        if self.on_verb:
            self.on_verb(line, "after", f"{host.name}: {verb}")

    def nobody_works(self) -> None:
        """The bastion is gone, and with it whatever was under way."""
        with self._lock:
            self._turning.clear()

    # -- promises that hold at every moment

    def _begins_restart(self, host: SimulatedHost, line: InProcessLine) -> None:
        """Promise 9: never more hosts out of service than the wave allows; never the queen together with hives."""
        if host.name in self.refuses_new:
            host.fault = None if host.active_token() == self.token.reveal() else "start-fails"
        with self._lock:
            self._turning.add(host.name)
            roles = Counter(self.hosts[name].host.role for name in self._turning)
            policy = self.inventory.policy
            assert isinstance(policy.batch, Amount)
            most = max(policy.canary, policy.batch.of(len(self.inventory.hives)))
            if self._runs[line] in self.revoking:
                most = len(self.inventory.hives)
            # A revocation turns clients beside hives that are late.
            apart = (Role.QUEEN, Role.HIVE) if self._runs[line] in self.revoking else tuple(Role)
            if roles[Role.HIVE] > most or sum(roles[role] > 0 for role in apart) > 1:
                self.broken.append(f"promise 9: out of service together: {sorted(self._turning)}")

    def _begins_retire(self, host: SimulatedHost, line: InProcessLine) -> None:
        """Promise 4: the old token goes only when no host needs it any more and the new one works everywhere.

        Or when it leaked: then it goes from every host that has been proven, whatever the others do.
        """
        if self._runs[line] in self.revoking:
            return
        slots = host.slots()  # its own agent is here, at rest
        new, old = slots["active"], slots["previous"]
        if old is None or new is None or old == new:
            return
        for other in self.hosts.values():
            if active_of(other) == old or (other.process and other.process.token == old):
                self.broken.append(f"promise 4: {host.name} retires the token that {other.name} uses")
            if new in self.made[self._runs[line]] and not is_proven(other, new):
                self.broken.append(f"promise 4: {host.name} retires before {other.name} is proven")

    def _look_at_clients(self, what: str) -> None:
        """Promise 18: at every moment there is one token that every service accepts, where each accepts two."""
        services = [host for host in self.hosts.values() if not host.host.service.is_client]
        hosts = [host for host in services if host.host.service.apply is not Apply.RESTART]
        if not self.keeps_clients or len(hosts) < len(services):
            return
        taken = [{host.process.token, *host.process.others} if host.process else set() for host in hosts]
        everywhere = set.intersection(*taken)
        if not everywhere:
            self.broken.append(f"promise 18: after {what} no token is accepted everywhere")
        clients = [host for host in self.hosts.values() if host.host.service.is_client]
        refused = [host.name for host in clients if host.presented and host.presented not in everywhere]
        if refused:
            self.broken.append(f"promise 18: after {what} a service refuses what {', '.join(refused)} presents")

    def _look_at_files(self, host: SimulatedHost, verb: str, line: InProcessLine) -> None:
        """Promises 1, 2 and 5: every token file whole and closed to others; one new token a run; none that leaked."""
        self.broken.extend(f"promise 1: after {verb}, {fault}" for fault in faults_of_files(host))
        slots = {text for text in host.slots().values() if text}
        leaked = (slots - self._before[host.name]) & self.revoked
        if any(self._is_known(text, host) for text in leaked):
            self.broken.append(f"promise 5: {verb} brought a token that leaked to {host.name}")
        for text in slots:
            with self._lock:
                if text not in self.ever:
                    self.ever.add(text)
                    made = self.made[self._runs[line]]
                    made.add(text)
                    if len(made) > 1:
                        self.broken.append(f"promise 2: a second new token in one run, on {host.name}")

    def _is_known(self, text: str, host: SimulatedHost) -> bool:
        """Whether it counts that this token leaked: in the words of the host itself, of the queen, or of two others.

        What one hive alone says stops nobody: it may be the enemy. No bastion brings what its own journal has revoked:
        that is in every greeting, and the host refuses it.
        """
        told = [name for name, other in self.hosts.items() if has_tombstone(other, text)]
        return len(told) > 1 or host.name in told or self.inventory.queen.name in told


def has_tombstone(host: SimulatedHost, text: str) -> bool:
    """Whether the host remembers that this token leaked."""
    path = host.root / STATE / "tombstones"
    return path.exists() and any(is_under(stone, text) for stone in json.loads(path.read_text()))


def active_of(host: SimulatedHost) -> str | None:
    """The active token of a host at which an agent may be at work."""
    try:
        return host.active.read_text().strip()
    except FileNotFoundError:
        return None


def is_proven(host: SimulatedHost, token: str) -> bool:
    """The proofs, asked at the service's door: this token works, no other that ever was, none, garbage."""
    fleet = host.fleet
    assert isinstance(fleet, WatchedFleet)
    others = [text for text in fleet.ever if text != token]
    doors = [host.status(host.protected, text) for text in (None, GARBAGE, *others)]
    return active_of(host) == token and host.accepts(token) and set(doors) == {401}


def faults_of_files(host: SimulatedHost) -> list[str]:
    """What is wrong with the token files of a host; none are left behind half-made."""
    faults = []
    for path in sorted(host.secrets.iterdir()):
        info, text = path.lstat(), path.read_text()
        if not stat.S_ISREG(info.st_mode) or stat.S_IMODE(info.st_mode) != 0o600:
            faults.append(f"{host.name}: {path.name} is {stat.filemode(info.st_mode)}")
        if (info.st_uid, info.st_gid) != (host.uid, host.gid):
            faults.append(f"{host.name}: {path.name} belongs to {info.st_uid}:{info.st_gid}")
        lines = text.splitlines(keepends=True) if path.name == "api-tokens" else [text]
        if any(len(line) != 65 or not line.endswith("\n") or not HEX.issuperset(line[:-1]) for line in lines):
            faults.append(f"{host.name}: {path.name} is no whole token")
        if path.name not in ("api-token", "api-token.new", "api-token.backup", "api-tokens", "api-token.previous"):
            faults.append(f"{host.name}: {path.name} is left over")
    return faults


# -- promises at the end of a run


def not_alone(fleet: WatchedFleet, token: str, hosts: Iterable[str] = ()) -> list[str]:
    """The hosts that do not serve this token, proven, with nothing of another one left over."""
    names = tuple(hosts) or tuple(fleet.hosts)
    found = {name: fleet.hosts[name] for name in names}
    return [
        f"{name}: {_shown(fleet, host)}"
        for name, host in found.items()
        if host.slots() != {"active": token, **ALONE} or not is_proven(host, token)
    ]


def _shown(fleet: WatchedFleet, host: SimulatedHost) -> str:
    """A host's slots and process in words that can be read: which of the tokens, not the text."""
    words = {text: f"token {number}" for number, text in enumerate(sorted(fleet.ever))}
    words[fleet.token.reveal()] = "old"
    slots = {slot: words.get(text or "", text and "?") for slot, text in host.slots().items()}
    runs = words.get(host.process.token or "", "none") if host.process else "stopped"
    return f"{slots}, runs {runs}"


def breaches(fleet: WatchedFleet, run: Run, events: Iterable[Event]) -> list[str]:
    """Every promise that is broken now that a run is over, cut off or paused: to be asked before anything changes."""
    found = [*fleet.broken, *secrets_in(fleet, repr(list(events)))]
    if run.id and set(run.hosts) != set(fleet.hosts):
        found.append("promise 7: a host without a state")
    for name, part in run.hosts.items():
        host = fleet.hosts[name]
        found.extend(f"promise 1: {fault}" for fault in faults_of_files(host))
        if run.code in (None, ExitCode.LOCKED):  # others are at work there: its states are from before
            continue
        active = host.active_token()
        shown = Token(active).fingerprint(KEY) if active else None
        if part.state is State.PROVEN and (shown != run.want or not is_proven(host, active or "")):
            found.append(f"promise 3: {name} is called proven: {_shown(fleet, host)}")
        if run.code is ExitCode.ROLLED_BACK and part.state is State.ROLLED_BACK and shown != part.was:
            found.append(f"promise 7: {name} is called rolled back: {_shown(fleet, host)}")
    if run.code == 0 and not run.rolled_back and not run.stopped and run.want:
        found.extend(f"promise 3: done, but {name}" for name in _not_done(fleet, run))
    return found


def _not_done(fleet: WatchedFleet, run: Run) -> list[str]:
    tokens = Counter(host.active_token() or "" for host in fleet.hosts.values())
    if len(tokens) != 1:
        return ["hosts have different tokens"]
    (token,) = tokens
    return not_alone(fleet, token)


def secrets_in(fleet: WatchedFleet, text: str) -> list[str]:
    """Promise 10: no token in what was written down."""
    return ["promise 10: a token was written down" for token in fleet.ever if token in text]
