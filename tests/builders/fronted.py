"""A host in a folder, with a real service and a real nginx before it; of systemd there is what an agent asks for."""

import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import hivekeys.host.greeting
import hivekeys.host.turning
import hivekeys.host.verbs.admit
import hivekeys.host.verbs.front
import hivekeys.host.verbs.look_behind
import hivekeys.host.verbs.notify
import hivekeys.host.writing  # noqa: F401  the verbs that it is told
from hivekeys.fleet import HIVE_SERVICE
from hivekeys.host.agent import Agent
from hivekeys.host.nginx import KEEPALIVE_SECONDS, children_of
from hivekeys.host.system import System
from hivekeys.protocol.wire import service_told
from hivekeys.service import Front, Service, fronting
from hivekeys.token import Token, generate

KEY = b"\x07" * 32
UPSTREAM = Path(__file__).with_name("upstream.py")
LIST = "/v1/workers/list"
SECONDS = 10.0


def free_port() -> int:
    """A port that no program listens on now."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


class Systemd(System):
    """The machine itself, but for systemd: units are read from the folder, and their programs are started."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pids: dict[str, int] = {}
        self.enabled: set[str] = set()
        self.programs: list[subprocess.Popen[bytes]] = []
        self.asked: list[str] = []

    def run(self, argv: list[str], timeout: float) -> tuple[int, str]:
        if argv[0] not in ("systemctl", "systemd-analyze", "journalctl"):
            return super().run(argv, timeout)
        words = [word for word in argv[1:] if not word.startswith("-")]
        self.asked.append(" ".join(words))
        if argv[0] != "systemctl" or words[0] in ("daemon-reload", "reset-failed", "show-environment"):
            return 0, ""
        verb, unit = words[0], words[-1]
        if verb == "show":
            return 0, self.shown(unit)
        if verb == "is-enabled":
            return int(unit not in self.enabled), ""
        (self.enabled.add if verb == "enable" else self.enabled.discard)(unit) if "able" in verb else None
        if verb in ("stop", "restart", "disable"):
            self.stop(unit)
        return self.start(unit) if verb in ("restart", "start") else (0, "")

    def text(self, unit: str) -> str:
        """The unit's file and its drop-ins."""
        folder = self.root / "etc/systemd/system"
        files = [folder / unit, *sorted(folder.glob(f"{unit}.d/*.conf"))]
        return "\n".join(file.read_text() for file in files if file.exists())

    def setting(self, unit: str, name: str) -> str:
        found: list[str] = re.findall(rf"^{name}=(.*)$", self.text(unit), re.MULTILINE)
        return found[-1] if found else ""

    def shown(self, unit: str) -> str:
        pid = self.main_pid(unit)
        told = {
            "LoadState": "loaded" if self.text(unit) else "not-found",
            "ActiveState": "active" if pid else "inactive",
            "SubState": "running" if pid else "dead",
            "Result": "success",
            "MainPID": pid,
            "ControlGroup": f"/system.slice/{unit}",
            "KillMode": "mixed",
            "Environment": self.setting(unit, "Environment"),
        }
        return "".join(f"{name}={value}\n" for name, value in told.items())

    def main_pid(self, unit: str) -> int:
        pid = self.pids.get(unit, 0)
        return pid if pid and self.stat(pid) else 0

    def start(self, unit: str) -> tuple[int, str]:
        words = shlex.split(self.setting(unit, "ExecStart"))
        if "front" in unit:
            folder = self.root / "run" / unit.removesuffix(".service")
            folder.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(words, capture_output=True, check=False, timeout=SECONDS)
            pid_file = folder / "nginx.pid"
            until(lambda: done.returncode != 0 or (pid_file.exists() and pid_file.read_text().strip() != ""))
            self.pids[unit] = int(pid_file.read_text()) if done.returncode == 0 else 0
            return done.returncode, done.stderr.decode()
        path = self.setting(unit, "Environment").partition("=")[2]
        program = subprocess.Popen(words, env={"LLORCH_API_TOKEN_FILE": path})
        self.programs.append(program)
        self.pids[unit] = program.pid
        return 0, ""

    def stop(self, unit: str) -> None:
        pid = self.pids.pop(unit, 0)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            for program in [each for each in self.programs if each.pid == pid]:
                program.wait(SECONDS)
            until(lambda: self.stat(pid) is None)
        folder = self.root / "run" / unit.removesuffix(".service")
        for left in [path for path in folder.glob("*") if path.is_file()]:
            left.unlink()

    def members(self, cgroup: str, root: str = "/") -> list[int]:
        pid = self.main_pid(cgroup.rpartition("/")[2])
        return [pid, *children_of(pid)] if pid else []

    def close(self) -> None:
        for unit in list(self.pids):
            self.stop(unit)


class FrontedHost:
    """A host whose service listens on `port`, where clients reach it; the front may be set up before it.

    `is_open`: the service asks for no token, and has none.
    """

    def __init__(
        self,
        root: Path,
        start: bool = True,
        listens: str = "127.0.0.1",
        certificate: str = "",
        is_open: bool = False,
    ) -> None:
        self.root, self.token = root, generate()
        self.port, self.inner = free_port(), free_port()
        for folder in ("etc/systemd/system", "etc/llama/secrets", "var/lib", "var/log", "run"):
            (root / folder).mkdir(parents=True)
        for above in (root, *root.parents):  # the workers are another account's
            if above.stat().st_mode & 0o011 != 0o011 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o011)
        file = root / "etc/llama/secrets/api-token"
        if not is_open:
            file.write_text(self.token.reveal() + "\n")
            file.chmod(0o600)
        file.parent.chmod(0o700)
        program = f"{sys.executable} -IS {UPSTREAM} {'--open ' if is_open else ''}--addr"
        unit = f"[Service]\nExecStart={program} 127.0.0.1:{self.port}\nEnvironment=LLORCH_API_TOKEN_FILE={file}\n"
        (root / "etc/systemd/system/rbee-hive.service").write_text(unit)
        self.behind = Service(
            unit="rbee-hive.service",
            port=self.inner,
            health=HIVE_SERVICE.health,
            protected=HIVE_SERVICE.protected,
            token="/etc/llama/secrets/api-token",
            owner="root",
            group="root",
        )
        front = Front(
            listen=f"127.0.0.1:{self.port}",
            behind=self.behind,
            certificate=certificate,
            key=certificate.replace(".crt", ".key"),
            verify=False,
            start=f"{program} {listens}:{self.inner}" if start else "",
            own_token=not is_open,
        )
        self.service = fronting(front)
        self.system = Systemd(root)
        self.agent = Agent(str(root), self.system)
        self.system.start("rbee-hive.service")
        try:
            until(lambda: self.status(LIST, self.token) == 200)
            self.greet()
        except BaseException:
            self.close()
            raise

    def greet(self, *tokens: Token) -> None:
        """Begins a session that holds the host's lock."""
        self.agent.deadline.end = self.system.monotonic() + 120.0
        told = json.loads(json.dumps(service_told(self.service)))
        fields = {"fleet": "blue", "key": KEY.hex(), "service": told, "run": "run-1", "write": True, "who": "ann"}
        result = self.agent.carry_out("hello", {**fields, "tokens": [token.reveal() for token in tokens]})
        assert result["ok"], result

    def do(self, verb: str, **fields: Any) -> dict[str, Any]:
        """What one verb answered."""
        self.agent.deadline.end = self.system.monotonic() + 120.0
        return self.agent.carry_out(verb, fields)

    def set_up(self) -> None:
        self.greet(self.token)
        result = self.do("front", apply=True, want=self.token.fingerprint(KEY).keyed)
        assert result["ok"], result

    def admit(self, *tokens: Token, at_once: bool = False) -> dict[str, Any]:
        """The front lets in these, as a run tells it."""
        self.greet(*tokens)
        return self.do("admit", tokens=[token.fingerprint(KEY).keyed for token in tokens], at_once=at_once)

    def status(self, path: str, token: Token | None, port: int = 0) -> int:
        """What a client gets that calls once; 0 where no program answers."""
        headers = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
        line = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=SECONDS)
        try:
            line.request("GET", path, headers=headers)
            return line.getresponse().status
        except OSError:
            return 0
        finally:
            line.close()

    @property
    def folder(self) -> Path:
        return self.root / "etc/hivekeys-front/rbee-hive"

    @property
    def own(self) -> Token:
        """The service's own token, which is in its file."""
        return Token((self.root / "etc/llama/secrets/api-token").read_text().strip())

    def logged(self, path: str, status: str) -> dict[str, Any]:
        """The last record of a request for this path with this answer; a worker writes it after the client has it."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [line for line in self.log() if (line["event"]["path"], line["status"]) == (path, status)]
            return bool(found)

        until(is_there)
        return found[-1]

    def log(self) -> list[dict[str, Any]]:
        """The front's access log."""
        path = self.root / "var/log/hivekeys-front-rbee-hive/access.ndjson"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def files(self) -> dict[str, bytes]:
        """Every file of the host, but for hivekeys' own records and the logs."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        named = {str(path.relative_to(self.root)): path for path in found}
        return {name: path.read_bytes() for name, path in named.items() if not name.startswith(("var/", "run/"))}

    def close(self) -> None:
        self.system.close()


def until(is_so: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Waits until that is so; an error when it takes too long."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not become so"
        time.sleep(0.005)


class Clients:
    """Clients that call again and again on kept-alive connections, each with the token that is `token` just then.

    `broken`: the calls without an answer, and how long their connections had rested. One that rested for longer than
    the front keeps it, as on a machine that is busy, is not among them.
    """

    def __init__(self, port: int, token: Token, number: int = 4) -> None:
        self.port, self.token = port, token
        self.statuses: dict[int, int] = {}
        self.broken: list[str] = []
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(number)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        until(lambda: sum(self.statuses.values()) > len(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(SECONDS)

    def _call(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        answered = time.monotonic()
        while not self._over.is_set():
            rested = time.monotonic() - answered
            try:
                line.request("GET", LIST, headers={"Authorization": f"Bearer {self.token.reveal()}"})
                answer = line.getresponse()
                answer.read()
                with self._guard:
                    self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            except (OSError, http.client.HTTPException) as error:
                line.close()
                with self._guard:
                    self.broken += [f"{error!r} after {rested:.3f} s"] if rested < KEEPALIVE_SECONDS else []
            answered = time.monotonic()
        line.close()


class Stream:
    """One long answer that a client reads."""

    def __init__(self, port: int, token: Token, words: int) -> None:
        self.words = words
        self.heard = b""
        self._line = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self._line.request("GET", f"/v1/stream?{words}", headers={"Authorization": f"Bearer {token.reveal()}"})
        self.answer = self._line.getresponse()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        until(lambda: self.heard != b"")

    def _read(self) -> None:
        with suppress(OSError, http.client.HTTPException):
            while more := self.answer.read1(1024):
                self.heard += more

    @property
    def goes_on(self) -> bool:
        """True while more is to come."""
        return self._thread.is_alive()

    def is_whole(self) -> bool:
        """Waits for the end, and says whether every word came."""
        self._thread.join(self.words * 0.1 + SECONDS)
        self._line.close()
        return self.heard.count(b"data: ") == self.words
