#!/usr/bin/python3 -IS
"""The stand-in for queen-rbee, rbee-hive and a worker that runs on rehearsal hosts.

Standard library only, Python 3.9 and up; one file under several names: the last part of its path says which service it
is, the folder that it really lies in which version. `v0.1.0` does what llama-orch.md says of the real services: the
token comes from the environment and from nowhere else, without one everybody is refused, and the database must be
writable. `next` is the service that the guide describes, which reads the token from a file. Both log, answer and write
their trail alike. SIGTERM is left to the kernel: the process ends at once.

What a rehearsal wants otherwise is set by faults of the lab: STANDIN_ACCEPTS_ANY_TOKEN lets everybody in, and
STANDIN_CALLS names who is called each second with the token. No real service does either. A service to come may take
two tokens: those of a list, or of a second file, which it reads again at SIGHUP, or by itself (STANDIN_WATCHES). It
also answers word by word, as a worker does (`/v1/stream?SECONDS`).
"""

# pathlib would cost a fifth of the start-up time, and datetime.UTC came with Python 3.11:
# ruff: noqa: PTH103, PTH110, PTH111, PTH116, PTH118, PTH119, PTH120, PTH123, UP017

import datetime
import hashlib
import hmac
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUEEN, HIVE, WORKER = "queen-rbee", "rbee-hive", "llm-worker-rbee"
NAME = os.path.basename(sys.argv[0])
FOLDER = os.path.dirname(os.path.realpath(sys.argv[0]))
IS_NEXT = os.path.basename(FOLDER) == "next"
HEALTH = {QUEEN: "/health", HIVE: "/v1/health", WORKER: "/health"}
PROTECTED = {QUEEN: "/v2/workers/list", HIVE: "/v1/workers/list", WORKER: "/v1/ready"}
SPAWN = "/v1/workers/spawn"
STREAM = "/v1/stream?"  # and the seconds; of a service to come
FIRST_WORKER_PORT = 8081
LARGEST_SECRET = 1 << 20
LARGEST_HEADER = 8 << 10
LEAST_DISK = 10 << 20  # bytes; with less free, audit records are dropped
GENESIS = "0" * 64
UNAUTHORIZED = {
    "MISSING_API_KEY": "Missing API key",
    "INVALID_API_KEY": "Invalid or missing API key",
}
COLOURS = {"ERROR": 31, "WARN": 33, "INFO": 32}


def now() -> str:
    """This moment in UTC as chrono writes it, with nanoseconds and +00:00."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}+00:00"


def log(level: str, words: str, **fields: str) -> None:
    """One line for journald, in colours, as the services write it there too."""
    dim, slanted, end = "\x1b[2m", "\x1b[3m", "\x1b[0m"
    told = "".join(f" {slanted}{name}{end}{dim}={end}{value}" for name, value in fields.items())
    when, who = f"{dim}{now()[:26]}Z{end}", f"{dim}{NAME.replace('-', '_')}{end}{dim}:{end}"
    sys.stdout.write(f"{when} \x1b[{COLOURS[level]}m{level:>5}{end} {who} {words}{told}\n")
    sys.stdout.flush()


def identity(token: str) -> str:
    """How a token is named where people read."""
    return "token:" + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:6]


def load_secret(path: str) -> str:
    """The secret in a file, with the refusals of the services' shared loader, which v0.1.0 has and does not call."""
    real = os.path.realpath(path)
    status = os.stat(real)
    forbidden = 0o077
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and os.path.dirname(real) == os.path.realpath(credentials):
        # Our one leniency. From systemd 254 on a credential lies on tmpfs, root's, readable by the service through
        # an ACL, whose mask stat() shows as group bits (0440): the real loader refuses that file.
        forbidden = 0o037
    if status.st_mode & forbidden:
        raise ValueError(f"file permissions too open: mode {status.st_mode & 0o7777:o}, expected 0600")
    if status.st_size > LARGEST_SECRET:
        raise ValueError(f"file too large: {status.st_size} bytes, at most {LARGEST_SECRET}")
    with open(real, encoding="utf-8") as file:
        secret = file.read().strip()
    if not secret:
        raise ValueError("empty file")
    log("INFO", "Secret loaded from file", path=f'"{real}"')
    return secret


def load_token() -> str:
    """The token that this service asks for, exactly as it stands in the environment; empty: it refuses everybody."""
    path = os.environ.get("LLORCH_API_TOKEN_FILE", "") if IS_NEXT else ""
    token = load_secret(path) if path else os.environ.get("LLORCH_API_TOKEN", "")
    if token:
        log("INFO", "✅ API token loaded (authentication enabled)")
    else:
        log("INFO", "⚠️  LLORCH_API_TOKEN not set - using dev mode (no auth)")
    return token


def load_accepted() -> "tuple[str, ...]":
    """The tokens that this service lets in, the one to present first: its own, and of a list or second file those.

    Only a service to come knows of either; STANDIN_TAKES_ONE makes it forget that.
    """
    own = load_token()
    files = [os.environ.get(name, "") for name in ("LLORCH_API_TOKENS_FILE", "LLORCH_API_TOKEN_PREVIOUS_FILE")]
    path = next((path for path in files if path and IS_NEXT and os.path.exists(path)), "")
    if not path or "STANDIN_TAKES_ONE" in os.environ:
        return (own,)
    lines = [line.strip() for line in load_secret(path).splitlines()]
    tokens = tuple(line for line in lines if line and not line.startswith("#"))
    return tokens if path == files[0] else (own, *tokens)


def load_again(*_: Any) -> None:
    """Let in what the files say now; where they cannot be read, go on as before."""
    try:
        accepted = load_accepted()
    except (OSError, ValueError) as error:
        log("ERROR", f"tokens not read again: {error}")
        return
    Handler.accepted = (*accepted, *(Handler.accepted if "STANDIN_NEVER_DROPS" in os.environ else ()))


def watch_files() -> None:
    """Load again whenever one of the files is another: they are replaced, never written in place."""
    names = ("LLORCH_API_TOKEN_FILE", "LLORCH_API_TOKENS_FILE", "LLORCH_API_TOKEN_PREVIOUS_FILE")
    paths = [os.environ[name] for name in names if name in os.environ]
    before = [inode_of(path) for path in paths]
    while True:
        time.sleep(0.05)
        now_there = [inode_of(path) for path in paths]
        if now_there != before:
            before = now_there
            load_again()


def inode_of(path: str) -> int:
    """What stands for a file's content; 0 where there is none."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


class Audit:
    """The audit trail: one JSON object a line in a file per day, each record holding the hash of the one before."""

    def __init__(self) -> None:
        self.folder = os.environ.get("LLORCH_AUDIT_DIR", "/var/log/llama-orch/audit")
        self.on = os.environ.get("LLORCH_AUDIT_MODE") == "local" and NAME != WORKER
        self.previous = GENESIS
        self.count = 0
        self.guard = threading.Lock()

    def write(self, event_type: str, **fields: Any) -> None:
        """Append an event. A trail that can't be written is said, and the service goes on."""
        if not self.on:
            return
        event = {"event_type": event_type, "timestamp": now().replace("+00:00", "Z"), **fields, "service_id": NAME}
        with self.guard:
            # Written with Z and hashed with +00:00, as chrono's `Serialize` and `to_rfc3339` have it in the services.
            hashed = now()
            audit_id, self.count = f"audit-{NAME}-{self.count}", self.count + 1
            told = audit_id + hashed + NAME + json.dumps(event, separators=(",", ":")) + self.previous
            digest = hashlib.sha256(told.encode()).hexdigest()
            record: dict[str, Any] = {"audit_id": audit_id, "timestamp": hashed.replace("+00:00", "Z")}
            record.update(service_id=NAME, event=event, prev_hash=self.previous, hash=digest)
            try:
                self.append(f"{hashed[:10]}.audit", json.dumps(record, separators=(",", ":")) + "\n")
                self.previous = digest  # not before: the next record must not point to one that nobody finds
            except OSError as error:
                log("ERROR", f"audit record lost: {error}")

    def append(self, name: str, line: str) -> None:
        """Add a line to a file of the trail; raises OSError where that cannot be."""
        disk = os.statvfs(self.folder)
        if disk.f_bavail * disk.f_frsize < LEAST_DISK:
            raise OSError("less than 10 MiB are free")
        file = os.open(os.path.join(self.folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)


class Handler(BaseHTTPRequestHandler):
    """Health for everybody; every other path, also one that is unknown, for who has the token."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    accepted: "tuple[str, ...]" = ()
    accepts_any = False
    audit: Audit
    workers: "dict[int, subprocess.Popen[bytes]]" = {}  # noqa: RUF012  by port; of the one hive that this process is

    def do_GET(self) -> None:
        if self.path == HEALTH[NAME]:
            self.answer(200, {"status": "ok"})
        elif NAME == HIVE and self.path == "/metrics":
            self.send(200, "text/plain; version=0.0.4", self.metrics())
        elif self.lets_in():
            if IS_NEXT and self.path.startswith(STREAM):
                self.stream(int(self.path[len(STREAM) :]))
                return
            known = self.path == PROTECTED[NAME]
            shown = [{"url": f"http://127.0.0.1:{port}"} for port in self.alive()]
            self.answer(200 if known else 404, {"workers": shown} if known else {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.lets_in():
            known = NAME == HIVE and self.path == SPAWN
            self.answer(200 if known else 404, {"url": self.spawn(), "state": "loading"} if known else {})

    def lets_in(self) -> bool:
        """Whether the caller has the token; if not, he has his answer. Every decision is logged and audited.

        No address is: the services write 0.0.0.0 for a failure and null for a success.
        """
        given = self.given()
        if self.accepts_any:
            return True
        if given and self.is_accepted(given.encode("latin-1")):
            log("INFO", "authenticated", identity=identity(given))
            actor = {"user_id": identity(given), "ip": None, "auth_method": "bearer_token", "session_id": None}
            self.audit.write("auth_success", actor=actor, method="bearer_token", path=self.path)
            return True
        code, reason, user = "MISSING_API_KEY", "missing or invalid Authorization header", None
        if given:
            code, reason, user = "INVALID_API_KEY", "invalid token", identity(given)
        log("WARN", f"auth failed: {reason}", **({"identity": user} if user else {}))
        self.audit.write("auth_failure", attempted_user=user, reason=reason, ip="0.0.0.0", path=self.path)  # noqa: S104
        self.answer(401, {"error": {"code": code, "message": UNAUTHORIZED[code]}})
        return False

    def is_accepted(self, given: bytes) -> bool:
        """Whether it is a token that this service lets in."""
        held = [token.encode("utf-8", "surrogateescape") for token in self.accepted if token]
        return sum(hmac.compare_digest(given, token) for token in held) > 0  # all are compared, in any case

    def given(self) -> str:
        """The token that the caller presents; empty where the services see none."""
        header = self.headers.get("Authorization", "")
        if len(header) > LARGEST_HEADER or not header.strip().startswith("Bearer "):
            return ""
        return header.strip()[len("Bearer ") :].strip()

    # -- workers

    def alive(self) -> "list[int]":
        """The ports of the workers that this hive has started and that still run."""
        return [port for port, worker in self.workers.items() if worker.poll() is None]

    def spawn(self) -> str:
        """Start a worker with this process's environment, token included, on the first free port; answer its URL."""
        port = FIRST_WORKER_PORT
        while is_taken(port):
            port += 1
        self.workers[port] = subprocess.Popen([os.path.join(FOLDER, WORKER), "--port", str(port)])
        while not is_taken(port) and self.workers[port].poll() is None:
            time.sleep(0.02)
        return f"http://127.0.0.1:{port}"

    def metrics(self) -> str:
        """The workers by their state, as Prometheus reads it."""
        counts = {"busy": 0, "idle": len(self.alive()), "loading": 0}
        head = "# HELP rbee_hive_workers_total Total workers by state\n# TYPE rbee_hive_workers_total gauge\n"
        return head + "".join(f'rbee_hive_workers_total{{state="{state}"}} {n}\n' for state, n in counts.items())

    # -- answers

    def answer(self, status: int, body: Any) -> None:
        """Send JSON."""
        self.send(status, "application/json", json.dumps(body))

    def send(self, status: int, kind: str, text: str) -> None:
        """Send a text, in one packet."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def stream(self, seconds: int) -> None:
        """Send a word ten times a second, as events."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(seconds * 10):
            word = f"data: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(word), word))
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """The services do not log requests, only who came in."""


class Server(ThreadingHTTPServer):
    """Many clients connect at once when a fleet boots."""

    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A caller that went away is no error of ours."""


def is_taken(port: int) -> bool:
    """Whether somebody listens there."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        line.connect()
    except OSError:
        return False
    line.close()
    return True


def call_for_ever(url: str, token: str) -> None:
    """Call somebody once a second, on one connection for as long as it lasts; say when the answer changes."""
    address, _, path = url.partition("://")[2].partition("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    line = None
    last = ""
    while True:
        try:
            line = line or http.client.HTTPConnection(address, timeout=2)
            line.request("GET", f"/{path}", headers=headers)
            response = line.getresponse()
            response.read()
            answer = str(response.status)
        except (OSError, http.client.HTTPException) as error:
            answer, line = type(error).__name__, None
        if answer != last:
            log("INFO" if answer == "200" else "WARN", f"peer {address} answers {answer}")
            last = answer
        time.sleep(1)


def option(name: str) -> str:
    """The value of a command-line option, or ""."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv[:-1] else ""


def listens_on() -> "tuple[str, int]":
    """Address and port, from the command line of this service; SystemExit 2 where it says neither."""
    address, _, port = option("--addr").rpartition(":")
    if NAME == HIVE and sys.argv[1:2] == ["daemon"] and port:
        return address, int(port)
    if option("--port") and (NAME != HIVE or IS_NEXT):
        return "", int(option("--port"))
    usage = "daemon --addr IP:PORT" if NAME == HIVE else "--port PORT --database FILE"
    sys.stderr.write(f"error: usage: {NAME} {usage}\n")
    raise SystemExit(2)


def open_database() -> None:
    """Hold the database open for writing, for as long as the process lives; OSError where that cannot be."""
    own = os.path.join(os.path.expanduser("~"), ".rbee", "models.db" if NAME == HIVE else "beehives.db")
    path = option("--database") or ("" if IS_NEXT else own)
    if path and NAME != WORKER:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def main() -> None:
    """Load the token once, open the database, serve."""
    address, port = listens_on()
    try:
        open_database()
        Handler.accepted = load_accepted()
    except (OSError, ValueError) as error:
        log("ERROR", f"cannot start: {error}")
        raise SystemExit(1) from None
    Handler.accepts_any = "STANDIN_ACCEPTS_ANY_TOKEN" in os.environ
    Handler.audit = Audit()
    if IS_NEXT and {"LLORCH_API_TOKENS_FILE", "LLORCH_API_TOKEN_PREVIOUS_FILE"} & set(os.environ):
        signal.signal(signal.SIGHUP, load_again)
    server = Server((address, port), Handler)
    threading.stack_size(256 * 1024)
    for url in os.environ.get("STANDIN_CALLS", "").split():
        threading.Thread(target=call_for_ever, args=(url, Handler.accepted[0]), daemon=True).start()
    if "STANDIN_WATCHES" in os.environ:
        threading.Thread(target=watch_files, daemon=True).start()
    log("INFO", f"HTTP server ready at http://{address or '0.0.0.0'}:{port}")  # noqa: S104  every address, as they do
    server.serve_forever()


if __name__ == "__main__":
    main()
