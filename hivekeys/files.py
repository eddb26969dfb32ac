"""Files that an operator wants on the bastion: whole or not at all, and never in place of a device or a link."""

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


def write_whole(path: Path, text: str, mode: int | None = None) -> None:
    """The text in the file, which is what it was until then. `mode`: whatever the umask says. Raises UserError."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(fd, "w") as file:
                if mode is not None:
                    os.fchmod(fd, mode)
                file.write(text)
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
