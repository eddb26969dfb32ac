"""The processes of a simulated host: its service's own, and others that could take a token."""

import itertools
from dataclasses import dataclass, field

numbers = itertools.count(1000)  # pids and process starts: unique among all hosts of a test run


@dataclass
class Process:
    """A running service, with its own copy of the token; None: it has none, and lets nobody in."""

    token: str | None
    version: list[tuple[int, int]]  # inode and change time of each token file that it read
    ready_at: float
    dies_at: float
    others: frozenset[str] = frozenset()  # tokens that it takes as well, by its list or its second file
    pid: int = field(default_factory=lambda: next(numbers))


@dataclass
class Other:
    """A process that is not the service's own: a worker that outlived a restart, a second hive, a metrics port.

    `takes`: the token that it lets in, None for anybody; `port`: 0 for none; `held`: the one in its environment.
    """

    takes: str | None = None
    port: int = 0
    held: str = ""
    comm: str = "worker"
    in_unit: bool = True
    uid: int | None = None  # None: the service's account
    speaks_http: bool = True
    stubborn: bool = False  # only SIGKILL ends it
    unit: str = ""  # the system service whose main process it is
    pid: int = field(default_factory=lambda: next(numbers))

    def status(self, token: str | None) -> int:
        if not self.speaks_http:
            return 0
        return 200 if self.takes is None or token == self.takes else 401
