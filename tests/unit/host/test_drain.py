"""The operator's commands of a drain, as a host runs them: bounded in time and words, and told no token."""

import os
import select
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from hivekeys.host.agent import Agent
from hivekeys.host.slots import Secrets
from hivekeys.host.verbs.drain import BODY_BYTES, Draining
from hivekeys.token import generate


class DrainingOfOurs(Draining):
    """Of a service that is a thread of this test: no unit of systemd's says that it runs, and as whom."""

    def trusted(self) -> frozenset[int]:
        return frozenset((os.geteuid(),))

    def runs(self) -> bool:
        return True


@pytest.fixture
def draining(tmp_path: Path) -> Draining:
    agent = Agent(str(tmp_path))
    agent.fleet, agent.run = "blue", "run-1"
    agent.service = {"unit": "rbee-hive.service"}
    return DrainingOfOurs(agent, "hive1", "wave", "it leaked")


def sh(draining: Draining, script: str, seconds: float = 30.0) -> tuple[int, str]:
    return draining.command(["/bin/sh", "-c", script], seconds)


def test_a_command_is_told_who_where_and_why_and_nothing_else(
    draining: Draining, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLORCH_API_TOKEN", "of the agent's own environment")
    code, said = sh(draining, "env | sort; pwd; cat")

    assert code == 0
    assert [line for line in said.split(" / ") if not line.startswith(("PWD", "SHLVL", "_", "OLDPWD"))] == [
        "HIVEKEYS_FLEET=blue",
        "HIVEKEYS_HOST=hive1",
        "HIVEKEYS_PHASE=wave",
        "HIVEKEYS_REASON=it leaked",
        "HIVEKEYS_RUN=run-1",
        "LC_ALL=C",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "SYSTEMD_COLORS=0",
        "/",
    ]


def test_of_a_megabyte_the_end_is_kept(draining: Draining) -> None:
    code, said = sh(draining, "yes and again | head -c 1000000; echo; echo the end >&2")

    assert code == 0
    assert said.endswith("and again / an / the end") or said.endswith("/ the end")
    assert len(said) < 4000


def ends(pid: int) -> bool:
    """Whether the process is over, or comes to its end now."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


def test_a_command_that_hangs_is_ended_with_all_that_it_started(draining: Draining, tmp_path: Path) -> None:
    code, said = sh(draining, f"sleep 600 & echo $! > {tmp_path}/pid; echo begun; wait", seconds=1.0)

    assert (code, said) == (124, "not over after 1 s; begun")
    assert ends(int((tmp_path / "pid").read_text()))


def test_what_a_command_leaves_behind_does_not_hold_the_run(draining: Draining, tmp_path: Path) -> None:
    """It has the pipe of its parent still open."""
    began = time.monotonic()
    code, said = sh(draining, f"sleep 600 & echo $! > {tmp_path}/pid; echo drained")
    os.kill(int((tmp_path / "pid").read_text()), 9)

    assert (code, said) == (0, "drained")
    assert time.monotonic() - began < 10


def test_what_gives_work_again_is_not_ended_with_the_run(draining: Draining) -> None:
    draining.agent.deadline.called_off = True
    assert sh(draining, "sleep 0.3; echo uncordoned") == (0, "uncordoned")


def test_a_command_that_closes_its_output_is_waited_for(draining: Draining) -> None:
    assert sh(draining, "exec >&- 2>&-; sleep 0.3; exit 7") == (7, "")


def test_a_command_that_is_not_there_is_named(draining: Draining) -> None:
    assert draining.command(["/usr/local/bin/no-such-command"], 5.0) == (127, "No such file or directory")


def test_a_token_that_a_command_prints_is_taken_out(draining: Draining) -> None:
    token = generate().reveal()
    draining.agent.known["keyed"] = token

    assert sh(draining, f"echo the token is {token}") == (0, "the token is [token]")


class Service(BaseHTTPRequestHandler):
    """Metrics that say what a test has put there."""

    body = b""
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service(draining: Draining) -> Any:
    server = HTTPServer(("127.0.0.1", 0), Service)
    Service.body, Service.status = b"", 200
    Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    draining.agent.service = {"unit": "x.service", "port": port, "address": "127.0.0.1", "scheme": "http"}
    draining.agent.service |= {"ca": "", "verify": True}
    draining.agent.deadline.end = time.monotonic() + 100
    draining.agent.secrets = Secrets(draining.agent.root, {"unit": "x.service", "token": "/etc/x/token"}, b"")
    yield Service
    server.shutdown()
    server.server_close()


UNTIL = {"get": "/metrics", "none": r'workers\{state="busy"\} [1-9]', "run": [], "every": 2.0}


def test_work_is_what_the_expression_finds_in_the_metrics(draining: Draining, service: Any) -> None:
    draining.plan = {"until": UNTIL}
    service.body = b'# HELP workers\nworkers{state="idle"} 4\nworkers{state="busy"} 0\n'
    assert draining.busy() == ""

    service.body = b'workers{state="idle"} 1\nworkers{state="busy"} 3\n'
    assert draining.busy() == 'workers{state="busy"} 3'


def test_metrics_that_cannot_be_read_are_not_taken_for_idle(draining: Draining, service: Any) -> None:
    draining.plan = {"until": UNTIL}
    service.status = 401
    assert draining.busy() == "GET /metrics: answers 401"

    service.status, service.body = 200, b"x" * (BODY_BYTES + 10)
    assert draining.busy() == f"GET /metrics: its answer is longer than {BODY_BYTES} bytes"


def test_a_command_of_until_says_by_its_code_whether_there_is_work(draining: Draining) -> None:
    for script, expected in (
        ("exit 0", ""),
        ("echo three streams; exit 75", "three streams"),
        ("exit 75", "busy"),
        ("echo no such job >&2; exit 1", "/bin/sh ended with 1: no such job"),
    ):
        draining.plan = {"until": {**UNTIL, "get": "", "run": ["/bin/sh", "-c", script]}}
        assert draining.busy() == expected
