"""The token directory of a service and its three slots: active, staged and previous.

Runs ON a host, in one text with agent.py. A file that is not the service's own is never taken for a token, or that
account could have root read any secret to it.
"""

import errno
import grp
import hashlib
import hmac
import os
import pwd
import stat

from hivekeys.host.forms import TokenLine, read_token
from hivekeys.host.paths import (
    NOFOLLOW,
    OTHERS_WRITE,
    names_of,
    open_controlled,
    open_directory,
    place,
    read_limited,
    write_all,
)
from hivekeys.host.system import MAX_TOKEN_BYTES, Refusal

TYPE_CHECKING = False  # type checkers take it for True
if TYPE_CHECKING:
    from typing import Any, Optional

CREDENTIALS = "run/credentials"  # systemd.exec(5), LoadCredential=
ROOTS = 0o640  # the most that an environment file of root's may be open: the service's group may read it
MANY_TOKENS = 64  # that one session may know: a run has few, and an account that exchanges files cannot fill the memory


class Secrets:
    """The token directory of one service, and the three slots in it."""

    def __init__(self, root: str, service: "dict[str, Any]", key: bytes) -> None:
        self.root = root
        self.folder, self.active = os.path.split(service["token"])
        self.staged = self.active + ".new"
        self.previous = self.active + ".backup"
        self.accepted = os.path.basename(service.get("tokens", ""))  # the file of accepted tokens (accept.py)
        self.names = (self.active, self.staged, self.previous, *([self.accepted] if self.accepted else []))
        self.scratch = "." + self.active + ".hivekeys"
        self.scratches = (self.scratch, self.scratch + ".probe")  # the second is for preflight.py
        self.service = service
        self.unit = service["unit"]  # the name that systemd has for it (Agent.unit)
        self.in_line = service.get("format") == "environment"  # root's file, of which one line is the token's
        self.key = key
        self.known = {}  # type: dict[str, str]  # keyed fingerprint -> token, for proofs and the way back; memory only
        self.revoked = {}  # type: dict[str, str]  # keyed fingerprint -> the run that revoked it, as the bastion says
        self.tombstones = []  # type: list[dict[str, str]]  # what this host remembers itself
        self.unsound = ""  # why that cannot be read

    def open(self) -> int:
        """The directory's descriptor, or a refusal that says what is wrong with the path."""
        folder = self.opened()
        info = os.fstat(folder)
        if self.in_line and (info.st_uid != os.geteuid() or info.st_mode & OTHERS_WRITE):  # others could exchange it
            os.close(folder)
            raise Refusal("token-unsafe", "%s must be root's, and only root may write to it" % self.folder)
        return folder

    def real_folder(self) -> str:
        """The directory's path without links."""
        found = place(self.root, self.folder)
        return "/" + os.path.relpath(found, os.path.realpath(self.root)) if found else self.folder

    def opened(self) -> int:
        """The same for any owner; a link on the way is followed where only root can have put it."""
        try:
            folder = open_controlled(self.root, self.folder)
            if not stat.S_ISDIR(os.fstat(folder).st_mode):
                os.close(folder)
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            return folder
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refusal(
                    "token-unsafe",
                    "%s: no directory, or a link that others can change" % self.folder,
                ) from None
            if error.errno == errno.ENOENT:
                raise Refusal("token-missing", "%s does not exist" % self.folder) from None
            raise Refusal("token-unsafe", "%s: %s" % (self.folder, error.strerror)) from None

    def open_to_write(self) -> int:
        """As `open`, for a directory in which only root and the service's account can exchange files."""
        folder = self.open()
        info = os.fstat(folder)
        open_to = stat.S_IMODE(info.st_mode) & OTHERS_WRITE & ~self.service["directory_mode"]
        if info.st_uid not in (0, self.owner()[0]) or open_to:
            os.close(folder)
            owner = names_of(info)[0]
            raise Refusal("token-unsafe", "%s is %s's and %04o" % (self.folder, owner, stat.S_IMODE(info.st_mode)))
        return folder

    def owner(self) -> "tuple[int, int]":
        """(uid, gid) that a token file is to belong to: the service's, or ours where systemd reads it as root."""
        return (os.geteuid(), os.getegid()) if self.in_line else self.account()

    def account(self) -> "tuple[int, int]":
        """(uid, gid) of the service."""
        try:
            return pwd.getpwnam(self.service["owner"]).pw_uid, grp.getgrnam(self.service["group"]).gr_gid
        except KeyError as error:
            raise Refusal("account-missing", str(error).strip("'\"")) from None

    def remember(self, token: str) -> "dict[str, str]":
        """The token's fingerprint; proofs and the way back may use the token from now on."""
        shown = self.fingerprint(token)
        if shown["keyed"] not in self.known and len(self.known) >= MANY_TOKENS:
            raise Refusal("token-unsafe", "more than %d different tokens were met in one session" % MANY_TOKENS)
        self.known[shown["keyed"]] = token
        return shown

    def fingerprint(self, token: str) -> "dict[str, str]":
        """{"keyed", "fp6"} as hivekeys.token.Token.fingerprint makes them."""
        data = token.encode("ascii")
        keyed = hmac.new(self.key, data, hashlib.sha256).hexdigest()
        return {"keyed": keyed, "fp6": hashlib.sha256(data).hexdigest()[:6]}

    def revoked_by(self, token: str) -> str:
        """The run that revoked this token, "" for one that may be used: asked before it is written anywhere."""
        told = self.revoked.get(self.fingerprint(token)["keyed"], "")
        return told or next((stone["run"] for stone in self.tombstones if is_under(stone, token)), "")

    def refuse_revoked(self, token: str) -> None:
        """Raises for a token that leaked once: nothing may bring it back (openbao/openbao#522)."""
        if self.unsound:
            raise Refusal("record-unsound", self.unsound)
        run = self.revoked_by(token)
        if run:
            raise Refusal("revoked", "run %s revoked this token" % run)

    def look(self, folder: int, name: str) -> "Optional[dict[str, Any]]":
        """What a slot shows, or None when there is no such file. Opens no device, pipe or link.

        Only a regular file of the account that it is to belong to is read: with a hard link to a file of root's (where
        `protected_hardlinks` is off) the account could otherwise have its content brought to the service.
        """
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            fault = "is a link" if error.errno == errno.ELOOP else "cannot be read: %s" % error.strerror
            return {"fault": fault, "fingerprint": None, "regular": False}
        try:
            info = os.fstat(fd)
            shown = describe(info)
            shown["regular"] = stat.S_ISREG(info.st_mode)
            if not shown["regular"]:
                shown["fault"] = "is no regular file"
            elif info.st_uid != self.owner()[0]:
                due = "root" if self.in_line else self.service["owner"]
                shown["fault"] = "belongs to %s, not to %s" % (shown["owner"], due)
            else:
                text, shown["fault"] = self.read(fd)
                if text:
                    shown["fingerprint"] = self.remember(text)
                    shown["revoked"] = self.revoked_by(text)
        finally:
            os.close(fd)
        return shown

    def credential(self, name: str) -> "Optional[dict[str, str]]":
        """The fingerprint of the copy that systemd gave the running process, None when none can be read."""
        text = self.copy(name)
        return self.fingerprint(text) if text else None

    def copy(self, name: str) -> str:
        """The token in that copy, "" when none can be read.

        `name` comes from the service's environment: never a path. The token is not remembered, because
        systemd makes the copy as root, of whatever stood at the path.
        """
        if not name or "/" in name or name in (".", ".."):
            return ""
        try:
            folder = open_directory(self.root, "%s/%s" % (CREDENTIALS, self.unit))
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
            finally:
                os.close(folder)
            try:
                return read_token(fd)[0]
            finally:
                os.close(fd)
        except OSError:
            return ""

    def holds(self, folder: int, name: str, want: str) -> bool:
        """True when the slot holds the token whose keyed fingerprint is `want`."""
        shown = self.look(folder, name)
        return bool(shown and shown["fingerprint"] and shown["fingerprint"]["keyed"] == want)

    def ready(self, folder: int, name: str, want: str) -> bool:
        """As `holds`, with mode, owner and group as they must be, and with the other lines that are there now."""
        return self.holds(folder, name, want) and self.fits(folder, name) and not self.is_outrun(folder, name)

    def fits(self, folder: int, name: str) -> bool:
        """True for a file with the mode, owner and group that it must have; one that is root's may have several."""
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        uid, gid = self.owner()
        mode = stat.S_IMODE(info.st_mode)
        if self.in_line:
            readers = (gid, self.account()[1]) if mode & 0o040 else (info.st_gid,)
            return info.st_uid == uid and not mode & ~ROOTS and info.st_gid in readers
        return (mode, info.st_uid, info.st_gid) == (self.service["mode"], uid, gid)

    def rights(self, folder: int) -> "tuple[int, int, int]":
        """(mode, uid, gid) of a file that is made: an environment file keeps what it has where that is right."""
        if self.in_line and self.line(folder, self.active) and self.fits(folder, self.active):
            info = os.stat(self.active, dir_fd=folder, follow_symlinks=False)
            return (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        return (0o600 if self.in_line else self.service["mode"], *self.owner())

    def read(self, fd: int) -> "tuple[str, str]":
        """(token, "") of an open file in its form, or ("", what is wrong with it)."""
        if not self.in_line:
            return read_token(fd)
        line = TokenLine(read_limited(fd, MAX_TOKEN_BYTES))
        return line.token, line.fault

    def line(self, folder: int, name: str) -> "Optional[TokenLine]":
        """An environment file of ours; None where there is none that could be one."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NOFOLLOW, dir_fd=folder)
        except OSError:
            return None
        try:
            info = os.fstat(fd)
            ours = stat.S_ISREG(info.st_mode) and info.st_uid == self.owner()[0]
            return TokenLine(read_limited(fd, MAX_TOKEN_BYTES)) if ours else None
        finally:
            os.close(fd)

    def is_outrun(self, folder: int, name: str) -> bool:
        """True for an environment file whose other lines differ from the active one's: that file was changed."""
        if not self.in_line:
            return False
        active, other = self.line(folder, self.active), self.line(folder, name)
        return bool(active and other and active.token and active.around() != other.around())

    def content(self, folder: int, token: str) -> bytes:
        """What a slot's file has in it; of an environment file one line is another, and what is not there is made."""
        if not self.in_line:
            return token.encode("ascii") + b"\n"
        lines = [line for line in (self.line(folder, name) for name in (self.active, self.previous)) if line]
        line = (lines[0] if lines else TokenLine(b"LLORCH_API_TOKEN=x\n")).turned(token)
        if line.fault:
            raise Refusal("token-unsafe", "%s %s" % (self.service["token"], line.fault))
        return line.data

    def create(self, folder: int, name: str, data: bytes) -> None:
        """A new file with owner and mode right before its first byte; the caller renames it into place."""
        mode, uid, gid = self.rights(folder)
        self.remove(folder, name)
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o600, dir_fd=folder)
        try:
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
            write_all(fd, data)
        finally:
            os.close(fd)

    def remove(self, folder: int, name: str) -> bool:
        """True when there was such a file; what is there is unlinked, never followed."""
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        return True

    def clear(self, folder: int) -> None:
        """No file of ours but the slots is left: neither now, nor of an agent that was killed."""
        for name in self.scratches:
            self.remove(folder, name)

    def rename(self, folder: int, name: str, target: str) -> None:
        """One slot's file becomes another's, on the disk."""
        os.rename(name, target, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)

    def link(self, folder: int, name: str, target: str) -> None:
        """A second name for a slot's file."""
        os.link(name, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)

    def put(self, folder: int, name: str, token: str) -> None:
        """The token in the slot, whole or not at all, and read back."""
        self.refuse_revoked(token)
        self.create(folder, self.scratch, self.content(folder, token))
        self.rename(folder, self.scratch, name)
        if not self.ready(folder, name, self.remember(token)["keyed"]):
            raise Refusal("slot-changed", "%s is not what was just written" % name)

    def keep_previous(self, folder: int) -> None:
        """Hard-links active to previous; there is no moment without an active file."""
        self.link(folder, self.active, self.scratch)
        self.rename(folder, self.scratch, self.previous)
        self.remove(folder, self.scratch)  # a rename of two links to one file does nothing


def is_under(stone: "dict[str, str]", token: str) -> bool:
    """True when this tombstone is the token's."""
    digest = hmac.new(bytes.fromhex(stone["salt"]), token.encode("ascii"), hashlib.sha256).hexdigest()
    return hmac.compare_digest(digest, stone["digest"])


def describe(info: os.stat_result) -> "dict[str, Any]":
    """What a look shows of any file, whatever is in it."""
    owner, group = names_of(info)
    return {
        "mode": stat.S_IMODE(info.st_mode),
        "owner": owner,
        "group": group,
        "size": info.st_size,
        "modified": info.st_mtime,
        "changed": info.st_ctime,
        "fault": "",
        "fingerprint": None,
        "revoked": "",
    }
