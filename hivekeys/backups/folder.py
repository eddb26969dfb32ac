"""Writes, lists, reads and removes backup files on the bastion's disk."""

import itertools
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hivekeys.age import Recipients, seal
from hivekeys.backups.backup import LARGEST, Header, parse, plain, text_of
from hivekeys.backups.shelf import BackupFile, BackupResult, expired
from hivekeys.backups.signature import name_of, sign
from hivekeys.errors import UserError
from hivekeys.token import Token, key_name

SUFFIX = ".backup"


@dataclass(frozen=True)
class Order:
    """How a backup is to be made: its recipients, the file ("" for one in the fleet's folder), how many stay there."""

    whom: Recipients
    output: str = ""
    keep: int | None = None


def put(
    token: Token,
    key: bytes,
    fleet: str,
    run: str,
    now: float,
    *,
    order: Order,
    state: Path,
    signer: Ed25519PrivateKey,
) -> BackupResult:
    """Seals the token, signs and writes the backup; returns it, and the older ones that it removed. Raises UserError.

    `key` is the bastion's key for fingerprints, `run` whose token it is, `state` the fleet's state folder.
    """
    made = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
    header = Header(fleet, run, token.fingerprint(key), key_name(key), made, name_of(signer.public_key()))
    block = seal(plain(header, token), order.whom)
    text = text_of(header, block, sign(header, block, signer))
    folder = folder_in(state)
    path = Path(order.output).expanduser() if order.output else _unused(_make(folder), header)
    write(path, text)
    ours = [one for one in list_backups(folder) if one.backup and one.backup.header.fleet == fleet]
    gone = [] if order.keep is None else expired(ours, order.keep, header.fingerprint, header.key)
    why = _remove(gone)
    return BackupResult(BackupFile(str(path), parse(text.encode(), path.name)), tuple(gone) if not why else (), why)


def folder_in(state: Path) -> Path:
    """The fleet's own folder of backups, below its state folder; made by the first process that writes there."""
    return state / "backups"


def _unused(folder: Path, header: Header) -> Path:
    """An unused, readable file name; with a number where the same token was sealed in the same second."""
    name = f"{header.fleet}-{header.made:%Y%m%dT%H%M%SZ}-{header.fingerprint}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    paths = (folder / f"{name}{SUFFIX}" for name in names)
    return next(path for path in paths if not os.path.lexists(path))


def free(path: Path) -> Path:
    """The path, when a new file may be made there. Raises UserError before anything else is done."""
    if os.path.lexists(path):
        raise UserError(f"{path}: is there already", hint="a backup is never written over; choose another --output")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: there is no such folder", hint="make it, or choose another --output")
    return path


def write(path: Path, text: str) -> None:
    """A new file, on the disk when this returns; nothing is left over when it cannot be written."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
            free(path)
            scratch.rename(path)
        finally:
            scratch.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}", hint="no backup was written") from None


def read(path: Path, name: str) -> bytes:
    """A backup's bytes; `name` is what the operator called it."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe might never end
            raise UserError(f"{name}: is no file", hint="`fab backup --list` shows this fleet's backups")
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{name}: {reason}", hint="`fab backup --list` shows this fleet's backups") from None


def list_backups(folder: Path) -> list[BackupFile]:
    """Every backup in a folder, newest first; a file that is none comes last, with the reason."""
    kept = []
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
        try:
            kept.append(BackupFile(str(path), parse(read(path, path.name), path.name)))
        except UserError as error:
            kept.append(BackupFile(str(path), fault=error.message))
    return sorted(kept, key=lambda one: one.made, reverse=True)


def _remove(kept: Sequence[BackupFile]) -> str:
    """Removes these files; returns why the first that could not be removed stays."""
    try:
        for one in kept:
            Path(one.path).unlink(missing_ok=True)
            _sync(Path(one.path).parent)
    except OSError as error:
        return f"{one.path}: {error.strerror}"
    return ""


def _make(folder: Path) -> Path:
    """The folder, 0700."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}", hint="no backup was written") from None
    return folder


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
