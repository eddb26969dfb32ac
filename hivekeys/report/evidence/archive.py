"""Writes and reads a tar whose every byte follows from its members, so that nothing can hide in it. Pure.

There is one way to write such members down (POSIX ustar, files only, one owner, one date, two zero blocks at the end),
so a reader writes each header again and compares. Whatever was changed, put before, put behind or cut off differs.
"""

import re
import tarfile
from collections.abc import Mapping

BLOCK = 512
END = bytes(2 * BLOCK)
MANY = 100  # members; an archive has ten
DATE = 315_532_800  # 1980-01-01: the date of a run is in its events
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}/[A-Za-z0-9][A-Za-z0-9._-]{0,17}")


class BrokenError(Exception):
    """The bytes are not as such an archive is written; says where."""


def pack(folder: str, members: Mapping[str, bytes]) -> bytes:
    """The archive, its members below one folder in the order given."""
    parts = []
    for name, content in members.items():
        path = f"{folder}/{name}"
        if not NAME.fullmatch(path):
            raise ValueError(f"no name for a member: {path}")
        parts += [_header(path, len(content)), content, bytes(-len(content) % BLOCK)]
    return b"".join([*parts, END])


def unpack(data: bytes) -> tuple[str, dict[str, bytes]]:
    """The folder and the members of an archive that `pack` wrote; raises BrokenError for everything else."""
    folder, at = "", 0
    members: dict[str, bytes] = {}
    while True:
        where = f"after member {next(reversed(members))}" if members else "at its beginning"
        block = data[at : at + BLOCK]
        if members and block == bytes(BLOCK):
            break
        path, size = _read(block, where, first=not members)
        below, _, name = path.partition("/")
        folder = folder or below
        if below != folder or name in members:
            raise BrokenError(f"a second member {path} {where}")
        if len(members) == MANY:
            raise BrokenError(f"more than {MANY} members")
        at += BLOCK
        content, padding = data[at : at + size], data[at + size : at + size + -size % BLOCK]
        if len(content) < size or len(padding) < -size % BLOCK:
            raise BrokenError(f"it is cut off in member {name}")
        if any(padding):
            raise BrokenError(f"bytes that belong to nothing behind member {name}")
        members[name] = content
        at += size + len(padding)
    if data[at:] != END:
        short = len(data) - at < len(END) and not any(data[at:])
        raise BrokenError("its last bytes are missing" if short else "bytes that belong to nothing at its end")
    return folder, members


def _read(block: bytes, where: str, first: bool) -> tuple[str, int]:
    """Name and size that a header tells, when it is the one that we would write for them."""
    if len(block) < BLOCK and not first:
        raise BrokenError(f"it is cut off {where}")
    name, size = block[:100].rstrip(b"\0"), block[124:135]
    if re.fullmatch(rb"[0-7]{11}", size) and NAME.fullmatch(path := name.decode("ascii", "replace")):
        if _header(path, int(size, 8)) == block:
            return path, int(size, 8)
        raise BrokenError(f"the header of member {path} is not as it was written")
    if first:
        raise BrokenError("this is no evidence archive, or its first bytes were changed")
    raise BrokenError(f"what stands {where} is no header of a member")


def _header(path: str, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = size, DATE, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)
