"""Files that an operator names: read within bounds; written whole or not at all, and over no device or link."""

import os
import secrets
import stat
from pathlib import Path

from hivekeys.errors import UserError


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


def write_whole(path: Path, content: str | bytes, mode: int | None = None) -> None:
    """The content of the file, which is what it was until then. `mode`: whatever the umask says. Raises UserError."""
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
            scratch.replace(path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}", hint="its folder must be yours to write, with room in it"
        ) from None


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
