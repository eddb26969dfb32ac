"""Errors that an operator can act on. Every one says what is wrong, then a hint, then the exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What `fab` answers to the shell; `docs/runbook.md` has one heading for each."""

    DONE = 0
    BUG = 1
    USAGE = 2
    ROLLED_BACK = 3
    INCOMPLETE = 4
    LOCKED = 5
    FINDINGS = 6
    INTERRUPTED = 130


class UserError(Exception):
    """A mistake or a condition that the operator can mend; never shown as a traceback.

    The message and the hint are safe to print: whoever raises it puts no token into them.
    """

    def __init__(self, message: str, *, hint: str = "", code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
