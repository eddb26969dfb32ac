"""A fleet that lives in this process: rollouts without SSH, systemd or root.

Only the lowest seam is faked. Each host is a temporary directory with the real `agent.Agent` at work in it,
with real files and real locks; `Machine` stands for systemd, service and clock; a line is a function call
with JSON both ways. Faults have the names of the lab's. No test sleeps: a host's clock moves when its agent
sleeps.

    fleet = InProcessFleet(tmp_path, hives=3)
    fleet.hosts["hive2"].fault = "start-fails"
    fleet.cut("hive3", "swap", when="after")
    …                                             a rollout of fleet.inventory over fleet.dialer()
    assert fleet.hosts["hive1"].accepts(token)
"""

import datetime
import errno
import grp
import itertools
import json
import math
import os
import pwd
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import hivekeys.host.auditing
import hivekeys.host.places  # noqa: F401  hosts know the verbs of both, too
from hivekeys.fleet import SERVICES, Fleet, Format, Host, Policy, Role, Service
from hivekeys.host import agent
from hivekeys.host.places import Neighbours
from hivekeys.host.serving import LEASE_SECONDS, answer
from hivekeys.host.slots import CREDENTIALS, Secrets
from hivekeys.host.sockets import LISTENS, forms_of
from hivekeys.host.state import STATE, State
from hivekeys.host.system import System, place_of, refuse_strangers
from hivekeys.host.tls import Tls
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.wire import Greeting
from hivekeys.ssh.line import QUIET
from hivekeys.token import Token, generate

FAULTS = {
    "start-fails": "the service does not start",
    "start-slow": "the service is healthy only `slow_seconds` after its start",
    "keeps-old-token": "a restarted service goes on with the token it had",
    "accepts-any-token": "the service lets anybody in",
    "crash-loops": "the service dies 2 s after each start from now on",
    "disk-full": "nothing can be written in the token directory",
    "read-only": "nothing can be changed in the token directory",
    "var-full": "nothing can be written in /var/lib/hivekeys",
    "link-down": "the host cannot be reached; open lines are silent",
    "link-slow": "every request takes 0.2 s longer",
    "sshd-frozen": "sshd takes connections and says nothing; open lines are silent",
    "frozen": "every process stands still; the kernel takes connections",
    "sudo-refused": "new lines end at sudo",
    "host-key-changed": "new lines are refused: the host shows another key",
}
ON_DIAL = {
    "link-down": Cause(Trouble.NO_CONNECTION, "connect: timed out"),
    "sshd-frozen": Cause(Trouble.NO_BANNER, "no SSH banner"),
    "frozen": Cause(Trouble.NO_BANNER, "no SSH banner"),
    "sudo-refused": Cause(Trouble.SUDO_REFUSED, "sudo: a password is required"),
    "host-key-changed": Cause(Trouble.HOST_KEY_CHANGED, "known_hosts has another key"),
}
SILENCING = ("link-down", "sshd-frozen", "frozen")
TOKEN = SERVICES[Role.HIVE].token
IDLE_SECONDS = LEASE_SECONDS  # an agent that hears nothing leaves; serve
CRASH_SECONDS = 2.0
KEY = b"\x5a" * 32  # the fleet's key, where a test makes its own session
_numbers = itertools.count(1000)  # pids and process starts: unique among all hosts of a test run

When = Literal["before", "after"]


@dataclass(frozen=True)
class Entry:
    """One verb that a host's agent began: fleet.log holds them in the order in which they began."""

    host: str
    verb: str
    time: float  # the host's clock


@dataclass
class Process:
    """A running service, with its own copy of the token; None: it has none, and lets nobody in."""

    token: str | None
    version: tuple[int, int]  # inode and change time of the token file that it read
    ready_at: float
    dies_at: float
    pid: int = field(default_factory=lambda: next(_numbers))


@dataclass
class Other:
    """A process that is not the service's own: a worker that outlived a restart, a second hive, a metrics port.

    `takes`: the token that it lets in, None for anybody; `port`: 0 for none; `held`: the one in its environment.
    """

    takes: str | None = None
    port: int = 0
    held: str = ""
    comm: str = "worker"
    in_unit: bool = True
    uid: int | None = None  # None: the service's account
    speaks_http: bool = True
    stubborn: bool = False  # only SIGKILL ends it
    unit: str = ""  # the system service whose main process it is
    pid: int = field(default_factory=lambda: next(_numbers))

    def status(self, token: str | None) -> int:
        if not self.speaks_http:
            return 0
        return 200 if self.takes is None or token == self.takes else 401


Lie = Callable[[dict[str, object], dict[str, Any]], dict[str, Any]]  # (request, honest answer) → the host's answer


class OwnClock:
    """Time that passes only when somebody sleeps, on a bastion and on no host."""

    def __init__(self) -> None:
        self._now = 0.0
        self.ahead = 0.0  # seconds that the wall clock is ahead of what it was
        self._mutex = threading.Lock()

    def time(self) -> float:
        return 1_700_000_000.0 + self.ahead + self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float, /) -> None:
        with self._mutex:
            self._now += seconds


class SharedClock(OwnClock):
    """While the bastion waits, time passes on the hosts too."""

    def __init__(self, fleet: "InProcessFleet") -> None:
        super().__init__()
        self._fleet = fleet

    def sleep(self, seconds: float, /) -> None:
        super().sleep(seconds)
        self._fleet.advance(seconds)


class CutError(BaseException):
    """The line breaks here. No Exception: nothing in the agent may catch it."""


class FrozenError(BaseException):
    """The agent stands still here, and never goes on: its lease is over when it is thawed."""


class SimulatedHost:
    """A host: its directory, its service, its clock. `fault` is one of FAULTS, or None."""

    environment_token = ""  # its unit sets it, and the service reads nothing else
    sudo_relays = False  # sudo stands between its callers and what they run
    sudo_rules = ""  # what it lists
    credentials_shown = ""  # what systemd says of the unit's credentials, "" as of most

    def __init__(self, fleet: "InProcessFleet", host: Host, root: Path) -> None:
        self.fleet = fleet
        self.host = host
        self.name = host.name
        self.root = root
        self.identity = str(root).encode()  # its machine's; b"": it cannot be told
        self.clock = 1000.0
        self.slow_seconds = 5.0
        self.also_accepts: set[str] = set()  # tokens that the service takes besides its own: a cache, a second source
        self.last_words = "error: cannot start"
        self.has_hard_links = True  # the file system of its token directory
        self.systemctl_hangs = False
        self.unit_settings: dict[str, str] = {}  # what `systemctl show` says of its unit beside the usual
        self.units: dict[str, str] = {}  # other units of the host, and their LoadState
        self.outlives_sigterm = False
        self.invocation = ""  # of its unit's last start
        self.start_limit_hit = False  # systemd refuses to start the unit until its failures are reset
        self.started: list[str] = []  # commands that its agent ran
        self.terminated: list[int] = []  # processes that were told to leave
        self.deaf: set[int] = set()  # those that do not
        self.lies: Lie | None = None  # what a hostile host says instead of what its agent would
        self.lies_later: Lie | None = None  # the same, once a test says so
        self.credentials = fleet.credentials
        self.port_held_by: int | None = None  # uid of a stranger that took the service's port
        self.listens_on, self.speaks_tls = ("127.0.0.1", host.service.port), False  # whatever the inventory says
        self.addresses = {"127.0.0.1", "::1"}  # its own
        self.unknown_paths = (401, 404)  # what they answer without the right token, and with it
        self.answers: dict[str, int] = {}  # what a path answers to everybody, whatever it is
        self.heard: list[str] = []  # tokens that the stranger was told
        self.process: Process | None = None
        self.others: dict[int, Other] = {}
        self.environment_file = host.service.token if self.in_line else ""  # of its unit
        self.signals: list[tuple[int, int]] = []  # that those got
        self.others_heard: dict[int, list[str]] = {}  # tokens that each of them was told, by its pid
        self.unit_state = "inactive"
        self.restarts = 0
        self.uid = pwd.getpwnam(host.service.owner).pw_uid
        self.gid = grp.getgrnam(host.service.group).gr_gid
        self.log: list[str] = []  # the service's log lines since its last start
        self.kill_mode = "control-group"
        self.is_audited = False  # the service says that it writes an audit trail
        self.records_calls = False  # and does, of every call; as v0.1.0, not from where
        self.ahead = 0.0  # seconds that its wall clock is ahead of this machine's
        self.lines: list[InProcessLine] = []
        self.left_behind: dict[int, tuple[agent.Agent, float]] = {}
        self._fault: str | None = None
        (root / "var/lib").mkdir(parents=True, exist_ok=True)  # another service of the machine may have made it
        self.make_secrets()

    def make_secrets(self) -> None:
        """The token directory; an environment file lies in one of root's."""
        self.secrets.mkdir(parents=True, mode=0o700)
        if self.in_line:
            self.secrets.chmod(0o755)
        else:
            os.chown(self.secrets, self.uid, self.gid)

    @property
    def in_line(self) -> bool:
        """The token is a line of its unit's environment file."""
        return self.host.service.format is Format.ENVIRONMENT

    @property
    def fault(self) -> str | None:
        return self._fault

    @fault.setter
    def fault(self, name: str | None) -> None:
        if name is not None and name not in FAULTS:
            raise ValueError(f"no fault is called {name}")
        self._fault = name
        for line in self.lines:
            line.agent.lease = self.clock + LEASE_SECONDS if name in SILENCING else math.inf

    def runs(self, **settings: Any) -> Other:
        """One more process on this host."""
        other = Other(**settings)
        self.others[other.pid] = other
        return other

    # -- files

    @property
    def active(self) -> Path:
        """The path of the active slot."""
        return self.root / self.host.service.token.lstrip("/")

    @property
    def secrets(self) -> Path:
        """The token directory."""
        return self.active.parent

    def slots(self) -> dict[str, str | None]:
        """What is in the slots: active, staged, previous."""
        suffixes = {"active": "", "staged": ".new", "previous": ".backup"}
        there = {path.name for path in self.secrets.iterdir()}  # most hosts have one of the three
        names = {slot: self.active.name + suffix for slot, suffix in suffixes.items()}
        return {slot: self._text(self.secrets / name) if name in there else None for slot, name in names.items()}

    def _text(self, path: Path) -> str | None:
        try:
            text = path.read_text().strip()
        except FileNotFoundError:
            return None
        if not self.in_line:
            return text
        lines = [line for line in text.split("\n") if line.startswith("LLORCH_API_TOKEN=")]
        return lines[-1].partition("=")[2].strip("'\"") if lines else None

    def active_token(self) -> str | None:
        return self._text(self.active)

    def write(self, token: Token, slot: str = "") -> None:
        """Put a token into a slot by hand: "" (active), ".new" or ".backup"."""
        path = self.active.with_name(self.active.name + slot)
        path.touch(mode=0o600)
        if self.in_line:
            path.write_text(f"# of the service\nRUST_LOG=info\nLLORCH_API_TOKEN={token.reveal()}\nLLORCH_PORT='8081'\n")
            return
        os.chown(path, self.uid, self.gid)
        path.write_text(token.reveal() + "\n")

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

    # -- the service

    def accepts(self, token: Token | str) -> bool:
        """True when the running service lets this token in."""
        text = token.reveal() if isinstance(token, Token) else token
        return self.status(self.protected, text) == 200

    @property
    def result(self) -> str:
        """How systemd says that the service ended."""
        if self.start_limit_hit:
            return "start-limit-hit"
        return "exit-code" if self.unit_state == "failed" else "success"

    @property
    def protected(self) -> str:
        return SERVICES[self.host.role].protected[0]

    def start(self) -> bool:
        """A fresh process of the service, as systemd starts it; False when it does not come up."""
        before = self.process
        self.invocation = f"{next(_numbers):032x}"
        self.process, self.unit_state, self.log = None, "failed", []
        if self.fault == "start-fails":
            self.log = [self.last_words]
            return False
        token = self._load()
        if self.fault == "keeps-old-token" and before:
            token = before.token
        if token == "":
            self.log = ["error: the token file is refused"]
            return False
        self.log = ["API token loaded (authentication enabled)" if token else "dev mode (no auth)"]
        info = self.active.stat() if self.active.exists() else None
        self.process = Process(
            token=token,
            version=(info.st_ino, info.st_ctime_ns) if info else (0, 0),
            ready_at=self.clock + (self.slow_seconds if self.fault == "start-slow" else 0.0),
            dies_at=self.clock + CRASH_SECONDS if self.fault == "crash-loops" else float("inf"),
        )
        self.unit_state = "active"
        return True

    def _load(self) -> str | None:
        """The token as the real services read it (llama-orch.md): None: there is none, "": it is refused."""
        if self.environment_token:
            drop_in = self.root / f"etc/systemd/system/{self.host.service.unit}.d/50-hivekeys.conf"
            is_unset = drop_in.exists() and "UnsetEnvironment=LLORCH_API_TOKEN" in drop_in.read_text()
            return None if is_unset else self.environment_token
        if not self.active.exists():
            return None
        if self.in_line:
            return self.active_token()
        if self.active.stat().st_mode & 0o077:
            return ""
        if self.credentials:
            folder = self.root / CREDENTIALS / self.host.service.unit
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "api-token").write_bytes(self.active.read_bytes())
        return self.active.read_text().strip()

    def stop(self) -> None:
        self.process, self.unit_state = None, "inactive"

    def tick(self) -> None:
        """What has happened by now: a process that was to die died, and systemd has started another."""
        while self.process and self.clock >= self.process.dies_at:
            self.restarts += 1
            self.invocation = f"{next(_numbers):032x}"
            again = replace(self.process, dies_at=self.process.dies_at + CRASH_SECONDS, pid=next(_numbers))
            self.process = again

    def status(self, path: str, token: str | None) -> int:
        """The service's answer to a GET, 0 when nobody answers."""
        self.tick()
        if self.process is None or self.clock < self.process.ready_at:
            return 0
        if path in self.answers:
            return self.answers[path]
        if path == SERVICES[self.host.role].health[0]:
            return 200
        taken = self.also_accepts | ({self.process.token} if self.process.token else set())
        is_in = self.fault == "accepts-any-token" or token in taken
        if path != self.protected:
            return self.unknown_paths[is_in]
        return 200 if is_in else 401


class Machine(System):
    """systemd, the service and the clock of a simulated host, for one agent."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.own_pid = next(_numbers)

    def now(self) -> float:
        return time.time() + self.host.ahead

    def monotonic(self) -> float:
        return self.host.clock

    def sleep(self, seconds: float) -> None:
        self.host.clock += seconds

    def pid(self) -> int:
        return self.own_pid

    def born(self, pid: int) -> int | None:
        self.host.tick()
        alive = [
            self.own_pid,
            *self.host.others,
            *self.host.left_behind,
            *(line.agent.system.pid() for line in self.host.lines),
        ]
        if self.host.process:
            alive.append(self.host.process.pid)
        return pid if pid in alive else None

    def machine(self) -> bytes:
        return self.host.identity

    def space(self, fd: int) -> os.statvfs_result:
        """One of the disks that `HostSecrets` and `HostState` write to."""
        is_var = "/var/lib" in str(Path(f"/proc/self/fd/{fd}").readlink())
        found = list(os.fstatvfs(fd))
        if self.host.fault == ("var-full" if is_var else "disk-full"):
            found[3] = 0  # f_bfree
        if self.host.fault == "read-only" and not is_var:
            found[8] |= os.ST_RDONLY  # f_flag
        return os.statvfs_result(found)

    def terminate(self, pid: int) -> None:
        self.host.terminated.append(pid)
        if pid in self.host.deaf:
            return
        self.kill(pid)

    def kill(self, pid: int) -> None:
        if pid in self.host.left_behind:
            self.host.left_behind.pop(pid)[0].state.release()
        for line in [line for line in self.host.lines if line.agent.system.pid() == pid]:
            line.drop()
        if pid in self.host.others:
            self.host.signals.append((pid, signal.SIGKILL))
            del self.host.others[pid]

    def process(self, pid: int) -> dict[str, Any] | None:
        self.host.tick()
        process, other = self.host.process, self.host.others.get(pid)
        if other:
            uid = self.host.uid if other.uid is None else other.uid
            none = {"started": 0.0, "reads": "", "env_token": bool(other.held)}
            return {**self.shown(pid), **none, "uid": uid, "token": other.held}
        if process is None or process.pid != pid:
            return None
        info = self.host.active.stat() if self.host.active.exists() else None
        changed = info.st_ctime if info else time.time()
        # Files have the kernel's clock, not ours: "younger" must not depend on how fast a test runs.
        by_environment = self.host.environment_file or self.host.environment_token
        held = (process.token or "") if by_environment else ""
        is_read = info is None or (info.st_ino, info.st_ctime_ns) == process.version
        return {
            **self.shown(pid),
            "started": changed if is_read else changed - 1.0,
            "uid": self.host.uid,
            "reads": "" if self.host.credentials or self.host.in_line else self.host.host.service.token,
            "env_token": bool(held),
            "token": held,
        }

    def shown(self, pid: int) -> dict[str, Any]:
        """As System.stat. A pid is as good as a birth: both grow."""
        comm = self.host.others[pid].comm if pid in self.host.others else "service"
        return {"comm": comm, "parent": 1, "born": pid, "age": 60.0}

    def is_relayed(self) -> bool:
        return self.host.sudo_relays

    def stat(self, pid: int) -> dict[str, Any] | None:
        return self.shown(pid) if self.born(pid) is not None else None

    def is_own(self, address: str) -> bool:
        return address in self.host.addresses

    def sockets(self, pid: int) -> set[int]:
        return {pid}

    def unix_listening(self) -> list[tuple[int, str]]:
        return []

    def outlives(self, pid: int, number: int) -> bool:
        return self.host.outlives_sigterm

    def members(self, cgroup: str, root: str = "/") -> list[int]:
        main = [self.host.process.pid] if self.host.process else []
        return [*main, *(pid for pid, other in self.host.others.items() if other.in_unit)]

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        self.host.tick()
        words = [word for word in argv if not word.startswith("-")]
        self.host.started.append(" ".join(words[:2]) if words[0] == "systemctl" else words[0])
        if timeout <= 0 or (self.host.systemctl_hangs and words[0] == "systemctl"):
            self.host.clock += timeout
            return 124, f"{words[0]} did not answer within {timeout:.0f} s"
        if words in (["systemctl", "daemon-reload"], ["systemd-analyze", "verify", self.host.host.service.unit]):
            return 0, ""
        if words == ["systemctl"]:
            return 0, "systemd 252 (252.39-1)" if self.host.credentials else "systemd 247 (247.3-7)"  # --version
        if words == ["systemctl", "show-environment"]:
            return 0, "LANG=C.UTF-8\n"
        if words[0] == "systemctl" and len(words) > 2:
            return self.systemctl(words[1], *words[2:])
        if words[0] == "journalctl":
            unit, about_it = self.host.host.service.unit, f"UNIT={self.host.host.service.unit}" in words
            failed = [f"{unit}: Failed with result 'exit-code'."] if self.host.unit_state == "failed" else []
            return 0, "\n".join(failed if about_it else self.host.log)
        said = {
            "busctl": self.host.credentials_shown or f'a(ss) 1 "api-token" "{self.host.host.service.token}"',
            "sudo": self.host.sudo_rules,
        }
        if said.get(words[0]):
            return 0, said[words[0]]
        return 127, f"{words[0]}: No such file or directory"

    def systemctl(self, verb: str, unit: str, *others: str) -> tuple[int, str]:
        host = self.host
        if verb == "show":
            return 0, "\n".join(self.show(name) for name in (unit, *others))
        if verb == "restart" and (why := self.refuses_restart()):
            return 5, f"Failed to restart {unit}: {why}\nSee system logs and 'systemctl status {unit}' for details."
        if unit != host.host.service.unit:
            return 5, f"Failed to {verb} {unit}: Unit {unit} not found."
        if verb == "reset-failed":
            host.restarts = 0
            host.start_limit_hit = False
            host.unit_state = "inactive" if host.unit_state == "failed" else host.unit_state
        if verb == "stop":
            host.stop()
        if verb in ("start", "restart") and (host.start_limit_hit or not host.start()):
            return 1, f"Job for {unit} failed because the control process exited with error code."
        return 0, ""

    def show(self, unit: str) -> str:
        host = self.host
        if unit != host.host.service.unit:
            load = host.units.get(unit, "not-found")
            return f"LoadState={load}\nActiveState=inactive\nSubState=dead\nMainPID=0\n"
        path, drop_ins = host.host.service.token, f"etc/systemd/system/{unit}.d/*.conf"
        if host.credentials:
            path = f"/{CREDENTIALS}/{unit}/api-token"
        shown = {
            "LoadState": "loaded",
            "ActiveState": host.unit_state,
            "SubState": "running" if host.process else "failed" if host.unit_state == "failed" else "dead",
            "Result": host.result,
            "MainPID": host.process.pid if host.process else 0,
            "NRestarts": host.restarts,
            "InvocationID": host.invocation,
            "ControlGroup": f"/system.slice/{unit}",
            "KillMode": host.kill_mode,
            "DropInPaths": " ".join(f"/{path.relative_to(host.root)}" for path in sorted(host.root.glob(drop_ins))),
            "Environment": f"LLORCH_API_TOKEN_FILE={path}" + " LLORCH_AUDIT_MODE=local" * host.is_audited,
        }
        if host.environment_file:
            shown["EnvironmentFiles"] = f"{host.environment_file} (ignore_errors=no)"
        if host.in_line:
            shown["Environment"] = ""
        shown.update(host.unit_settings)
        return "".join(f"{name}={value}\n" for name, value in shown.items())

    def refuses_restart(self) -> str:
        """What systemctl says, as systemd 252 does, where nothing is restarted."""
        unit, settings = self.host.host.service.unit, self.host.unit_settings
        if "yes" in (settings.get("RefuseManualStop"), settings.get("RefuseManualStart")):
            return f"Operation refused, unit {unit} may be requested by dependency only."
        for needed in settings.get("Requires", "").split():
            if needed not in ("sysinit.target", "system.slice") and self.host.units.get(needed) != "loaded":
                return f"Unit {needed} not found."
        return ""

    def get(
        self,
        port: int,
        path: str,
        token: str | None,
        timeout: float,
        trusted: frozenset[int] | None = None,
        address: str = "127.0.0.1",
        tls: Tls | None = None,
    ) -> tuple[int, str]:
        if trusted is not None:
            refuse_strangers(place_of(address, port), self.listeners(port, address), trusted)
        if (address, port) != self.host.listens_on:
            return self.get_of_others(port, token)
        if bool(tls) != self.host.speaks_tls and self.host.process:
            return 0, "Connection reset by peer"
        if self.host.port_held_by is not None:
            self.host.heard.extend([token] if token else [])
            return (200 if token is None and path != self.host.protected else 401), ""
        status = self.host.status(path, token)
        if self.host.records_calls and status and path != SERVICES[self.host.host.role].health[0]:
            who, is_in, nowhere = Token(token) if token else None, status not in (401, 403), "0.0.0.0"  # noqa: S104
            self.host.writes(who, ok=is_in, path=path, address=nowhere, after=self.host.ahead)
        if token and status in (200, 401):
            said = "authenticated" if status == 200 else "auth failed: invalid token"
            fp6 = Token(token).fingerprint(b"").fp6
            self.host.log.append(f"{said} \x1b[3midentity\x1b[0m\x1b[2m=\x1b[0mtoken:{fp6}")
        return status, "" if status else "Connection refused"

    def get_of_others(self, port: int, token: str | None) -> tuple[int, str]:
        other = next((other for other in self.host.others.values() if other.port == port), None)
        if other is None:
            return 0, "Connection refused"
        self.host.others_heard.setdefault(other.pid, []).extend([token] if token else [])
        return other.status(token), "" if other.speaks_http else "the answer is not HTTP"

    def listeners(self, port: int, address: str = "127.0.0.1") -> set[int]:
        return {uid for _, _, _, uid, _ in self.listening(port)}

    def listening(self, port: int = 0) -> list[tuple[int, bytes, int, int, int]]:
        """Everybody on loopback; a process's one socket has its pid for an inode."""
        host = self.host
        address, own = host.listens_on
        service = [(host.port_held_by, 1)] if host.port_held_by is not None else []
        service = service or ([(host.uid, host.process.pid)] if host.process else [])
        rows = [(LISTENS, forms_of(address)[0], own, uid, inode) for uid, inode in service]
        for pid, other in host.others.items():
            if other.port:
                uid = host.uid if other.uid is None else other.uid
                rows.append((LISTENS, b"\x7f\0\0\1", other.port, uid, pid))
        return [row for row in rows if port in (0, row[2])]

    @property
    def neighbours(self) -> "HostNeighbours":
        return HostNeighbours(self)


class HostNeighbours(Neighbours):
    """The processes of a simulated host."""

    system: Machine

    def processes(self) -> dict[int, dict[str, Any]]:
        host = self.system.host
        pids = [*([host.process.pid] if host.process else []), *host.others]
        return {pid: shown for pid in pids if (shown := self.system.process(pid))}

    def is_apart(self, pid: int) -> bool:
        return False

    def unit_of(self, pid: int) -> str:
        return self.system.host.others[pid].unit

    def signal(self, pid: int, number: int) -> None:
        host = self.system.host
        host.signals.append((pid, number))
        if number == signal.SIGKILL or not host.others[pid].stubborn:
            del host.others[pid]


class HostSecrets(Secrets):
    """The real token directory, on a disk that can be full or read-only."""

    host: SimulatedHost

    def refuse(self, *faults: str) -> None:
        if self.host.fault in faults:
            code = errno.ENOSPC if self.host.fault == "disk-full" else errno.EROFS
            raise OSError(code, os.strerror(code))

    def create(self, folder: int, name: str, data: bytes) -> None:
        self.refuse("disk-full", "read-only")
        super().create(folder, name, data)

    def remove(self, folder: int, name: str) -> bool:
        if name in os.listdir(folder):
            self.refuse("read-only")
        return super().remove(folder, name)

    def rename(self, folder: int, name: str, target: str) -> None:
        self.refuse("read-only")
        super().rename(folder, name, target)

    def link(self, folder: int, name: str, target: str) -> None:
        self.refuse("read-only")
        if not self.host.has_hard_links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))  # link(2)
        super().link(folder, name, target)


class HostState(State):
    """hivekeys' real directory, on a disk that can be full."""

    host: SimulatedHost

    def write(self, folder: int, name: str, text: str) -> None:
        if self.host.fault == "var-full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(folder, name, text)

    def take_lock(self, folder: int, mine: dict[str, Any], take_over: bool, patience: agent.Agent) -> None:
        if self.host.fault == "var-full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().take_lock(folder, mine, take_over, patience)


class HostAgent(agent.Agent):
    """The real agent; the fleet sees each verb before and after it is carried out."""

    def __init__(self, host: SimulatedHost, line: "InProcessLine") -> None:
        super().__init__(str(host.root), Machine(host), self.secrets_of)
        self.state = HostState(self.root, self.system)
        self.state.host = host
        self.host = host
        self.line = line

    def secrets_of(self, root: str, service: dict[str, Any], key: bytes) -> Secrets:
        secrets = HostSecrets(root, service, key)
        secrets.host = self.host
        return secrets

    def carry_out(self, verb: str, fields: dict[str, Any]) -> dict[str, Any]:
        fleet = self.host.fleet
        fleet.begins(self.host, verb, self.line)
        result = super().carry_out(verb, fields)
        fleet.ended(self.host, verb, self.line, ok=result["ok"])
        return result


class InProcessLine:
    """hivekeys.ssh.line.Line: requests and replies go through JSON as on the wire."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.agent = HostAgent(host, self)
        self.silenced = False  # the reply to the request in hand will not arrive
        self.dead: Cause | None = None

    def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
        if self.dead:
            return self.dead
        began = self.host.clock
        self.host.end_leases()
        try:
            self.host.fleet.asks(self.host, request, self)
            if self.host.fault in SILENCING:
                return self.leave()
            self.host.clock += 0.2 if self.host.fault == "link-slow" else 0.0
            timed = {**request, "expires": began + deadline}
            reply = self.reply(json.dumps(timed))
            self.host.fleet.answers(self)
        except CutError:
            return self.drop()
        except FrozenError:
            return self.leave()
        if self.silenced or self.host.fault in SILENCING:
            return self.leave()
        if self.host.clock - began > deadline:
            return self.leave(f"no reply within {deadline:g} s")
        answer: dict[str, object] = json.loads(json.dumps(reply))
        return self.host.lies(request, answer) if self.host.lies else answer

    def reply(self, request: str) -> dict[str, object]:
        """What the agent says to a request."""
        return answer(self.agent, json.loads(request))

    def close(self) -> None:
        if self.dead is None:
            if self.host.fault in SILENCING:
                self.leave()
            else:
                self.drop()

    def drop(self) -> Cause:
        """The line ends and the agent sees it: it leaves, and its lock with it."""
        self.agent.gone.set()
        self.agent.state.release()
        return self._end(Cause(Trouble.LINE_BROKEN, "the connection ended"))

    def leave(self, why: str = f"nothing was heard from the host for {QUIET:g} s") -> Cause:
        """The line ends and the agent does not see it: it waits for requests, and keeps its lock."""
        self.host.left_behind[self.agent.system.pid()] = (self.agent, self.host.clock)
        return self._end(Cause(Trouble.SILENT, why))

    def _end(self, cause: Cause) -> Cause:
        self.dead = cause
        if self in self.host.lines:
            self.host.lines.remove(self)
        return cause


def told(service: Service) -> dict[str, Any]:
    """A service as its host is told it."""
    found: dict[str, Any] = json.loads(json.dumps(Greeting("", KEY, "", "").step(service, {})["service"]))
    return found


def hello(
    host: SimulatedHost,
    *,
    fleet: str = "inprocess",
    run: str = "run-1",
    write: bool = True,
    epoch: int = 0,
    tokens: tuple[Token, ...] = (),
    sitting: tuple[int, str] = (1, "aa"),
    take_over: bool = False,
    revoked: dict[str, str] | None = None,
) -> dict[str, object]:
    """The step that begins a session, for tests that are their own bastion."""
    return {
        "verb": "hello",
        "fleet": fleet,
        "key": KEY.hex(),
        "service": told(host.host.service),
        "run": run,
        "write": write,
        "epoch": epoch,
        "who": "ann@bastion",
        "sitting": list(sitting),
        "seen": None,
        "take_over": take_over,
        "revoked": revoked or {},
        "tokens": [token.reveal() for token in tokens],
    }


class Session:
    """A line that has said hello, for tests of single verbs; `greeting` is what the agent answered."""

    def __init__(
        self,
        host: SimulatedHost,
        *,
        fleet: str = "inprocess",
        run: str = "run-1",
        write: bool = True,
        epoch: int = 0,
        tokens: tuple[Token, ...] = (),
        sitting: tuple[int, str] = (1, "aa"),
        take_over: bool = False,
        revoked: dict[str, str] | None = None,
    ) -> None:
        self.line = InProcessLine(host)
        host.lines.append(self.line)
        greeting = hello(
            host,
            fleet=fleet,
            run=run,
            write=write,
            epoch=epoch,
            tokens=tokens,
            sitting=sitting,
            take_over=take_over,
            revoked=revoked,
        )
        (self.greeting,) = self.ask(greeting)

    def ask(self, *steps: dict[str, object], deadline: float = 100.0) -> list[dict[str, Any]]:
        """The results of one request."""
        reply = self.line.ask({"steps": list(steps), "deadline": deadline}, deadline + 10.0)
        assert not isinstance(reply, Cause), reply
        results = reply["results"]
        assert isinstance(results, list)
        return results

    def do(self, verb: str, **fields: object) -> dict[str, Any]:
        """The result of one step."""
        return self.ask({"verb": verb, **fields})[0]


class InProcessDialer:
    """hivekeys.ssh.line.Dialer: the lines of one process on the bastion."""

    line_type = InProcessLine

    def __init__(self, fleet: "InProcessFleet") -> None:
        self.fleet = fleet

    def dial(self, host: Host) -> InProcessLine | Cause:
        simulated = self.fleet.hosts[self.fleet.leads.get(host.name, host.name)]
        self.fleet.dialled.append(host.name)
        if simulated.fault in ON_DIAL:
            return ON_DIAL[simulated.fault]
        simulated.end_leases()
        line = self.line_type(simulated)
        simulated.lines.append(line)
        return line

    def close(self) -> None:
        """Nothing is shared between the lines."""


@dataclass
class Trap:
    """Something that happens at the n-th time that a verb comes up on a host; "*" is any verb, any host."""

    host: str
    verb: str
    when: When
    action: Callable[[SimulatedHost, InProcessLine], None]
    nth: int = 1


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
    ) -> None:
        """`environment`: the path of the units' environment file, where the token is a line of that; needs root.
        `credentials`: units read their token through systemd. `account`: the services' owner and group, if not
        whoever runs the tests; needs root. `beside`: the hosts that share the machine of another.
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
                    ),
                    beside=beside.get(name, ""),
                )
                for name, role in roles.items()
            ),
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
