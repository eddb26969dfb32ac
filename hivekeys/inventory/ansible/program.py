"""Runs an inventory program: one question, `--list`, with a limit to its time and its output, and never a shell.

Only a path that the operator named is run, and only if nobody else could have put something else there.
"""

import os
import selectors
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

from hivekeys.files import refuse_strangers
from hivekeys.inventory.mistakes import printable

TIME_LIMIT = 60.0  # seconds; programs that ask a cloud take several
MOST_OUTPUT = 16 * 1024 * 1024  # bytes
LAST_WORDS = 200  # characters of what it said on stderr


def is_program(path: Path) -> bool:
    """True for a file that may be run, as Ansible decides it."""
    return path.is_file() and os.access(path, os.X_OK)


def answer(path: Path, limit: float = TIME_LIMIT) -> bytes | None:
    """What the program prints for `--list`; None for a text file that only looks like a program.

    ValueError if it fails, does not end in time or says too much; NotYoursError if others can change it.
    """
    refuse_strangers(path)
    command = [str(path.absolute()), "--list"]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # what it starts ends with it
        )
    except OSError as error:
        if error.errno == 8:  # ENOEXEC: data with an execute bit, as on file systems that have no such bits
            return None
        raise ValueError(f"can't be run: {error.strerror}") from None
    try:
        said, complained = _heard(process, limit)
    finally:
        _end(process)
    if process.returncode:
        words = printable(" ".join(complained.decode(errors="replace").split())[-LAST_WORDS:])
        how = f"status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise ValueError(f"found a program that ended with {how}" + (f": {words}" if words else ""))
    return said


def _heard(process: "subprocess.Popen[bytes]", limit: float) -> tuple[bytes, bytes]:
    """Both outputs until the program closes them; ValueError when it takes too long or says too much."""
    ends = time.monotonic() + limit
    heard: dict[int, bytearray] = {}
    with selectors.DefaultSelector() as waiting:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                heard[stream.fileno()] = bytearray()
                waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map():
            for key, _ in waiting.select(max(0.0, ends - time.monotonic())):
                chunk = os.read(key.fd, 65_536)
                heard[key.fd] += chunk
                if not chunk:
                    waiting.unregister(key.fileobj)
            if sum(map(len, heard.values())) > MOST_OUTPUT:
                raise ValueError(f"found a program that says more than {MOST_OUTPUT >> 20} MiB, expected less")
            if waiting.get_map() and time.monotonic() >= ends:
                raise ValueError(f"found a program that did not end within {limit:g} s of --list")
    try:
        process.wait(max(0.1, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ValueError(f"found a program that did not end within {limit:g} s of --list") from None
    said, complained = heard.values()
    return bytes(said), bytes(complained)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The program and all that it started are gone, whatever became of them."""
    if process.returncode is None:  # not waited for yet, so its number is still its own
        os.killpg(process.pid, signal.SIGKILL)
    streams: tuple[IO[bytes] | None, ...] = (process.stdout, process.stderr)
    for stream in streams:
        if stream is not None:
            stream.close()
    process.wait()
