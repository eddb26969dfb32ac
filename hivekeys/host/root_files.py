"""Files of root's on a host: read as plain files alone, and written whole or not at all.

Runs ON a host, in one text with agent.py.
"""

import os
import stat

from hivekeys.host.agent import Agent
from hivekeys.host.environment import FILE_LIMIT
from hivekeys.host.paths import NOFOLLOW, open_directory, read_limited, write_all
from hivekeys.host.system import Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Callable, Optional


def read_file(root: str, path: str) -> "Optional[str]":
    """The text of a file of root's; None when it is not there, or is no plain file."""
    folder, name = os.path.split(path)
    try:
        above = open_directory(root, folder)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=above)
        finally:
            os.close(above)
    except OSError:
        return None
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        return (read_limited(fd, FILE_LIMIT) or b"").decode("utf-8", "replace") if regular else None
    finally:
        os.close(fd)


def write_file(
    agent: "Agent", path: str, text: str, mode: int = 0o644, check: "Optional[Callable[[str], None]]" = None
) -> None:
    """A file of root's, whole or not at all; `check` may refuse it before it is in place, by the path it gets."""
    folder, name = os.path.split(path)
    above = open_directory(agent.root, folder)
    scratch = "." + name + ".hivekeys"
    try:
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOFOLLOW, 0o600, dir_fd=above)
        try:
            os.fchmod(fd, mode)
            write_all(fd, text.encode("utf-8"))
            if check:
                check(os.path.join(folder, scratch))
            os.rename(scratch, name, src_dir_fd=above, dst_dir_fd=above)
        except (OSError, Refusal):
            os.unlink(scratch, dir_fd=above)
            raise
        finally:
            os.close(fd)
        os.fsync(above)
    finally:
        os.close(above)
