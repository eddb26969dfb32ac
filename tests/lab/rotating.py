"""Rotations of a lab, in this process or as an operator types them, and what is true of its hosts afterwards.

`rotate` runs the engine with real SSH and lets a test break hosts at an exact moment; `fab` runs the program.
`truth` asks the hosts themselves, beside hivekeys: through their namespaces and over HTTP.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hivekeys import inventory
from hivekeys import token as tokens
from hivekeys.errors import ExitCode
from hivekeys.fleet import Amount, Fleet, Timeouts
from hivekeys.journal.events import Event, Intent, Outcome, Phase, PhaseStarted, State
from hivekeys.journal.run import REVOKE, ROTATE, Run
from hivekeys.lab import Lab
from hivekeys.lab.faults import in_force, mend
from hivekeys.lab.files import SECRETS
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.program import program_of
from hivekeys.protocol.verbs import Greeting
from hivekeys.rotation.crew import Crew
from hivekeys.rotation.drive import Drive, paced
from hivekeys.rotation.moves import REVOCATION
from hivekeys.rotation.shards.shard import OwnShard
from hivekeys.ssh.dialer import SshDialer
from hivekeys.token import Token
from tests.builders.documents import printed
from tests.builders.project import PROJECT

from .asking import eventually, put_token, restart, status

INVENTORY = PROJECT / "inventory"
FAB = str(Path(sys.executable).with_name("fab"))
AGENT = program_of()
WHOLE = {"api-token": "600 llama-orch:llama-orch"}  # the token directory of a host that no run is at work on
SOON = Timeouts(connect=3, banner=3, auth=10, channel=5, request=8)  # nobody is far away in a lab
STARTED: list[subprocess.Popen[str]] = []  # each `fab` that a test began
EVERYBODY = Amount(100, percent=True)
Hook = Callable[[Event], None]


@dataclass(frozen=True)
class Rotation:
    """A rotation that is over."""

    run: Run
    token: Token
    events: tuple[Event, ...]

    @property
    def code(self) -> ExitCode:
        assert self.run.code is not None
        return self.run.code

    @property
    def states(self) -> dict[str, State]:
        return {name: host.state for name, host in self.run.hosts.items()}

    @property
    def troubles(self) -> dict[str, Trouble]:
        """The hosts that failed, and why."""
        return {name: host.cause.trouble for name, host in self.run.hosts.items() if host.cause}


def all_but(lab: Lab, usual: State, **others: State) -> dict[str, State]:
    """A state for every host: the usual one, but for these."""
    return dict.fromkeys(lab.hosts, usual) | others


def fleet_of(lab: Lab, **policy: Any) -> Fleet:
    """The lab's inventory, with the short windows of a test unless told otherwise."""
    return short(inventory.load(lab.folder / "inventory.toml"), **policy)


def short(fleet: Fleet, **policy: Any) -> Fleet:
    """A fleet with a moment of stability, little patience, and all hives in one wave."""
    quick: dict[str, Any] = {
        "stable_seconds": 0.3,
        "health_deadline": 15.0,
        "batch": EVERYBODY,
        "revocation_recheck": 0.2,
    }
    return replace(fleet, policy=replace(fleet.policy, **quick | policy), timeouts=SOON)


def rotate(
    fleet: Fleet, *hooks: Hook, token: Token | None = None, clock: Any = time, who: str = "tester@bastion"
) -> Rotation:
    """Turn the fleet, as `fab rotate` does; every hook hears every event before it counts."""
    token = token or tokens.generate()
    runner, events = _begun(fleet, hooks, ROTATE, clock, who)
    drive = Drive(runner, make=lambda: token)
    if drive.look():
        drive.go()
    else:
        runner.end()
    return Rotation(runner.run, token, tuple(events))


def revoke(fleet: Fleet, *hooks: Hook) -> Rotation:
    """Bring the fleet a new token because the old one leaked, as `fab revoke` does."""
    token = tokens.generate()
    runner, events = _begun(paced(fleet), hooks, REVOKE)
    Drive(runner, REVOCATION, lambda: token).go()
    return Rotation(runner.run, token, tuple(events))


def _begun(
    fleet: Fleet, hooks: Sequence[Hook], task: str, clock: Any = time, who: str = "tester@bastion"
) -> tuple[Crew, list[Event]]:
    events: list[Event] = []

    def record(told: Sequence[Event]) -> None:
        for event in told:
            events.append(event)
            for hook in hooks:
                hook(event)

    greeting = Greeting(fleet.name, secrets.token_bytes(32), f"{fleet.name}-{secrets.token_hex(4)}", who, write=False)
    program = program_of("sweep") if task == REVOKE else AGENT
    runner = Crew(fleet, [OwnShard(fleet, fleet.hosts, SshDialer(fleet, program))], greeting, record, clock, task=task)
    return runner, events


def before(phase: Phase, do: Callable[[], object], host: str = "") -> Hook:
    """Do something once: just before a phase begins or, with `host`, before that host is told to act in it."""
    done: list[Event] = []

    def hook(event: Event) -> None:
        begins = isinstance(event, PhaseStarted) and not host
        acts = isinstance(event, Intent) and event.host == host
        if not done and (begins or acts) and isinstance(event, PhaseStarted | Intent) and event.phase is phase:
            done.append(event)
            do()

    return hook


def after(phase: Phase, do: Callable[[], object], host: str) -> Hook:
    """Do something once, as soon as a host is through with a phase."""
    done: list[Event] = []

    def hook(event: Event) -> None:
        if not done and isinstance(event, Outcome) and (event.host, event.phase) == (host, phase):
            done.append(event)
            do()

    return hook


# -- as an operator types it


@dataclass(frozen=True)
class Answer:
    """What `fab` said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        return {host["host"]: host for host in self.document["hosts"]}


def start_fab(*words: str, state: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """`fab` at work, from a bastion whose state is in `state`."""
    started = subprocess.Popen(
        [FAB, *words],
        cwd=PROJECT,
        env={**os.environ, "HIVEKEYS_STATE_DIR": str(state), **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(started)
    return started


def end_fab(process: subprocess.Popen[str], stdin: str = "") -> Answer:
    """Its answer, when it is through."""
    with process:
        out, err = process.communicate(stdin, timeout=120)
    printed([str(word) for word in process.args][1:], process.returncode, out)  # type: ignore[union-attr]  # a list
    return Answer(process.returncode, out, err)


def fab(*words: str, state: Path, stdin: str = "", env: Mapping[str, str] | None = None) -> Answer:
    """Run `fab` to its end."""
    return end_fab(start_fab(*words, state=state, env=env), stdin)


def write_policy(lab: Lab, **policy: object) -> None:
    """The lab's inventory with this [rollout] table, for `fab` to read."""
    quick: dict[str, object] = {
        "stable_seconds": 0.3,
        "health_deadline": 15,
        "batch": "100%",
        "revocation_recheck": 0.2,
    }
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in (quick | policy).items()]
    lab.inventory.write_text((lab.folder / "inventory.toml").read_text() + "\n[rollout]\n" + "".join(lines))


# -- the truth


@dataclass(frozen=True)
class Truth:
    """A host as it is. `started` is when its service did: microseconds on the clock that all hosts share."""

    token: str
    files: dict[str, str]
    started: int
    serves: int  # the service's answer to that token


_LOOK = f"""\
cd {SECRETS}
find . -type f -printf '%P %m %u:%g\\n'
systemctl show -p ExecMainStartTimestampMonotonic --value $1
"""


def truth_of(lab: Lab, name: str) -> Truth:
    host = lab.hosts[name]
    *files, started = lab.run(name, ["sh", "-euc", _LOOK, "sh", host.unit], check=True).stdout.splitlines()
    token = lab.read(name, f"{SECRETS}/api-token").strip()
    return Truth(token, dict(file.split(" ", 1) for file in files), int(started), status(host, token))


def truth(lab: Lab) -> dict[str, Truth]:
    """All hosts as they are."""
    with ThreadPoolExecutor() as pool:
        return dict(zip(lab.hosts, pool.map(partial(truth_of, lab), lab.hosts), strict=True))


def serves(lab: Lab, token: str, *, refused: str = "", but: tuple[str, ...] = ()) -> bool:
    """Whether every host (`but` for these) holds this token alone, serves it, and refuses the other and none."""
    found = truth(lab)
    return all(
        (host.token, host.files, host.serves) == (token, WHOLE, 200)
        and status(lab.hosts[name], None) == 401
        and (not refused or status(lab.hosts[name], refused) == 401)
        for name, host in found.items()
        if name not in but
    )


def mended(lab: Lab) -> None:
    """Every fault off every host."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(mend, lab), [name for name in lab.hosts if in_force(lab, name)]))


def made_whole(lab: Lab) -> None:
    """However a test ended, one token everywhere and nothing else; by hand, without hivekeys."""
    mended(lab)
    token = truth_of(lab, "queen").token
    for name, host in truth(lab).items():
        if (host.token, host.files, host.serves) != (token, WHOLE, 200):
            lab.sh(name, f"find {SECRETS} -type f -delete")
            put_token(lab, name, token)
            restart(lab, name)
            assert eventually(lambda: status(lab.hosts[name], token) == 200)  # noqa: B023  called at once
