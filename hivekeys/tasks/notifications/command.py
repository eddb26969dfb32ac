"""Tells a program, by starting it: `--on-finish COMMAND`, and `run` of an inventory's `[notify]`.

No shell reads its words. What it says goes to stderr; how it ends changes nothing.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence

from hivekeys.errors import UserError

STDERR = 2


def command(line: str) -> tuple[str, ...]:
    """The words of an operator's line, split as a shell would. Raises UserError for what could never be started."""
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


def start(words: Sequence[str], text: str, facts: Mapping[str, str], patience: float) -> str:
    """Runs the command once, with `text` on its standard input and `facts` in its environment, for `patience` seconds
    at most. What went wrong, "" if nothing did.
    """
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
        return f"{words[0]}: {error.strerror}"
    with process:
        try:
            process.communicate(text.encode(), timeout=patience)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else f"not through after {patience:.0f} s"
            return f"{words[0]}: {stopped}, ended"
    return f"{words[0]} ended with {process.returncode}; the run's exit code is its own" if process.returncode else ""
