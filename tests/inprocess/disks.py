"""The real files of a host on disks that can be full or read-only."""

import errno
import os
from typing import Any

from hivekeys.host import agent
from hivekeys.host.slots import Secrets
from hivekeys.host.state import State

from .host import SimulatedHost


class HostSecrets(Secrets):
    """The real token directory, on a disk that can be full or read-only."""

    host: SimulatedHost

    def refuse(self, *faults: str) -> None:
        if self.host.fault in faults:
            code = errno.ENOSPC if self.host.fault == "disk-full" else errno.EROFS
            raise OSError(code, os.strerror(code))

    def create(self, folder: int, name: str, data: bytes) -> None:
        self.refuse("disk-full", "read-only")
        super().create(folder, name, data)

    def remove(self, folder: int, name: str) -> bool:
        if name in os.listdir(folder):
            self.refuse("read-only")
        return super().remove(folder, name)

    def rename(self, folder: int, name: str, target: str) -> None:
        self.refuse("read-only")
        super().rename(folder, name, target)

    def link(self, folder: int, name: str, target: str) -> None:
        self.refuse("read-only")
        if not self.host.has_hard_links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))  # link(2)
        super().link(folder, name, target)


class HostState(State):
    """hivekeys' real directory, on a disk that can be full."""

    host: SimulatedHost

    def write(self, folder: int, name: str, text: str) -> None:
        if self.host.fault == "var-full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(folder, name, text)

    def take_lock(self, folder: int, mine: dict[str, Any], take_over: bool, patience: agent.Agent) -> None:
        if self.host.fault == "var-full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().take_lock(folder, mine, take_over, patience)
