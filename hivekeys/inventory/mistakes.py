"""A mistake in an inventory: the key, what stands there, what is expected.

Pure. What comes from the file is shown with its control characters escaped, so that no file can play tricks
on the operator's terminal.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hivekeys.text.clean import lines_of
from hivekeys.text.documents import refusal
from hivekeys.text.names import fold_names

LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Place:
    """Where something is said: the file, the path of the key in it, and the line where the file's form has lines."""

    file: str
    key: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True)
class Mistake:
    """One line of a refusal; `key` is the path of the key in the file, table by table.

    `file` is empty for the fleet's own file; `line` is 0 where the key alone is clear enough.
    """

    key: tuple[str, ...]
    text: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        parts = (f"line {self.line}" if self.line else "", key_path(self.key), self.text)
        return ": ".join(part for part in parts if part)


def document(mistake: Mistake) -> refusal.Mistake:
    """The same for programs."""
    return {
        "file": mistake.file,
        "line": mistake.line or None,
        "key": key_path(mistake.key) or None,
        "message": lines_of(mistake.text),
    }


def at(place: Place, says: str) -> Mistake:
    """A mistake at a place of another file than the fleet's own."""
    return Mistake(place.key, says, place.file, place.line)


def wrong(key: tuple[str, ...], found: str, expected: str) -> Mistake:
    """The mistake of a key whose value can't be right."""
    return Mistake(key, f"found {found}, expected {expected}")


def told_once(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """A mistake that several hosts of another file have is told once: a group's variable is one of all its hosts."""
    alike: dict[Mistake, dict[str, None]] = {}
    for each in mistakes:
        if each.file and len(each.key) > 1:
            alike.setdefault(replace(each, key=("", *each.key[1:])), {})[each.key[0]] = None
        else:
            alike.setdefault(each, {})
    return [replace(one, key=(fold_names(hosts), *one.key[1:])) if hosts else one for one, hosts in alike.items()]


def key_path(key: Sequence[str]) -> str:
    """A key as TOML writes it: `hosts."hive[01:40]".port`."""
    return ".".join(part if re.fullmatch("[A-Za-z0-9_-]+", part) else _quoted(part) for part in key)


def value_text(value: object) -> str:
    """A value of the file for a message: one line, not too long; for a table or a mixed list only its type."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return f"[{some([_quoted(each) for each in value])}]"
    if isinstance(value, list | dict):
        return kind(value)
    return str(value).lower() if isinstance(value, bool) else _clipped(printable(str(value)))


def kind(value: object) -> str:
    """The type of a value, in words, where the value itself is not shown."""
    return "a list" if isinstance(value, list) else "a table" if isinstance(value, dict) else "a single value"


def some(words: Sequence[str], most: int = 4) -> str:
    """The words, or the first few of many."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def printable(text: str) -> str:
    """The text with everything escaped that a terminal might act on."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _quoted(text: str) -> str:
    return _clipped(printable(json.dumps(text, ensure_ascii=False)))


def _clipped(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
