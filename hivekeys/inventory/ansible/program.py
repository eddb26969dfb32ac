"""Runs a program for its answer, with limits to its time, its output and its memory, and never a shell."""

import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TIME_LIMIT = 120.0  # seconds; plugins that ask a cloud take several, and so do ten thousand hosts
MOST_OUTPUT = 64 * 1024 * 1024  # bytes, of both outputs: an answer repeats a group's variables for each host
MOST_MEMORY = 1024 * 1024 * 1024  # bytes, of each process: Ansible reads all that an inventory program says


@dataclass(frozen=True)
class Answer:
    """How a program ended, and what it wrote."""

    code: int
    output: bytes
    complained: bytes


def answer(command: list[str], environ: Mapping[str, str], folder: Path, limit: float = TIME_LIMIT) -> Answer:
    """What the program writes until it ends. What it started ends with it.

    ValueError if it can't be started, does not end in time or writes too much.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ValueError(f"{Path(command[0]).name} can't be run: {error.strerror}") from None
    try:
        _bound_memory(process.pid)
        said, complained = _read(process, limit)
    finally:
        code = _end(process)
    return Answer(code, said, complained)


def _bound_memory(pid: int) -> None:
    """Data, not address space: some programs reserve much of that, and use little."""
    with suppress(OSError):  # it has ended already
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        most = MOST_MEMORY if hard == resource.RLIM_INFINITY else min(hard, MOST_MEMORY)
        resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


def _read(process: "subprocess.Popen[bytes]", limit: float) -> tuple[bytes, bytes]:
    """Both outputs, once the program has ended and both are closed. ValueError: it takes too long, or is too much."""
    ends = time.monotonic() + limit
    assert process.stdout and process.stderr  # noqa: S101  for mypy: both are pipes
    outputs = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as waiting:
            for fd in (*outputs, ended):
                waiting.register(fd, selectors.EVENT_READ)
            while waiting.get_map():
                for key, _ in waiting.select(max(0.0, ends - time.monotonic())):
                    chunk = os.read(key.fd, 65_536) if key.fd in outputs else b""
                    if chunk:
                        outputs[key.fd] += chunk
                    else:
                        waiting.unregister(key.fd)
                if sum(map(len, outputs.values())) > MOST_OUTPUT:
                    raise ValueError(f"ansible-inventory says more than {MOST_OUTPUT >> 20} MiB, expected less")
                if waiting.get_map() and time.monotonic() >= ends:
                    raise ValueError(f"ansible-inventory did not end within {limit:g} s")
    finally:
        os.close(ended)
    said, complained = outputs.values()
    return bytes(said), bytes(complained)


def _end(process: "subprocess.Popen[bytes]") -> int:
    """The program and all that it started are gone, whatever became of them; the program's exit code."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    return process.wait()
