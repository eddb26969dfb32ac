"""Errors for an operator: what is wrong, a hint, and an exit code. Pure."""

from collections.abc import Sequence
from enum import IntEnum

from hivekeys.text.clean import lines_of
from hivekeys.text.documents.refusal import Mistake


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
    """A mistake or a condition that the operator can correct; never shown as a traceback.

    The message and the hint are safe to print: the code that raises it puts no token into them. Control
    characters are replaced here, whether a file's name, an option or another program's words brought them in.
    """

    def __init__(
        self, message: str, *, hint: str = "", code: ExitCode = ExitCode.USAGE, mistakes: Sequence[Mistake] = ()
    ) -> None:
        """`mistakes`: of an inventory, which the message lists as well."""
        super().__init__(lines_of(message))
        self.message = lines_of(message)
        self.hint = lines_of(hint)
        self.code = code
        self.mistakes = tuple(mistakes)


REPAIR = (
    "nothing was touched; put a copy of the state folder back, or begin a new journal beside this one: "
    "fab history --set-aside"
)


class DamagedError(UserError):
    """What the bastion keeps is damaged or not whole: nothing is done that hangs on it, but a revocation goes on."""

    def __init__(self, message: str, *, hint: str = REPAIR, code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message, hint=hint, code=code)
