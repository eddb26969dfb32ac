"""Clients of a lab's services, outside of its hosts: they call again and again, and move to the new token when told.

Some read long answers, word by word: one of each host at any time.
"""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from hivekeys.lab import Lab
from hivekeys.lab.files import PROTECTED

from .asking import eventually
from .rotating import Answer, end_fab

CLIENTS = 4
PAUSE = 0.05  # seconds before a client calls every host once more: other tests need the processors, too
STREAM = "/v1/stream?5"  # hivekeys.lab.standin: the seconds for which words come


class Clients:
    """So many clients, each with its own connections, that call every host in turn."""

    def __init__(self, lab: Lab, token: str, *, pause: float = PAUSE, streams: bool = False) -> None:
        self.lab = lab
        self.token = token
        self.pause = pause
        self.answers: Counter[int] = Counter()
        self.refused: list[str] = []  # who was answered otherwise than 200
        self.streams: list[str] = []  # "" for a long answer that came whole, else whose it was and what became of it
        self._rounds: Counter[tuple[int, str]] = Counter()
        self._over = threading.Event()
        self._mutex = threading.Lock()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CLIENTS)]
        self._threads += [threading.Thread(target=self._read, args=(name,)) for name in lab.hosts if streams]
        for thread in self._threads:
            thread.start()

    @property
    def requests(self) -> int:
        return sum(self.answers.values())

    def move(self, token: str) -> None:
        """All of them have the new token, and none is waiting for an answer to the old one."""
        self.token = token
        assert eventually(lambda: all(self._rounds[number, token] for number in range(CLIENTS)))

    def leave(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)

    def _call(self, number: int) -> None:
        lines = {
            name: http.client.HTTPConnection(host.address, host.port, timeout=10)
            for name, host in self.lab.hosts.items()
        }
        while not self._over.wait(self.pause):
            token = self.token
            for name, line in lines.items():
                answer = self._ask(line, PROTECTED[self.lab.hosts[name].role], token)
                with self._mutex:
                    self.answers[answer] += 1
                    self.refused += [f"{name}: {answer}"] if answer != 200 else []
            self._rounds[number, token] += 1
        for line in lines.values():
            line.close()

    def _read(self, name: str) -> None:
        """One long answer after the other."""
        host = self.lab.hosts[name]
        while not self._over.is_set():
            line = http.client.HTTPConnection(host.address, host.port, timeout=10)
            try:
                line.request("GET", STREAM, headers={"Authorization": f"Bearer {self.token}"})
                response = line.getresponse()
                words = response.read().count(b"data: ")
                said = "" if (response.status, words) == (200, 50) else f"{name}: {response.status}, {words} words"
            except (OSError, http.client.HTTPException) as error:
                said = f"{name}: {error!r}"
            line.close()
            with self._mutex:
                self.streams.append(said)

    @staticmethod
    def _ask(line: http.client.HTTPConnection, path: str, token: str) -> int:
        try:
            line.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            response = line.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            line.close()
            return 0
        return response.status


def moving(run: Any, move: Callable[[], object]) -> Answer:
    """A run to its end; the clients move while it settles."""
    for line in run.stdout:
        event = json.loads(line)
        if (event["type"], event.get("title")) == ("phase-started", "settle"):
            move()
    return end_fab(run)
