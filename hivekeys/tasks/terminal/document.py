"""`--json`: one document on stdout, a result or a refusal; with `--events` a refusal is the last line."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import pairwise

from hivekeys.errors import UserError
from hivekeys.tasks.terminal.stream import Stream
from hivekeys.text.documents import refusal


class Shape(Enum):
    """What a program is promised on stdout."""

    NOTHING = "nothing"
    DOCUMENT = "--json"
    LINES = "--events"


class _Promise:
    """What the verb that is at work owes to stdout."""

    shape = Shape.NOTHING


def promise(given: Mapping[str, object]) -> None:
    """A verb begins, with these options."""
    is_document = bool(given.get("json")) or given.get("format") == "json"
    _Promise.shape = Shape.DOCUMENT if is_document else Shape.LINES if given.get("events") else Shape.NOTHING


def promise_typed(words: Sequence[str]) -> None:
    """The same for a command line that cannot be understood."""
    is_format = "--format=json" in words or ("--format", "json") in pairwise(words)
    promise({"json": "--json" in words or is_format, "events": "--events" in words})


def print_document(document: Mapping[str, object]) -> None:
    """The document that was promised."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    fulfil()


def fulfil() -> None:
    """The document, or the last line, is written: nothing follows it."""
    _Promise.shape = Shape.NOTHING


def refuse(error: UserError, hint: str) -> None:
    """Tells a program that there is no result, and why; `hint`: as the operator reads it."""
    document = refusal.document(error.message, hint, int(error.code), error.mistakes)
    if _Promise.shape is Shape.DOCUMENT:
        print_document(document)
    elif _Promise.shape is Shape.LINES:
        sys.stdout.flush()
        last = Stream(sys.stdout.fileno(), lambda _: None)  # it waits for no reader but for a while
        last.write(refusal.line(document, time.time()))
        last.close()
        fulfil()
