"""A line to a simulated host: the real agent at its other end, and JSON both ways."""

import json
import threading
from typing import Any

from hivekeys.host import agent
from hivekeys.host.serving import answer
from hivekeys.host.slots import Secrets
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.line import QUIET

from .disks import HostSecrets, HostState
from .faults import SILENCING
from .host import SimulatedHost
from .machine import Machine


class CutError(BaseException):
    """The line breaks here. No Exception: nothing in the agent may catch it."""


class FrozenError(BaseException):
    """The agent stands still here, and never goes on: its lease is over when it is thawed."""


class HostAgent(agent.Agent):
    """The real agent; the fleet sees each verb before and after it is carried out."""

    def __init__(self, host: SimulatedHost, line: "InProcessLine") -> None:
        super().__init__(str(host.root), Machine(host), self.secrets_of)
        self.state = HostState(self.root, self.system)
        self.state.host = host
        self.host = host
        self.line = line

    def secrets_of(self, root: str, service: dict[str, Any], key: bytes) -> Secrets:
        secrets = HostSecrets(root, service, key)
        secrets.host = self.host
        return secrets

    def carry_out(self, verb: str, fields: dict[str, Any]) -> dict[str, Any]:
        fleet = self.host.fleet
        fleet.begins(self.host, verb, self.line)
        result = super().carry_out(verb, fields)
        fleet.ended(self.host, verb, self.line, ok=result["ok"])
        return result


class InProcessLine:
    """hivekeys.ssh.line.Line: requests and replies go through JSON as on the wire."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.agent = HostAgent(host, self)
        self.silenced = False  # the reply to the request in hand will not arrive
        self._ending = threading.Lock()  # two hosts' threads may end it at once
        self.dead: Cause | None = None
        self.took = 0.0  # by the host's own clock, which tests move

    def ask(self, request: dict[str, object], deadline: float) -> dict[str, object] | Cause:
        if self.dead:
            return self.dead
        began = self.host.clock
        self.host.end_leases()
        try:
            self.host.fleet.asks(self.host, request, self)
            if self.host.fault in SILENCING:
                return self.leave()
            self.host.clock += 0.2 if self.host.fault == "link-slow" else 0.0
            timed = {**request, "expires": began + deadline}
            reply = self.reply(json.dumps(timed))
            self.took = self.host.clock - began
            self.host.fleet.answers(self)
        except CutError:
            return self.drop()
        except FrozenError:
            return self.leave()
        if self.silenced or self.host.fault in SILENCING:
            return self.leave()
        if self.host.clock - began > deadline:
            return self.leave(f"no reply within {deadline:g} s")
        answer: dict[str, object] = json.loads(json.dumps(reply))
        return self.host.lies(request, answer) if self.host.lies else answer

    def reply(self, request: str) -> dict[str, object]:
        """What the agent says to a request."""
        return answer(self.agent, json.loads(request))

    def call_off(self) -> None:
        self.agent.deadline.called_off = True

    def close(self) -> None:
        if self.dead is None:
            if self.host.fault in SILENCING:
                self.leave()
            else:
                self.drop()

    def drop(self) -> Cause:
        """The line ends and the agent sees it: it leaves, and its lock with it."""
        with self._ending:
            self.agent.deadline.gone.set()
            self.agent.leave()
            self.agent.state.release()
        return self._end(Cause(Trouble.LINE_BROKEN, "the connection ended"))

    def leave(self, why: str = f"nothing was heard from the host for {QUIET:g} s") -> Cause:
        """The line ends and the agent does not see it: it waits for requests, and keeps its lock."""
        self.host.left_behind[self.agent.system.pid()] = (self.agent, self.host.clock)
        return self._end(Cause(Trouble.SILENT, why))

    def _end(self, cause: Cause) -> Cause:
        self.dead = cause
        if self in self.host.lines:
            self.host.lines.remove(self)
        return cause
