"""Writes keys into a known_hosts file: all or nothing, everything else unchanged, with a backup."""

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hivekeys.errors import UserError
from hivekeys.files import refuse_strangers
from hivekeys.protocol.causes import Cause
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.openssh import call

_FOUND_LINE = re.compile(r"# Host .* found: line ([0-9]+) *$", re.MULTILINE)  # marked lines have a word more: they stay


@dataclass(frozen=True)
class Entry:
    """What a file shall say of a host: these keys as well, or these alone."""

    name: str
    keys: tuple[HostKey, ...]
    alone: bool = False


def write(file: str, entries: Sequence[Entry], hashed: bool, timeout: float) -> Path | None:
    """Write the entries into a file, which may not exist yet; the backup of what it was, if it was.

    Raises UserError, and has changed nothing then. `timeout` in seconds bounds one question to ssh-keygen.
    """
    path = Path(file).resolve()  # a link stays one
    try:
        _check_folder(path)
        before = path.read_bytes() if path.exists() else None
        text = _changed(path, before or b"", entries, hashed, timeout)
        return _replace(path, before, text)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}", hint="no key was written to it") from error


def _check_folder(path: Path) -> None:
    """Raises UserError unless the folder is there and no other account can change the file or replace it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_strangers(path)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path}: is no file that keys could be kept in", hint="set `known_hosts` in [ssh]")


def _changed(path: Path, before: bytes, entries: Sequence[Entry], hashed: bool, timeout: float) -> bytes:
    """The new content."""
    lines = before.splitlines(keepends=True)
    for entry in (entry for entry in entries if entry.alone and before):
        for number in _lines_of(path, entry.name, timeout):
            lines[number - 1] = _without(lines[number - 1], entry.name, f"{path}: line {number}")
    kept = b"".join(lines)
    end = b"" if not kept or kept.endswith(b"\n") else b"\n"
    return kept + end + b"".join(_line(entry.name, key, hashed) for entry in entries for key in entry.keys)


def _lines_of(path: Path, name: str, timeout: float) -> list[int]:
    """The numbers of the lines, none of them marked, that OpenSSH finds for a name."""
    answer = call(["ssh-keygen", "-F", name, "-f", str(path)], timeout)
    if isinstance(answer, Cause):
        raise UserError(f"{path}: {answer.detail}", hint="no key was written to it")
    return [int(number) for number in _FOUND_LINE.findall(answer.stdout)]


def _without(line: bytes, name: str, where: str) -> bytes:
    """The line without that name; b"" when it had no other."""
    words = line.lstrip().split(None, 1)
    if words[0].startswith(b"|"):
        return b""
    names = words[0].split(b",")
    left = [each for each in names if each.lower() != name.encode()]
    if left == names or any(set(b"*?!") & set(each) for each in left):
        raise UserError(f"{where} has the old key by a pattern", hint="correct that line by hand; no key was written")
    return b",".join(left) + b" " + words[1] if left else b""


def _line(name: str, key: HostKey, hashed: bool) -> bytes:
    """A line of known_hosts; a hashed name as `HashKnownHosts` makes it, so that the file lists no hosts."""
    if hashed:
        salt = secrets.token_bytes(20)
        words = (base64.b64encode(part).decode() for part in (salt, hmac.digest(salt, name.encode(), hashlib.sha1)))
        name = "|1|" + "|".join(words)
    return f"{name} {key.kind} {base64.b64encode(key.blob).decode()}\n".encode()


def _replace(path: Path, before: bytes | None, text: bytes) -> Path | None:
    """The file with the new text, mode and owner as they were; a copy of the old beside it."""
    was = path.stat() if before is not None else None
    backup = None
    if was and before is not None:
        backup = path.with_name(f"{path.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}")
        _create(backup, before, was)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _create(scratch, text, was)
        if (path.read_bytes() if path.exists() else None) != before:
            raise UserError(f"{path}: another program has just changed it", hint="no key was written; try again")
        scratch.replace(path)
    except BaseException:
        for left in (scratch, *([backup] if backup else [])):
            left.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return backup


def _create(path: Path, text: bytes, like: os.stat_result | None) -> None:
    """A new file with mode and owner of another, or 0600; on the disk when this returns."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        if like:
            os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, stat.S_IMODE(like.st_mode))
        file.write(text)
        file.flush()
        os.fsync(fd)
