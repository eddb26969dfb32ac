"""What persons sign: JSON documents that are written in one form, and read in no other. Pure.

A signature is over bytes. So a document is what these functions write, to the last byte: nothing can hide in spaces,
in a key that stands twice, or in one that nobody reads.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

from hivekeys.errors import UserError
from hivekeys.text.clean import printable

VERSION = 1
LARGEST = 16 << 20  # bytes; a host has a line
ID = re.compile("[0-9a-f]{16}")

Document = dict[str, Any]


def written(document: Document) -> bytes:
    """The file: ASCII, a line for each entry."""
    return json.dumps(document, indent=2).encode() + b"\n"


def read(data: bytes, form: str, source: str) -> Document:
    """The document in a file of this form. Raises UserError for what `written` has not written."""
    try:
        document: Document = json.loads(data)
        is_ours = isinstance(document, dict) and document.get("form") == form
    except (ValueError, RecursionError):
        is_ours = False
    if not is_ours:
        raise UserError(f"{source}: this is no {form}", hint="`fab plan --propose FILE` writes one")
    if type(document.get("version")) is not int or document["version"] > VERSION:
        later = printable(str(document.get("version")))[:20]
        raise UserError(
            f"{source}: written by a newer hivekeys (version {later}, this one knows {VERSION})",
            hint="update hivekeys here, or propose it anew with this one",
        )
    if written(document) != data:
        raise UserError(f"{source}: is not as hivekeys wrote it", hint="propose it anew, and have that signed")
    return document


def text_of(document: Document, key: str, source: str) -> str:
    """The text at a key. Raises UserError for what is none."""
    value = document.get(key)
    if not isinstance(value, str) or not value.isprintable() or (key == "id" and not ID.fullmatch(value)):
        raise UserError(f"{source}: {key} is not as hivekeys writes it", hint="propose it anew, and have that signed")
    return value


def moment_of(document: Document, key: str, source: str) -> float:
    """The time at a key (epoch)."""
    text = text_of(document, key, source)
    try:
        found = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        found = -1.0
    if time_text(found) != text:
        raise UserError(f"{source}: {key} is no time", hint="propose it anew, and have that signed")
    return found


def time_text(at: float) -> str:
    """A time as it is written: to the second, in UTC."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def lines_of(data: bytes) -> tuple[str, ...]:
    """A document line by line, as the journal has it: the lines, each with an end, are the document again."""
    return tuple(data.decode("ascii").removesuffix("\n").split("\n"))
