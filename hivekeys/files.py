"""Reads and writes files that an operator names: checks their owner, bounds their size, writes all or nothing.

`stranger` asks who but the operator could change a file that steers a run: inventories, OpenSSH's configuration,
known_hosts, keys, lists of recipients.

One rule for all of them, as for inventory programs. An account that can change such a file acts as the operator: the
file names the hosts that get the token, and the commands (`Match exec`, ProxyCommand) that lead there. So the file must
belong to the operator or to root, no other account may write to it, and the same holds for every folder and link on the
way to it. In a folder with the sticky bit, such as /tmp, no account can replace another's files; the owner of the next
part is checked as well. An account that can change hivekeys' own code needs no such file: that code, its owner and its
folders are not checked.
"""

import errno
import functools
import grp
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hivekeys
from hivekeys.errors import UserError
from hivekeys.text.clean import printable

CODE = Path(hivekeys.__file__).resolve().parent
MOST_LINKS = 40  # on one way, as in Linux
ACL = "system.posix_acl_access"  # acl(5): the mode does not say who may write


@dataclass(frozen=True)
class Stranger:
    """An account that is neither the operator nor root, and what it can do where on the way to a file."""

    place: Path
    does: str

    def __str__(self) -> str:
        return f"others can change it: {printable(self.does)}"

    @property
    def hint(self) -> str:
        """What makes the file the operator's alone."""
        if "belongs" in self.does:
            return (
                "it and the folders above it must be yours or root's: chown them, or copy the file to a folder of yours"
            )
        return f"look at what it says, then: chmod go-w {printable(str(self.place))}"


class NotYoursError(UserError):
    """Another account can change a file that steers a run."""


def refuse_strangers(path: Path) -> None:
    """Raises NotYoursError if an account besides the operator and root can change what is at `path`."""
    if found := stranger(path):
        raise NotYoursError(f"{printable(str(path))}: {found}", hint=found.hint)


def stranger(path: Path) -> Stranger | None:
    """Which other account can change a file, or put another in its place; None for no account.

    A missing or unreachable file is the opener's to report; the path counts as far as it exists.
    """
    try:
        return next(filter(None, (_stranger(place, info) for place, info in _way_to(path))), None)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None


def _way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All that is looked up for a path: folders, links and what they lead to, the file last. OSError where it ends."""
    here, links = Path("/"), 0
    left = list(reversed(path.absolute().parts))
    while left:
        there = here / left.pop()
        if there.name == "..":
            here = here.parent
            continue
        info = there.lstat()
        yield there, info
        if not stat.S_ISLNK(info.st_mode):
            here = there
            continue
        links += 1
        if links > MOST_LINKS:
            return  # opening it reports that
        left += reversed(there.readlink().parts)


def _stranger(place: Path, info: os.stat_result) -> Stranger | None:
    if place in CODE.parents:
        return None
    if info.st_uid not in _mine():
        return Stranger(place, f"{place} belongs to {_account(info.st_uid)}")
    shared = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX
    if shared or stat.S_ISLNK(info.st_mode) or stat.S_ISCHR(info.st_mode):  # a device such as /dev/null keeps nothing
        return None
    if info.st_mode & stat.S_IWOTH:
        return Stranger(place, f"every account can write to {place} (mode {stat.S_IMODE(info.st_mode):04o})")
    if info.st_mode & stat.S_IWGRP and not (_is_private(info.st_gid, _mine()) and ACL not in _attributes(place)):
        group = f"group {_group(info.st_gid)}"
        return Stranger(place, f"{group} can write to {place} (mode {stat.S_IMODE(info.st_mode):04o})")
    return None


def _mine() -> frozenset[int]:
    """Root, the operator, who became root by sudo (that account can do so again), and whose this program is."""
    me = os.geteuid()
    by_sudo = os.environ.get("SUDO_UID", "") if me == 0 else ""
    return frozenset((0, me, int(by_sudo) if by_sudo.isdecimal() else me, CODE.stat().st_uid))


@functools.cache
def _is_private(gid: int, mine: frozenset[int]) -> bool:
    """True for a group of one account's own: of its name, with no member but it, and it is the operator or root.

    Where every account has one, the umask is 002, and all that a `git clone` writes is writable for that group.
    """
    try:
        group = grp.getgrgid(gid)
        owner = pwd.getpwnam(group.gr_name)
    except KeyError:
        return False
    members = {*group.gr_mem, *(account.pw_name for account in pwd.getpwall() if account.pw_gid == gid)}
    return owner.pw_uid in mine and owner.pw_gid == gid and members <= {owner.pw_name}


def _attributes(place: Path) -> list[str]:
    """The names of extended attributes; [ACL] where it cannot be told whether there is an access list."""
    try:
        return os.listxattr(place)
    except OSError as error:
        return [] if error.errno == errno.ENOTSUP else [ACL]


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def destination(option: str, name: str) -> Path:
    """The file that an option names. Refused where its folder is missing, or a device or a link would be replaced."""
    path = Path(name).expanduser()
    try:
        there = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise UserError(f"{option} {name}: there is no folder {path.parent}", hint="make it first") from None
        return path
    except OSError as error:
        raise UserError(f"{option} {name}: {error.strerror}") from None
    if not stat.S_ISREG(there):
        raise UserError(f"{option} {name}: there is something that is no plain file", hint="name a file of its own")
    return path


def write_whole(path: Path, content: str | bytes, mode: int | None = None, *, over: bool = True) -> None:
    """The content of the file, which is what it was until then. Raises UserError.

    `mode`: whatever the umask says. Unless it may be written `over`, a file that is there stays as it is.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(fd, "wb") as file:
                if mode is not None:
                    os.fchmod(fd, mode)
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(fd)
            if over:
                scratch.replace(path)
            else:
                path.hardlink_to(scratch)
                scratch.unlink()
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}", hint="its folder must be yours to write, with room in it"
        ) from None


def read_plain(path: Path, most: int) -> bytes:
    """The content of a plain file, which is opened once and is no link, at most so many bytes.

    Raises FileNotFoundError where there is none, and UserError for whatever else is there.
    """
    name = printable(str(path))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UserError(f"{name}: this is no file")
            content = file.read(most + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        is_link = getattr(error, "errno", None) == errno.ELOOP
        why = "this is a link, not the file itself" if is_link else getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: {why}") from None
    if len(content) > most:
        raise UserError(f"{name}: found more than {most >> 10} KiB, expected less")
    return content


def read_in(option: str, name: str, most: int) -> bytes:
    """The content of a file that an option names, at most so many bytes."""
    path = Path(name).expanduser()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe might never end
            raise UserError(f"{option} {name}: this is no file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"{option} {name}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > most:
        raise UserError(f"{option} {name}: found more than {most >> 20} MiB, expected less")
    return content
