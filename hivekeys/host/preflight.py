"""Finds before a run what would keep a token from being written: by looking, and by a trial write.

Runs ON a host, in one text with agent.py. The active file itself is never linked to or renamed, which would change its
ctime, and with it what `Agent.loaded` says. What holds a file in its place is asked of the kernel instead: its flags
(chattr(1)), and whether it is a mount point. Whether the directory takes links, renames and unlinks is tried on files
of our own.
"""

import errno
import fcntl
import os
import stat
import struct

from hivekeys.host.forms import MAX_TOKEN_CHARS
from hivekeys.host.paths import NOFOLLOW
from hivekeys.host.slots import Secrets
from hivekeys.host.state import STATE
from hivekeys.host.system import Refusal, System

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Optional

    from hivekeys.host.agent import Agent

READS = 1 if os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")) else 2  # linux/ioctl.h: _IOC_READ << 30
GET_FLAGS = READS << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1  # linux/fs.h: FS_IOC_GETFLAGS
FIXED = ((0x10, "immutable", "i"), (0x20, "append-only", "a"))  # linux/fs.h: FS_IMMUTABLE_FL, FS_APPEND_FL
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)  # link(2)


def barred(secrets: Secrets, folder: int) -> "Optional[Refusal]":
    """Why the slots that are there could not be replaced or taken away; None where nothing is to be seen.

    `folder` is the token directory's descriptor.
    """
    found = fixed(folder, secrets.folder)
    for name in (secrets.active, secrets.staged, secrets.previous, *secrets.scratches):
        found = found or in_place(folder, name, "%s/%s" % (secrets.folder, name))
    return found


def in_place(folder: int, name: str, path: str) -> "Optional[Refusal]":
    """Why a name in the directory could neither become another file's nor be taken away; only a file is opened."""
    try:
        place = os.open(name, os.O_PATH | NOFOLLOW, dir_fd=folder)
    except OSError:
        return None  # none there, or exchanged meanwhile
    try:
        kind, mounted = os.fstat(place).st_mode, mount_of(place) != mount_of(folder)
    finally:
        os.close(place)
    if mounted:
        return Refusal("mount-point", "%s is a mount point, and cannot be replaced: umount %s" % (path, path))
    if stat.S_ISDIR(kind):
        return Refusal("token-unsafe", "%s is a directory" % path)
    if not stat.S_ISREG(kind):
        return None  # a link, a pipe: it can be replaced, if it may
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
    except OSError:
        return None
    try:
        return fixed(fd, path)
    finally:
        os.close(fd)


def fixed(fd: int, path: str) -> "Optional[Refusal]":
    """The flag that keeps an open file or directory as it is, and what takes it off; None on file systems without."""
    try:
        (flags,) = struct.unpack("=I", fcntl.ioctl(fd, GET_FLAGS, bytes(8))[:4])
    except OSError:
        return None
    for flag, word, letter in FIXED:
        if flags & flag:
            return Refusal("immutable", "%s is %s: chattr -%s %s" % (path, word, letter, path))
    return None


def mount_of(fd: int) -> str:
    """The id of the mount through which a file was opened; st_dev says nothing of a file that is bound to itself."""
    try:
        with open("/proc/self/fdinfo/%d" % fd) as lines:
            return next((line for line in lines if line.startswith("mnt_id:")), "")
    except OSError:
        return ""


def bar(agent: "Agent") -> "Optional[dict[str, str]]":
    """Why a run could not write on this host, as far as a look can tell: {"trouble", "detail"}, or None."""
    found = None
    try:
        folder = agent.secrets.open()
        try:
            found = barred(agent.secrets, folder) or full(agent.system, folder, agent.secrets.folder)
        finally:
            os.close(folder)
        ours = agent.state.open(create=False)
        folder = agent.state.open_above() if ours is None else ours
        try:
            found = found or full(agent.system, folder, "/" + STATE)
        finally:
            os.close(folder)
    except (Refusal, OSError):
        pass  # what a look says of the path, and a greeting of our own directory
    return {"trouble": found.trouble, "detail": found.detail} if found else None


def full(system: System, fd: int, path: str) -> "Optional[Refusal]":
    """Why nothing new can be written beside an open directory, as its file system says. Root may use what is left."""
    info = system.space(fd)
    why = ""
    if info.f_flag & os.ST_RDONLY:
        why = os.strerror(errno.EROFS)
    elif info.f_bfree * info.f_frsize < MAX_TOKEN_CHARS:
        why = os.strerror(errno.ENOSPC)
    elif info.f_files and not info.f_ffree:
        why = "no inode left on device"
    return Refusal("write-failed", "%s: %s" % (path, why)) if why else None


def rehearse(secrets: Secrets, folder: int) -> None:
    """What stage, swap, revert and retire will do there, done with two files of our own: write, replace, link, unlink.

    Raises OSError, or a refusal.
    """
    found = barred(secrets, folder)
    if found:
        raise found
    first, second = secrets.scratches
    secrets.create(folder, first, b"\0" * MAX_TOKEN_CHARS)
    secrets.create(folder, second, b"")
    secrets.rename(folder, first, second)
    try:
        secrets.link(folder, second, first)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        raise Refusal(
            "no-hard-links", "the file system of %s has no hard links: %s" % (secrets.folder, error.strerror)
        ) from None
    secrets.clear(folder)
