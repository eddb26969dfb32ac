"""Standard output and standard error that survive any encoding, a full disk and a reader who goes away.

A pipe whose reader has left, a full disk and a closed terminal take nothing any more: what is written there is lost and
nothing else happens, since a run that ended for that would leave hosts half-way. What an encoding does not have becomes
ASCII of the same width, so that tables stay straight.
"""

import codecs
import contextlib
import errno
import io
import os
import select
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT, STDERR = 1, 2
STAND_INS = "hivekeys-ascii"  # the name of our way with characters that an encoding lacks
PLAIN = str.maketrans(
    {
        **dict.fromkeys("–—―‐‑−─━╌┄╴╶═╸╺", "-"),
        **dict.fromkeys("│┃║╎┆╵╷", "|"),
        **dict.fromkeys("‘’‚′", "'"),
        **dict.fromkeys("“”„″", '"'),
        **dict.fromkeys("…·•", "."),
        **dict.fromkeys("█▇▆▅▄▃▂▁▉▊▋▌■▓", "#"),
        **dict.fromkeys("░▒", "."),
        **{"→": ">", "←": "<", "×": "x", "✓": "v", "✔": "v", "✗": "x", "✘": "x", "≤": "<", "≥": ">"},
    }
)


class Outlet(io.RawIOBase):
    """A descriptor to write to. Once it takes nothing any more, all that is written is lost without a word."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.lost: OSError | None = None  # why it takes nothing any more

    def writable(self) -> bool:
        """True, always."""
        return True

    def fileno(self) -> int:
        """The descriptor, for a caller that asks what stands behind it."""
        return self._descriptor

    def isatty(self) -> bool:
        """True for a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: "ReadableBuffer", /) -> int:
        """Never raises OSError; a descriptor that another process made non-blocking is waited for like any other."""
        piece = memoryview(data)
        while self.lost is None:
            try:
                return os.write(self._descriptor, piece)
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._lose(error)
        return len(piece)

    def _lose(self, error: OSError) -> None:
        self.lost = error
        if self._descriptor == STDOUT and error.errno not in (errno.EPIPE, errno.EIO):  # a reader that left knows it
            cry(f"hivekeys: warning: nothing can be written to standard output any more: {error.strerror}\n")


def take_over() -> None:
    """Makes standard output and error of this process go through outlets."""
    sys.stdout = _through(STDOUT, sys.stdout)
    sys.stderr = _through(STDERR, sys.stderr)


def is_lost(file: object) -> bool:
    """True when no operator sees any more what is written to this file."""
    raw = getattr(getattr(file, "buffer", None), "raw", None)
    return isinstance(raw, Outlet) and raw.lost is not None


def cry(text: str) -> None:
    """Writes to standard error at once, past every lock; where that cannot be, nothing happens."""
    with contextlib.suppress(OSError):
        os.write(STDERR, text.encode(sys.stderr.encoding if sys.stderr else "utf-8", STAND_INS))


def _through(descriptor: int, before: TextIO | None) -> TextIO:
    if before is None:  # closed by who called us: it takes nothing, and no socket comes by its number
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != descriptor:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
    else:
        with contextlib.suppress(OSError):
            before.flush()
    outlet = Outlet(descriptor)
    by_line = descriptor == STDERR or outlet.isatty()
    encoding = before.encoding if before else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(outlet), encoding, STAND_INS, line_buffering=by_line)


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """ASCII for what cannot be encoded: one character for each, "?" where there is none that means it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(char: str) -> str:
    if ord(char) in PLAIN:
        return PLAIN[ord(char)]
    kind = unicodedata.name(char, "")
    if kind.startswith("BOX DRAWINGS"):
        return "+"
    first = unicodedata.normalize("NFKD", char)[:1]
    return first if first.isascii() and first.isprintable() else "?"


codecs.register_error(STAND_INS, _stand_in)
