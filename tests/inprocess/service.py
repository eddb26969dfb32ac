"""A simulated host's service: it reads its token as the real ones do, and lets in who has it."""

from dataclasses import replace
from pathlib import Path

from hivekeys.fleet import SERVICES, Host
from hivekeys.host.slots import CREDENTIALS
from hivekeys.service import Apply
from hivekeys.token import Token

from .files import TokenFiles
from .processes import Process, numbers

CRASH_SECONDS = 2.0


class ServiceStandIn(TokenFiles):
    """The service of a host, as systemd starts it."""

    environment_token = ""  # its unit sets it, and the service reads nothing else
    fault: str | None

    def __init__(self, host: Host, root: Path, credentials: bool) -> None:
        """`credentials`: its unit reads the token through systemd."""
        super().__init__(host, root)
        self.clock = 1000.0
        self.slow_seconds = 5.0
        self.sees_at = 0.0  # until then a service that watches its file has seen nothing
        self.also_accepts: set[str] = set()  # tokens that the service takes besides its own: a cache, a second source
        self.ignores_second = False  # it takes the token in its file alone, whatever its unit says
        self.never_drops = False  # it goes on taking what it once took, until it restarts
        self.last_words = "error: cannot start"
        self.credentials = credentials
        self.environment_file = host.service.token if self.in_line else ""  # of its unit
        self.unknown_paths = (401, 404)  # what they answer without the right token, and with it
        self.work: list[str] = []  # what its metrics say, one reading after the other; the last one stays
        self.requests: list[str] = []  # those beyond a GET
        self.answers: dict[str, int] = {}  # what a path answers to everybody, whatever it is
        self.process: Process | None = None
        self.unit_state = "inactive"
        self.invocation = ""  # of its unit's last start
        self.start_limit_hit = False  # systemd refuses to start the unit until its failures are reset
        self.restarts = 0
        self.log: list[str] = []  # the service's log lines since its last start

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
    def presented(self) -> str | None:
        """The token that a client presents: what its process has read, or what is in its file."""
        if not self.host.service.unit:
            return self.active_token()
        self.tick()
        return self.process.token if self.process else None

    @property
    def protected(self) -> str:
        if self.host.service.is_client:
            return ""
        return SERVICES[self.host.role].protected[0]

    def start(self) -> bool:
        """A fresh process of the service, as systemd starts it; False when it does not come up."""
        before = self.process
        self.invocation = f"{next(numbers):032x}"
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
        self.process = Process(
            token=token,
            version=self.version(),
            ready_at=self.clock + (self.slow_seconds if self.fault == "start-slow" else 0.0),
            dies_at=self.clock + CRASH_SECONDS if self.fault == "crash-loops" else float("inf"),
            others=self._others(),
        )
        self.unit_state = "active"
        return True

    def version(self) -> list[tuple[int, int]]:
        """Inode and change time of the files that it reads: of the token's, and of its list's."""
        listed = self.root / self.host.service.accepted.lstrip("/")
        there = [path.stat() for path in (self.active, listed) if path.is_file()]
        return [(info.st_ino, info.st_ctime_ns) for info in there]

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

    def reads_again(self) -> None:
        """The running service was told, or has seen for itself, that its token file is another."""
        if self.process and self.fault != "keeps-old-token":
            had = {self.process.token or "", *self.process.others} if self.never_drops else set[str]()
            self.process.token, self.process.others = self._load(), self._others() | had

    def _others(self) -> frozenset[str]:
        """The tokens of the service's list, or its second file; one that knows of none has the token alone."""
        path = self.root / self.host.service.accepted.lstrip("/")
        if not self.host.service.accepted or self.ignores_second or not path.exists():
            return frozenset()
        return frozenset(path.read_text().split())

    def stop(self) -> None:
        self.process, self.unit_state = None, "inactive"

    def tick(self) -> None:
        """What has happened by now: a process that was to die died, and systemd has started another."""
        if self.host.service.apply is Apply.WATCH and self.clock >= self.sees_at:
            self.reads_again()
        while self.process and self.clock >= self.process.dies_at:
            self.restarts += 1
            self.invocation = f"{next(numbers):032x}"
            again = replace(self.process, dies_at=self.process.dies_at + CRASH_SECONDS, pid=next(numbers))
            self.process = again

    def status(self, path: str, token: str | None) -> int:
        """The service's answer to a GET, 0 when nobody answers; of a client, whether it presents this token."""
        self.tick()
        if self.host.service.is_client:
            return 200 if token == self.presented else 401
        if self.process is None or self.clock < self.process.ready_at:
            return 0
        if path in self.answers:
            return self.answers[path]
        if path == SERVICES[self.host.role].health[0]:
            return 200
        taken = self.also_accepts | self.process.others | ({self.process.token} if self.process.token else set())
        is_in = self.fault == "accepts-any-token" or token in taken
        if path != self.protected:
            return self.unknown_paths[is_in]
        return 200 if is_in else 401
