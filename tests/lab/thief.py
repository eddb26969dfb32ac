"""Somebody with a token that leaked, who calls every host with it, over and over: the hosts' answers are the truth."""

import contextlib
import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from hivekeys.lab import Host, Lab

from .asking import eventually, status

PAUSE = 0.3  # seconds between two calls to a host


class Thief:
    """At work until the block ends, each host from a thread of its own. Times are this machine's, as the hosts' are."""

    def __init__(self, lab: Lab, token: str) -> None:
        self.let_in: dict[str, float] = {}  # the last call that a host let in: when it was begun
        self.refused: dict[str, float] = {}  # the first call that a host refused
        self.again: set[str] = set()  # hosts that let it in after they had refused it
        self._token = token
        self._hosts = lab.hosts.values()
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(len(self._hosts))

    def __enter__(self) -> Self:
        self._calls = [self._pool.submit(self._call, host) for host in self._hosts]
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._over.set()
        self._pool.shutdown()
        for call in self._calls:
            call.result()

    def is_in(self, *names: str) -> bool:
        """Waits until these hosts have let it in."""
        return eventually(lambda: self.let_in.keys() >= set(names), seconds=30)

    def is_out(self, *names: str) -> bool:
        """Waits until these hosts, or all, have refused it."""
        wanted = set(names) or {host.name for host in self._hosts}
        return eventually(lambda: self.refused.keys() >= wanted, seconds=30)

    def _call(self, host: Host) -> None:
        while not self._over.wait(PAUSE):
            began, answer = time.time(), 0
            with contextlib.suppress(http.client.HTTPException, ValueError):  # the service is killed while it answers
                answer = status(host, self._token)
            if answer == 200:
                self.let_in[host.name] = began
                self.again |= {host.name} & self.refused.keys()
            elif answer == 401:
                self.refused.setdefault(host.name, began)
