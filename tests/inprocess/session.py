"""A session with one host, for tests that are their own bastion."""

import json
from typing import Any

from hivekeys.protocol.causes import Cause
from hivekeys.protocol.wire import service_told
from hivekeys.service import Service
from hivekeys.token import Token

from .host import KEY, SimulatedHost
from .line import InProcessLine


def told(service: Service) -> dict[str, Any]:
    """A service as its host is told it."""
    found: dict[str, Any] = json.loads(json.dumps(service_told(service)))
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
        "claim": True,
        "beside": False,
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
