"""An in-process fleet in restricted mode: between the line and each host's agent stands the gate."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hivekeys.host.gate import Gate
from hivekeys.host.state import STATE
from hivekeys.protocol.wire import PROTOCOL
from tests.inprocess import InProcessDialer, InProcessFleet, InProcessLine, SimulatedHost, hello


def restrict(host: SimulatedHost) -> None:
    """What `fab install --restricted` writes down of a host."""
    folder = host.root / STATE
    folder.mkdir(mode=0o700, exist_ok=True)
    own = {"fleet": "inprocess", "service": hello(host)["service"], "account": "deploy"}
    (folder / "restricted").write_text(json.dumps(own))


class GuardedLine(InProcessLine):
    """A line to an installed agent."""

    def __init__(self, host: SimulatedHost) -> None:
        super().__init__(host)
        self.log: list[str] = []
        self.gate = Gate(self.agent, self.log.append)

    def reply(self, request: str) -> dict[str, object]:
        answer: dict[str, object] = self.gate.reply(request.encode())
        return answer

    def say(self, line: bytes) -> dict[str, Any]:
        """The first result of whatever a stolen key says."""
        first: dict[str, Any] = self.gate.reply(line)["results"][0]
        return first


class GuardedDialer(InProcessDialer):
    """Opens such lines, and keeps what their gates logged."""

    line_type = GuardedLine

    def __init__(self, fleet: InProcessFleet) -> None:
        super().__init__(fleet)
        for host in fleet.hosts.values():
            restrict(host)

    def dial(self, host: Any) -> Any:
        line = super().dial(host)
        if isinstance(line, GuardedLine):
            self.lines = [*self.lines, line]
        return line

    lines: list[GuardedLine] = []  # noqa: RUF012  replaced, never changed

    @property
    def refusals(self) -> list[str]:
        return [text for line in self.lines for text in line.log]


def request(*steps: dict[str, object], **fields: object) -> dict[str, object]:
    """A request as a bastion sends it."""
    return {"protocol": PROTOCOL, "deadline": 60.0, "steps": list(steps), **fields}


def greeting(host: SimulatedHost, **fields: object) -> dict[str, object]:
    """The hello of a bastion, every field there."""
    return {**hello(host), "claim": True, "revoked": {}, **fields}


def files(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below a host's root: mode, owner, change time, content."""
    return dict(_files(root))


def _files(root: Path) -> Iterator[tuple[str, tuple[int, int, int, bytes]]]:
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        yield str(path), (info.st_mode, info.st_uid, info.st_ctime_ns, content)
