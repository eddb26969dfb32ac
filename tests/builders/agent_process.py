"""The agent as a process of its own, started as the bootstrap starts it."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hivekeys.host.state import STATE
from hivekeys.protocol.program import program_of
from tests.inprocess import SimulatedHost, hello

PROGRAM = program_of()


def state(host: SimulatedHost) -> Path:
    return host.root / STATE


class Process:
    """The agent as on a host: its text on stdin, then a request a line. Its root is a simulated host's directory."""

    def __init__(self, host: SimulatedHost, run: str = "run-1", call: str = "main(Agent(sys.argv[1]))") -> None:
        self.host = host
        boot = (
            "import sys; i = sys.stdin.buffer; program = i.read(int(i.readline())); __name__ = 'agent'\n"
            f"exec(compile(program, 'hivekeys-agent', 'exec'), globals()); {call}"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-IS", "-c", boot, str(host.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self.send(b"%d\n%s" % (len(PROGRAM), PROGRAM))
        self.run = run

    def send(self, data: bytes) -> None:
        self.stdin.write(data)
        self.stdin.flush()

    def ready(self) -> "Process":
        assert self.stdout.readline().startswith(b"hivekeys:ready ")
        return self

    def ask(self, *steps: dict[str, Any]) -> list[dict[str, Any]]:
        self.send(json.dumps({"steps": steps, "deadline": 20.0}).encode() + b"\n")
        results: list[dict[str, Any]] = json.loads(self.stdout.readline())["results"]
        return results

    def hello(self) -> dict[str, Any]:
        return self.ask(hello(self.host, run=self.run))[0]

    def end(self) -> tuple[int, str]:
        """Exit status and stderr of an agent that is about to leave."""
        status = self.process.wait(timeout=20)
        return status, self.stderr.read().decode()

    def clean_up(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def wait_until_open(pid: int, file: Path) -> None:
    """Until the process has the file open: its step is in hand then, and its handler for SIGTERM stands."""
    while Path(f"/proc/{pid}/exe").exists():
        with contextlib.suppress(FileNotFoundError):  # a file that it has just closed
            if any(fd.readlink() == file for fd in Path(f"/proc/{pid}/fd").iterdir()):
                return
    raise AssertionError("the agent ended")
