"""A worker that a hive has started: it keeps the old token in its environment and outlives the hive's restart."""

from dataclasses import dataclass

from hivekeys.lab import Host, Lab
from hivekeys.lab.files import SECRETS

from .asking import eventually, status
from .rotating import truth_of

DROP_IN = "/etc/systemd/system/rbee-hive.service.d/50-test.conf"
WORKER_PORT, SECOND_PORT = 8090, 8095
# A worker as rbee-hive starts them: it has the token in its environment, and a port of its own.
WORKER = f"""\
#!/usr/bin/python3 -I
import http.server, os

class Work(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        right = self.headers.get("Authorization") == "Bearer " + os.environ["LLORCH_API_TOKEN"]
        self.send_response((200 if self.path == "/v1/work" else 404) if right else 401)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{{}}")

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(("0.0.0.0", {WORKER_PORT}), Work).serve_forever()
"""
WORK = f"LLORCH_API_TOKEN=$(cat {SECRETS}/api-token) /usr/local/bin/worker"
# The service's own program in the unit: a shell that starts a worker with the token, then becomes the hive.
WITH_WORKER = f"""\
[Service]
KillMode=process
ExecStart=
ExecStart=/bin/sh -c '{WORK} & exec /usr/local/bin/rbee-hive --port 8081'
"""


@dataclass(frozen=True)
class Door(Host):
    """Another port of a host, to be asked as its own."""

    door: int

    @property
    def port(self) -> int:
        return self.door


def takes(lab: Lab, name: str, port: int, token: str) -> bool:
    """True when something on the host treats the token otherwise than no token at all."""
    host = lab.hosts[name]
    return status(Door(host.name, host.role, host.address, host.release, port), token) not in (0, 401)


def with_worker(lab: Lab, name: str) -> None:
    lab.write(name, "/usr/local/bin/worker", WORKER, mode=0o755)
    lab.sh(name, f"mkdir -p $(dirname {DROP_IN})")
    lab.write(name, DROP_IN, WITH_WORKER)
    lab.sh(name, "systemctl daemon-reload; systemctl restart rbee-hive")
    old = truth_of(lab, name).token
    assert eventually(lambda: takes(lab, name, WORKER_PORT, old))


def without_worker(lab: Lab, name: str) -> None:
    lab.sh(name, f"rm -f {DROP_IN}; systemctl daemon-reload; pkill -KILL -f [/]usr/local/bin/worker || true")
