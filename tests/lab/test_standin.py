"""The stand-in behaves as llama-orch.md says of v0.1.0, and runs on every release's Python."""

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hivekeys.lab import standin

TOKEN = "ab" * 32


def secret(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "api-token"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_white_space_around_a_token_is_trimmed(tmp_path: Path) -> None:
    assert standin.load_secret(secret(tmp_path, f" {TOKEN}\r\n")) == TOKEN


def test_links_are_resolved_first(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(secret(tmp_path, TOKEN))
    assert standin.load_secret(str(tmp_path / "link")) == TOKEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ValueError, match="too open"):
        standin.load_secret(secret(tmp_path, TOKEN, mode))


@pytest.mark.parametrize("text", ["", " \n", "x" * ((1 << 20) + 1)])
def test_an_empty_and_a_huge_file_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"empty|large"):
        standin.load_secret(secret(tmp_path, text))


def test_no_line_about_the_load_has_the_token_or_its_fingerprint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = secret(tmp_path, TOKEN)
    standin.load_secret(path)
    told = capsys.readouterr().out
    assert "Secret loaded from file" in told
    assert path in told
    assert TOKEN not in told
    assert standin.identity(TOKEN) not in told


# -- the services of v0.1.0, as processes


class Service:
    """One service at work, on a port of its own. `installed` in the folder of its version, as on a host."""

    def __init__(self, folder: Path, name: str, version: str = "v0.1.0", **environment: str) -> None:
        programs = folder / version
        programs.mkdir(exist_ok=True)
        for each in {name, standin.WORKER}:
            (programs / each).write_text(Path(standin.__file__).read_text())
            (programs / each).chmod(0o755)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(programs / name)
        self.trail = folder / "audit"
        self.trail.mkdir(exist_ok=True)
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        addr = ["daemon", "--addr", f"127.0.0.1:{self.port}"]
        arguments = addr if name == standin.HIVE else ["--port", str(self.port), "--database", str(folder / "db")]
        own = {"HOME": str(self.home), "LLORCH_AUDIT_MODE": "local", "LLORCH_AUDIT_DIR": str(self.trail)}
        self.process = subprocess.Popen(
            [str(folder / name), *arguments],
            env=own | environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout
        self.said = list(itertools.takewhile(lambda line: "HTTP server ready" not in line, self.process.stdout))

    def ask(self, path: str, header: str = "", method: str = "GET", port: int = 0) -> tuple[int, str]:
        """The status and the body of the answer, to a call with this Authorization header."""
        line = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            line.request(method, path, headers={"Authorization": header} if header else {})
            answer = line.getresponse()
            return answer.status, answer.read().decode()
        finally:
            line.close()

    def status(self, path: str, header: str = "") -> int:
        return self.ask(path, header)[0]

    def end(self) -> list[str]:
        """Ends it as systemd does; what it said since it was ready."""
        self.process.terminate()
        with self.process as process:
            return list(process.stdout or ())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def begin(name: str = standin.HIVE, version: str = "v0.1.0", **environment: str) -> Service:
        services.append(Service(tmp_path, name, version, **environment))
        return services[-1]

    yield begin
    for service in services:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.process.pid, signal.SIGKILL)  # its workers too
        with service.process:
            pass


LIST = standin.PROTECTED[standin.HIVE]
RIGHT = f"Bearer {TOKEN}"


def test_a_service_without_a_token_refuses_everybody(start: Callable[..., Service], tmp_path: Path) -> None:
    """It names no file, or it names one: v0.1.0 reads none."""
    service = start(LLORCH_API_TOKEN_FILE=secret(tmp_path, TOKEN))
    assert any("LLORCH_API_TOKEN not set - using dev mode (no auth)" in line for line in service.said)
    status, body = service.ask(LIST, RIGHT)
    assert (status, json.loads(body)["error"]["code"]) == (401, "INVALID_API_KEY")
    status, body = service.ask(LIST)
    assert (status, json.loads(body)["error"]["code"]) == (401, "MISSING_API_KEY")
    assert service.status("/v1/health") == 200


def test_a_path_that_nobody_knows_answers_401_without_the_token_and_404_with_it(start: Callable[..., Service]) -> None:
    service = start(LLORCH_API_TOKEN=TOKEN)
    for path in ("/api/v1/workers", "/health", "/"):
        assert [service.status(path), service.status(path, "Bearer x"), service.status(path, RIGHT)] == [401, 401, 404]


def test_health_and_the_hives_metrics_are_for_everybody(start: Callable[..., Service]) -> None:
    queen, hive = start(standin.QUEEN, LLORCH_API_TOKEN=TOKEN), start(LLORCH_API_TOKEN=TOKEN)
    assert (queen.status("/health"), queen.status("/metrics"), hive.status("/v1/health")) == (200, 401, 200)
    assert 'rbee_hive_workers_total{state="idle"} 0\n' in hive.ask("/metrics")[1]


@pytest.mark.parametrize(
    "header", [f"bearer {TOKEN}", f"BEARER {TOKEN}", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}{' ' * 9000}x"]
)
def test_another_scheme_and_a_huge_header_count_as_no_token(start: Callable[..., Service], header: str) -> None:
    service = start(LLORCH_API_TOKEN=TOKEN)
    status, body = service.ask(LIST, header)
    assert (status, json.loads(body)["error"]["code"]) == (401, "MISSING_API_KEY")


def test_nothing_is_trimmed_of_what_the_environment_says(start: Callable[..., Service]) -> None:
    service = start(LLORCH_API_TOKEN=f"{TOKEN}\n")
    assert [service.status(LIST, RIGHT), service.status(LIST, f"{RIGHT}\r\n ")] == [401, 401]


def test_the_service_to_come_reads_the_file(start: Callable[..., Service], tmp_path: Path) -> None:
    service = start(version="next", LLORCH_API_TOKEN_FILE=secret(tmp_path, f"{TOKEN}\n"))
    assert (service.status(LIST, RIGHT), service.status(LIST)) == (200, 401)


def test_a_database_that_cannot_be_written_is_no_start(start: Callable[..., Service], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".rbee").touch()  # where its folder should be
    service = start(LLORCH_API_TOKEN=TOKEN)
    assert service.process.wait(10) == 1


def test_a_call_that_is_let_in_is_one_coloured_line_with_the_fingerprint(start: Callable[..., Service]) -> None:
    service = start(LLORCH_API_TOKEN=TOKEN)
    assert not any("token:" in line for line in service.said)
    assert service.status(LIST, RIGHT) == 200
    (line,) = service.end()
    assert "authenticated" in line
    assert f"\x1b[3midentity\x1b[0m\x1b[2m=\x1b[0m{standin.identity(TOKEN)}" in line
    assert TOKEN not in line


def test_the_trail_knows_no_address_and_counts_from_nought_at_each_start(start: Callable[..., Service]) -> None:
    for _ in range(2):
        service = start(LLORCH_API_TOKEN=TOKEN)
        assert [service.status(LIST, RIGHT), service.status(LIST, "Bearer x"), service.status(LIST)] == [200, 401, 401]
        service.end()
    (file,) = service.trail.iterdir()
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [record["audit_id"] for record in records] == [f"audit-rbee-hive-{n}" for n in (0, 1, 2)] * 2
    assert [record["prev_hash"] == standin.GENESIS for record in records] == [True, False, False] * 2
    assert [record["event"].get("ip", record["event"].get("actor", {}).get("ip")) for record in records] == [
        None,
        "0.0.0.0",  # noqa: S104  what the services write for every caller
        "0.0.0.0",  # noqa: S104
    ] * 2
    for record in records:
        assert record["event"]["timestamp"] < record["timestamp"]
        assert re.fullmatch(r"[-0-9]{10}T[:0-9]{8}\.[0-9]{9}Z", record["timestamp"])


def test_a_worker_has_a_copy_of_the_token_and_a_port_of_its_own(start: Callable[..., Service]) -> None:
    hive = start(LLORCH_API_TOKEN=TOKEN)
    assert hive.ask(standin.SPAWN, method="POST")[0] == 401
    status, body = hive.ask(standin.SPAWN, RIGHT, method="POST")
    assert status == 200
    port = int(json.loads(body)["url"].rpartition(":")[2])
    assert port >= standin.FIRST_WORKER_PORT
    assert [hive.ask("/v1/ready", header, port=port)[0] for header in (RIGHT, "", "Bearer x")] == [200, 401, 401]
    assert 'rbee_hive_workers_total{state="idle"} 1\n' in hive.ask("/metrics")[1]
    hive.process.kill()  # as a restart does under KillMode=process
    assert hive.ask("/v1/ready", RIGHT, port=port)[0] == 200


def test_what_runs_on_hosts_runs_on_python_3_9() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run(
        [vermin, "--target=3.9-", "--no-tips", "--eval-annotations", standin.__file__],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
