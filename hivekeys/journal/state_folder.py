"""The fleet's folder on the bastion: two keys, the lock, the numbers of the last verify; never a token.

Everything lies in the user's state directory (`HIVEKEYS_STATE_DIR` overrides), 0700 and 0600. The lock is the
kernel's: it ends with its process, so no operator ever has to remove one by hand (hashicorp/terraform#25776).
"""

import fcntl
import getpass
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from platformdirs import user_state_path

from hivekeys.errors import DamagedError, ExitCode, UserError
from hivekeys.files import stranger
from hivekeys.text.clean import printable
from hivekeys.token import key_name

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES = 32
KEY = "fingerprint.key"
LOCK = "lock"
MOMENT = 0.01  # seconds; a process that only looks holds the lock for less
GIVES_UP = 5.0  # seconds of trying after which the lock counts as another run's


class Holder(NamedTuple):
    """The run that is at work; whose, in which process, since when and why, in words."""

    run: str
    words: str
    pid: int = 0


BEGINS = "it has just begun"


def operator() -> str:
    """The operator: the account that logged in, and the bastion's name."""
    name = os.environ.get("SUDO_USER") or getpass.getuser()
    return printable(f"{name}@{socket.gethostname()}")  # the environment says it, and every host is told


def forget(fleet: str, environ: Mapping[str, str] = os.environ) -> None:
    """Removes everything stored for a fleet that is gone: a rehearsal's journal, key and lock."""
    shutil.rmtree(_base(environ) / fleet, ignore_errors=True)


def _base(environ: Mapping[str, str]) -> Path:
    return Path(environ["HIVEKEYS_STATE_DIR"]) if environ.get("HIVEKEYS_STATE_DIR") else user_state_path("hivekeys")


def folder_for(fleet: str, base: str = "", environ: Mapping[str, str] = os.environ) -> Path:
    """The fleet's own folder below `base`, made if need be. Raises UserError when others could read or write there,
    or put another folder in its place.
    """
    folder = (Path(base).expanduser() if base else _base(environ)) / fleet
    try:
        if (found := stranger(folder)) and found.place != folder.absolute():
            raise UserError(
                f"state folder {folder}: {found}",
                hint=f"{found.hint}; or name a folder below your own with --state-dir or HIVEKEYS_STATE_DIR",
            )
        _make(folder)
        info = folder.stat()
    except OSError as error:
        raise UserError(
            f"{folder}: {error.strerror}",
            hint="name a folder that you can write with --state-dir or HIVEKEYS_STATE_DIR",
        ) from error
    if info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise UserError(f"{folder}: must be yours alone (0700)", hint=f"chown and chmod 700 {folder}")
    return folder


def _make(folder: Path) -> None:
    """Makes every missing level, each for the operator alone whatever the umask says."""
    for level in (*reversed(folder.parents), folder):
        if not level.exists():
            level.mkdir(mode=0o700, exist_ok=True)
            level.chmod(0o700)


def fingerprint_key(folder: Path) -> bytes:
    """The fleet's key for keyed fingerprints: 32 random bytes, made once.

    Raises DamagedError for one that is lost, of another length, or not the one that the journal was written with: what
    a run knows its tokens by would mean nothing.
    """
    from hivekeys.journal.store import Journal  # noqa: PLC0415  not for who only wants the folder

    path = folder / KEY
    name, has_runs = "", False
    if Journal.is_in(folder):
        with closing(Journal(folder, as_it_is=True)) as journal:
            name, has_runs = journal.key, bool(journal.runs())
    if has_runs and not (path.exists() and path.stat().st_size):
        raise DamagedError(f"{path}: is lost, and the journal has runs that know their tokens by it")
    key = _key(path)
    if len(key) != KEY_BYTES:
        raise DamagedError(f"{path}: has {len(key)} bytes, not {KEY_BYTES}")
    if name not in ("", key_name(key)):
        raise DamagedError(f"{path}: is not the key that the journal was written with")
    return key


def _key(path: Path) -> bytes:
    """The key in the file; a new key where there is none yet."""
    try:
        with _private(path, os.O_RDWR | os.O_CREAT) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            key = os.read(fd, KEY_BYTES + 1)
            if not key:
                key = secrets.token_bytes(KEY_BYTES)
                os.write(fd, key)
                os.fsync(fd)
    except OSError as error:
        raise _unwritable(path, error) from error
    return key


def signing_key(folder: Path) -> "Ed25519PrivateKey":
    """The fleet's key for evidence, made on first use: PEM (PKCS 8), as openssl reads it."""
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415  most verbs sign nothing
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    path = folder / "evidence.key"
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        _write_once(path, made.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()))
    hint = "restore it; or move it away, and tell those who check your evidence of the new key"
    with _private(path, os.O_RDONLY) as fd:
        pem = os.read(fd, 65536)
    try:
        key = forms.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: this is no private key in PEM form", hint=hint) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: found a private key of another kind, expected Ed25519", hint=hint)
    return key


def _write_once(path: Path, content: bytes) -> None:
    """A new file of that content, whole or not at all; one that another process made meanwhile stays."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with _private(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            os.write(fd, content)
            os.fsync(fd)
        with suppress(FileExistsError):
            os.link(scratch, path)
        with _private(path.parent, os.O_RDONLY | os.O_DIRECTORY) as fd:
            os.fsync(fd)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def hold_lock(folder: Path, fleet: str, run: str, reason: str) -> Iterator[None]:
    """One run at a time from this bastion. Raises UserError (exit code 5) that says who holds the lock."""
    path = folder / LOCK
    with _private(path, os.O_RDWR | os.O_CREAT) as fd:
        if not _is_taken(fd):
            raise at_work_error(fleet, _holder(fd))
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        mine = {"run": run, "who": operator(), "pid": os.getpid(), "since": since, "reason": reason}
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(mine).encode(), 0)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(fd, 0)  # or a process that looks just as the next run begins would see this run


def at_work_error(fleet: str, holder: Holder | None) -> UserError:
    """What a command is told that needs what another run has."""
    return UserError(
        f"another run works on fleet {fleet}: {_words(holder)}",
        hint="wait until it ends; if it hangs, stop that process and the lock is free",
        code=ExitCode.LOCKED,
    )


def _words(holder: Holder | None) -> str:
    return f"run {holder.run} of {holder.words}" if holder and holder.run else BEGINS


def at_work(folder: Path) -> Holder | None:
    """The holder of the fleet's lock now; None when it is free. Makes no file, and stops no run."""
    try:
        with _private(folder / LOCK, os.O_RDONLY) as fd:
            if _is_tried(fd, fcntl.LOCK_SH):
                return None
            return _holder(fd) or Holder("", BEGINS)
    except (UserError, OSError):
        return None  # no run was ever here, or none could be


def _is_taken(fd: int) -> bool:
    """Takes the lock; False where another run has it. Waits while a process that only looks shares it."""
    end = time.monotonic() + GIVES_UP
    while not _is_tried(fd, fcntl.LOCK_EX):
        if time.monotonic() > end or not _is_tried(fd, fcntl.LOCK_SH):
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        time.sleep(MOMENT)
    return True


def _is_tried(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> Holder | None:
    """What the holder of the lock wrote into it."""
    try:
        found = json.loads(os.pread(fd, 65536, 0))
        text = f"{found['who']}, pid {found['pid']}, since {found['since']}"
        words = printable(f"{text}, {found['reason']}" if found["reason"] else text)
        return Holder(str(found["run"]), words, int(found["pid"]))
    except (ValueError, KeyError, TypeError):
        return None


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: {error.strerror}", hint="nothing was touched")


@contextmanager
def _private(path: Path, flags: int) -> Iterator[int]:
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        yield fd
    finally:
        os.close(fd)
