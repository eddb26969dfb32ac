"""The document in place of a result: a mistake, a lock, an interruption, a bug. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, TypedDict

from hivekeys.text.commands import first_command
from hivekeys.text.documents.head import Code, Head, head


class Mistake(TypedDict):
    """A mistake in an inventory."""

    file: str
    """the file that it stands in"""
    line: int | None
    """where the file's form has lines that say more than the key"""
    key: str | None
    """the path of the key, as TOML writes it"""
    message: str
    """what is there, and what is expected"""


class Refusal(Head):
    """A command that ended without a result: it was refused, it was interrupted, or it failed."""

    form: Literal["refusal"]
    exit_code: Code
    """the command's exit code; never 0"""
    message: str
    """what is wrong, in one line or several: the words that stand on stderr"""
    hint: str | None
    """what to do, as stderr has it below the message"""
    mistakes: list[Mistake]
    """every mistake of an inventory; empty for any other refusal"""


class RefusalLine(TypedDict):
    """The same as the last line of `--events`: docs/events.schema.json."""

    version: Literal[1]
    type: Literal["refusal"]
    time: str
    run: None
    exit_code: int
    message: str
    hint: str | None
    command: str | None
    mistakes: list[Mistake]


def document(message: str, hint: str, code: int, mistakes: Sequence[Mistake]) -> Refusal:
    """`hint`: as the operator reads it, "" where there is none."""
    return {
        "form": "refusal",
        **head(message.partition("\n")[0], first_command(hint)),
        "exit_code": code,
        "message": message,
        "hint": hint or None,
        "mistakes": list(mistakes),
    }


def line(refusal: Refusal, at: float) -> RefusalLine:
    """`at`: seconds since the epoch."""
    return {
        "version": 1,
        "type": "refusal",
        "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        "run": None,
        "exit_code": refusal["exit_code"],
        "message": refusal["message"],
        "hint": refusal["hint"],
        "command": refusal["command"],
        "mistakes": refusal["mistakes"],
    }
