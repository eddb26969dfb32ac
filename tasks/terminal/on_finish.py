"""`--on-finish COMMAND`: starts a program when a run is over, however it ended.

The operator's line is split as a shell would, and started without one: nothing of ours is ever read by a shell. The
summary is on its standard input. What it says goes to stderr; how it ends changes nothing.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable

from hivekeys.errors import UserError

STDERR = 2
PATIENCE = 30.0  # seconds that a command may take


def command(line: str) -> tuple[str, ...]:
    """The words of an operator's line. Raises UserError for what could never be started."""
    hint = "a program and its arguments; for a pipe or a variable: sh -c '…'"
    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise UserError(f"--on-finish: {error} in {line!r}", hint=hint) from None
    if not words:
        raise UserError("--on-finish: there is no command in it", hint=hint)
    if shutil.which(words[0]) is None:
        raise UserError(f"--on-finish: there is no program {words[0]!r} to start", hint=hint)
    return words


def give(words: tuple[str, ...], summary: str, facts: dict[str, str], warn: Callable[[str], None]) -> None:
    """Runs the command once, with these environment variables, for PATIENCE seconds at most."""
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=STDERR,
            stderr=STDERR,
            env={**os.environ, **facts},
            start_new_session=True,  # a Ctrl-C was for the run; and all that it starts can be ended together
        )
    except OSError as error:
        warn(f"--on-finish: {words[0]}: {error.strerror}")
        return
    with process:
        try:
            process.communicate(summary.encode(), timeout=PATIENCE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else f"not through after {PATIENCE:.0f} s"
            warn(f"--on-finish: {words[0]}: {stopped}, ended")
            return
    if process.returncode:
        warn(f"--on-finish: {words[0]} ended with {process.returncode}; the run's exit code is its own")
