"""Files of a host, opened safely: no link is followed that root alone cannot have put there.

Runs ON a host, in one text with agent.py. The token directory belongs to an unprivileged account, so root never follows
a path through it: a directory is opened without following links, and a file is reached through the directory's
descriptor.
"""

import errno
import grp
import os
import pwd
import stat

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Optional

NOFOLLOW = os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | NOFOLLOW
OTHERS_WRITE = 0o022
MOST_LINKS = 40  # on one way, as in Linux


def is_same_file(path: str, fd: int) -> bool:
    """Whether a path leads to what is open as `fd`; what cannot be seen is another."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        return False


def open_directory(root: str, path: str) -> int:
    """A descriptor of the directory at `path` below `root`, no component of which is a link."""
    here = os.open(root, DIRECTORY)
    for part in path.strip("/").split("/"):
        try:
            below = os.open(part, DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def open_controlled(root: str, path: str, strict: bool = False, how: int = os.O_RDONLY | os.O_NONBLOCK) -> int:
    """A descriptor of what is at `path` below `root`, to be read; a link is followed only where root alone can put one.

    Whoever may write to a directory on the way could else have root open anything, a device too. `strict`: nor does a
    link lead through or into a directory that another account can change (EPERM). Raises OSError.
    """
    left = [part for part in reversed(path.split("/")) if part]
    here, links = os.open(root, DIRECTORY), 0
    try:
        while left:
            name = left.pop()
            try:
                below = os.open(name, DIRECTORY if left else how | NOFOLLOW, dir_fd=here)
            except OSError as error:
                links += 1
                if (
                    error.errno not in (errno.ELOOP, errno.ENOTDIR)
                    or links > MOST_LINKS
                    or not is_roots(os.fstat(here))
                ):
                    raise
                target = os.readlink(name, dir_fd=here)
                left += [part for part in reversed(target.split("/")) if part]
                below = os.open(root, DIRECTORY) if target.startswith("/") else os.dup(here)
            os.close(here)
            here = below
            if strict and links and not is_roots(os.fstat(here)):
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    except OSError:
        os.close(here)
        raise
    return here


def place(root: str, path: str) -> str:
    """Where a path leads, without links, "" where it leads nowhere; a file may be missing in its folder."""
    for folder, name in ((path, ""), os.path.split(path)):
        try:
            fd = open_controlled(root, folder)
        except OSError:
            continue
        try:
            return os.path.join(os.readlink("/proc/self/fd/%d" % fd), name).rstrip("/")
        finally:
            os.close(fd)
    return ""


def is_roots(info: os.stat_result) -> bool:
    """True when only root can have put anything into this directory."""
    return info.st_uid == 0 and not info.st_mode & OTHERS_WRITE


def read_controlled(root: str, path: str, limit: int) -> "Optional[bytes]":
    """All bytes of a regular file, opened as above; None for another kind of file, and for more than `limit`."""
    fd = open_controlled(root, path)
    try:
        return read_limited(fd, limit) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def read_roots(root: str, path: str, limit: int) -> "Optional[bytes]":
    """As `read_controlled`, for a file that only root can have made or changed; OSError for any other."""
    folder = os.path.dirname(path)
    while folder.strip("/"):
        here = open_controlled(root, folder + "/.", how=os.O_PATH)
        try:
            if not is_roots(os.fstat(here)):
                raise PermissionError(errno.EACCES, "others than root can write to %s" % folder)
        finally:
            os.close(here)
        folder = os.path.dirname(folder)
    fd = open_controlled(root, path)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or not is_roots(info):
            raise PermissionError(errno.EACCES, "it is no file that root alone can change")
        return read_limited(fd, limit)
    finally:
        os.close(fd)


def read_limited(fd: int, limit: int) -> "Optional[bytes]":
    """All bytes of a file, or None when it has more than `limit`."""
    data = b""
    while len(data) <= limit:
        more = os.read(fd, limit + 1 - len(data))
        if not more:
            return data
        data += more
    return None


def write_all(fd: int, data: bytes) -> None:
    """Every byte, on the disk."""
    while data:
        data = data[os.write(fd, data) :]
    os.fsync(fd)


def names_of(info: os.stat_result) -> "tuple[str, str]":
    """(owner, group) by name where the host has one, else by number."""
    return named(info.st_uid, info.st_gid)


def named(uid: int, gid: int) -> "tuple[str, str]":
    """An account's and a group's name, as above."""
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        owner = str(uid)
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return owner, group
