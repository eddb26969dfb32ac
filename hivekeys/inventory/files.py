"""Reads the file of a fleet: checks whose it is, bounds its size, and says where its TOML is wrong."""

import hashlib
import re
import stat
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from hivekeys.errors import UserError
from hivekeys.files import refuse_strangers
from hivekeys.inventory.mistakes import Mistake, document, printable, told_once
from hivekeys.inventory.places import EVERY_KEY

LARGEST_FILE = 4 * 1024 * 1024
TOML = ".toml"
MOST_PARTS = 16  # of a key; ours have four at most. What a part costs grows with the parts before it: 30,000 take 7 s

# Where a dot is none of a key: comments and strings. What is not closed goes on to the end of its line, or of the text.
_NO_KEY = re.compile(
    r"""
    "{3} (?: \\. | (?!"{3}). )*+ (?: "{3,5} | \Z )
    | '{3} (?: (?!'{3}). )*+ (?: '{3,5} | \Z )
    | " (?: \\. | [^"\\\n] )*+ "?
    | ' [^'\n]*+ '?
    | \# [^\n]*+
    """,
    re.DOTALL | re.VERBOSE,
)
_TOO_DEEP = re.compile(rf"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{MOST_PARTS}}}", re.ASCII)


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, or a UserError that says why it has none."""
    try:
        return tables(read_text(path))
    except ValueError as error:
        raise refusal(path, str(error)) from error


def tables(text: str) -> dict[str, Any]:
    """The tables of a TOML text, in time that grows with its length. ValueError says why it has none."""
    plain = _NO_KEY.sub(lambda found: ("" if found[0][0] == "#" else "x") + "\n" * found[0].count("\n"), text)
    if deep := _TOO_DEEP.search(plain):
        line = plain.count("\n", 0, deep.start()) + 1
        raise ValueError(f"line {line}: found a key of more than {MOST_PARTS} parts, expected TOML as in example.toml")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("found lists nested too deeply, expected TOML as in example.toml") from None
    except ValueError as error:  # TOMLDecodeError says line and column; int() refuses thousands of digits
        raise ValueError(f"this is not TOML: {printable(str(error))}") from None


def read_text(path: Path) -> str:
    """What is in a file, or a UserError that says why it can't be read."""
    try:
        return _bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise refusal(path, f"found a byte that is not UTF-8 at {error.start}, expected UTF-8") from error


def digest(path: Path) -> str:
    """SHA-256 of the file as it is now, in hex: a run's record says by which inventory it went."""
    return hashlib.sha256(_bytes(path)).hexdigest()


def refusal(path: Path, *mistakes: Mistake | str, hint: str = "") -> UserError:
    """Every mistake of a file, a line each, the file's name in front as compilers do."""
    told = told_once(each if isinstance(each, Mistake) else Mistake((), each) for each in mistakes)
    named = dict.fromkeys(replace(mistake, file=printable(mistake.file or str(path))) for mistake in told)
    lines = [f"{mistake.file}: {mistake}" for mistake in named]
    return UserError("\n".join(lines), hint=hint or EVERY_KEY, mistakes=[document(mistake) for mistake in named])


def _bytes(path: Path) -> bytes:
    refuse_strangers(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a folder can't be read, a pipe might never end
            raise refusal(path, "found something else, expected a file")
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(path, f"can't be read: {reason}") from error
    if len(content) > LARGEST_FILE:
        raise refusal(path, f"found more than {LARGEST_FILE >> 20} MiB, expected less")
    return content
