"""Makes text from hosts, archives and other programs safe to show: printable, one line, bounded. Pure.

It is cleaned once, where it is decoded. What acts instead of being read (control characters, line breaks, directions)
gives way to a mark, never to nothing: no name, path or fingerprint that can be meant comes out of one that cannot.
"""

import unicodedata
from collections.abc import Callable
from typing import Any

DETAIL_LIMIT = 300  # characters of remote text that are worth a line on a screen
LONGEST = 4096  # characters of a path (PATH_MAX), of a token, and of any other text
MANY = 10_000  # entries of a list; hosts send fewer
MARK = "\N{REPLACEMENT CHARACTER}"


class BeyondError(ValueError):
    """What no honest sender means: says which field, and by how much."""


def printable(text: str) -> str:
    """`text` with a mark for each character that would act and not be read. Letters of every language stay."""
    if text.isprintable():
        return text
    return "".join(MARK if _acts(char) else char for char in text)


def one_line(text: str) -> str:
    """`text` without control characters or line breaks, cut to DETAIL_LIMIT characters."""
    clean = text[: 4 * DETAIL_LIMIT]
    if not clean.isprintable():
        clean = "".join(" " if _acts(char) else char for char in clean)
    return cut(" ".join(clean.split()), DETAIL_LIMIT)


def lines_of(text: str) -> str:
    """`text` of several lines: each printable, the line breaks themselves as they are."""
    return "\n".join(map(printable, text.split("\n")))


def cut(text: str, limit: int) -> str:
    """`text`, or so much of it that `limit` characters and a mark where it was cut are not more."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def of_record(text: str, _field: str = "") -> str:
    """A text of what was kept: cut where it is longer than any that is kept today, since records must stay readable."""
    return printable(cut(text, LONGEST))


def cleaned(document: object, clean: Callable[[str, str], str], field: str = "", most: int = MANY) -> Any:
    """A JSON document with each text in it as `clean(text, field)` gives it; a field is the last name on the way there.

    Raises BeyondError, naming the field, for a list or an object of more than `most` entries.
    """
    if isinstance(document, str):
        return clean(document, field)
    if isinstance(document, list | dict) and len(document) > most:
        raise BeyondError(f"{field or 'it'} has {len(document)} entries, more than {most}")
    if isinstance(document, list):
        return [cleaned(part, clean, field, most) for part in document]
    if isinstance(document, dict):
        return {clean(name, f"a name in {field}"): cleaned(part, clean, name, most) for name, part in document.items()}
    return document


def _acts(char: str) -> bool:
    kind = unicodedata.category(char)
    return kind[0] == "C" or kind in ("Zl", "Zp")
