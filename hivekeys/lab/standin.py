#!/usr/bin/python3 -IS
"""queen-rbee or rbee-hive, as far as a token is concerned: the stand-in that runs ON a rehearsal host.

Standard library only, Python 3.9 and up; one file, installed under either name, which is how it knows what
it is. It behaves as the services of v0.1.0 do where it loads the token, asks for it, logs and writes its
audit trail; each hive calls the queen every second and the queen each hive, so that a disagreement is
visible on both sides. SIGTERM is left to the kernel: the process ends at once.
"""

# pathlib would cost a fifth of the start-up time, and datetime.UTC came with Python 3.11:
# ruff: noqa: PTH116, PTH118, PTH119, PTH120, PTH123, UP017

import datetime
import hashlib
import hmac
import http.client
import json
import os
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = os.path.basename(sys.argv[0])
HEALTH = {"queen-rbee": "/health", "rbee-hive": "/v1/health"}
PROTECTED = {"queen-rbee": "/v2/workers/list", "rbee-hive": "/v1/workers/list"}
PEERS = "/etc/llama-orch/peers"
LARGEST_SECRET = 1 << 20
GENESIS = "0" * 64
UNAUTHORIZED = {
    "MISSING_API_KEY": "Missing API key",
    "INVALID_API_KEY": "Invalid or missing API key",
}


def log(level: str, words: str) -> None:
    """One line for journald."""
    sys.stdout.write(f"{level} {NAME}: {words}\n")
    sys.stdout.flush()


def identity(token: str) -> str:
    """How a token is named where people read."""
    return "token:" + hashlib.sha256(token.encode()).hexdigest()[:6]


def load_secret(path: str) -> str:
    """The secret in a file, with the refusals of the services' shared loader."""
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
    log("INFO", f'Secret loaded from file path="{real}" identity={identity(secret)}')
    return secret


def load_token() -> str:
    """The token that this service asks for; empty means that it asks for none."""
    path = os.environ.get("LLORCH_API_TOKEN_FILE", "")
    token = load_secret(path) if path else os.environ.get("LLORCH_API_TOKEN", "")
    if token:
        log("INFO", f"API token loaded (authentication enabled) identity={identity(token)}")
    else:
        log("INFO", "LLORCH_API_TOKEN not set - using dev mode (no auth)")
    return token


class Audit:
    """The audit trail: one JSON object a line in a file per day, each record holding the hash of the one before."""

    def __init__(self) -> None:
        self.folder = os.environ.get("LLORCH_AUDIT_DIR", "/var/log/llama-orch/audit")
        self.on = os.environ.get("LLORCH_AUDIT_MODE") == "local"
        self.previous = GENESIS
        self.guard = threading.Lock()

    def write(self, event_type: str, **fields: Any) -> None:
        """Append an event. A trail that can't be written (a full disk) is said, and the service goes on."""
        if not self.on:
            return
        with self.guard:
            now = datetime.datetime.now(datetime.timezone.utc)
            # Written with Z and hashed with +00:00, as chrono's `Serialize` and `to_rfc3339` have it in the services.
            hashed = now.isoformat(timespec="microseconds")
            timestamp = hashed.replace("+00:00", "Z")
            event = {"event_type": event_type, "timestamp": timestamp, **fields, "service_id": NAME}
            audit_id = str(uuid.uuid4())
            told = audit_id + hashed + NAME + json.dumps(event, separators=(",", ":")) + self.previous
            digest = hashlib.sha256(told.encode()).hexdigest()
            record = {"audit_id": audit_id, "timestamp": timestamp, "service_id": NAME, "event": event}
            record.update(prev_hash=self.previous, hash=digest)
            try:
                path = os.path.join(self.folder, f"{now:%Y-%m-%d}.audit")
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.write(file, (json.dumps(record, separators=(",", ":")) + "\n").encode())
                os.close(file)
                self.previous = digest  # not before: the next record must not point to one that nobody finds
            except OSError as error:
                log("ERROR", f"audit record lost: {error}")


class Handler(BaseHTTPRequestHandler):
    """Health for everybody; the protected path for who has the token."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    token = ""
    audit: Audit

    def do_GET(self) -> None:
        if self.path == HEALTH[NAME]:
            self.answer(200, {"status": "ok"})
        elif self.path != PROTECTED[NAME]:
            self.answer(404, {"error": {"code": "NOT_FOUND", "message": "Not found"}})
        elif code := self.refusal():
            self.answer(401, {"error": {"code": code, "message": UNAUTHORIZED[code]}})
        else:
            self.answer(200, {"workers": []})

    def refusal(self) -> str:
        """Why the caller is turned away; empty if he isn't. Every decision is audited, but for dev mode's none."""
        if not self.token:
            return ""
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else ""
        ip = self.client_address[0]
        if given and hmac.compare_digest(given.encode(), self.token.encode()):
            actor = {"user_id": identity(given), "ip": ip, "auth_method": "bearer_token", "session_id": None}
            self.audit.write("auth_success", actor=actor, method="bearer_token", path=self.path)
            return ""
        code, reason, user = "MISSING_API_KEY", "missing or invalid Authorization header", None
        if given:
            code, reason, user = "INVALID_API_KEY", "invalid token", identity(given)
        log("WARN", f"auth failed: {reason} ip={ip}" + (f" identity={user}" if user else ""))
        self.audit.write("auth_failure", attempted_user=user, reason=reason, ip=ip, path=self.path)
        return code

    def answer(self, status: int, body: Any) -> None:
        """Send JSON, in one packet."""
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Requests are in the audit trail; journald isn't for them."""


class Server(ThreadingHTTPServer):
    """Many peers connect at once when a fleet boots."""

    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A caller that went away is no error of ours."""


def call_for_ever(url: str, token: str) -> None:
    """Call a peer once a second, on one connection for as long as it lasts; say when its answer changes."""
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


def main() -> None:
    """Load the token once, call the peers, serve."""
    port = int(sys.argv[sys.argv.index("--port") + 1])
    try:
        Handler.token = load_token()
    except (OSError, ValueError) as error:
        log("ERROR", f"cannot load the API token: {error}")
        raise SystemExit(1) from None
    Handler.audit = Audit()
    server = Server(("", port), Handler)
    threading.stack_size(256 * 1024)
    with open(PEERS, encoding="utf-8") as peers:
        for url in peers.read().split():
            threading.Thread(target=call_for_ever, args=(url, Handler.token), daemon=True).start()
    log("INFO", f"listening on port {port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
