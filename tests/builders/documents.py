"""Documents of `--json` as a program reads them: each is held against the schema of its form, in docs/schemas."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from docs.forms import FORMS_OF, SCHEMAS
from hivekeys.errors import ExitCode
from tests.builders.commands import bare_commands_in, commands_in, mistake

PROGRAMS = ("fab", "hivekeys")
ASKS_THE_PAST = ("report", "history")  # whose documents tell of other commands than their own


@cache
def promised(form: str) -> Draft202012Validator:
    """What is promised of a document of this form; nothing else may stand in it."""
    schema = json.loads((SCHEMAS / f"{form}.schema.json").read_text())
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def valid(document: Mapping[str, object]) -> dict[str, Any]:
    """The document, as a program has it that reads it."""
    read: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    promised(read["form"]).validate(read)
    assert [command for command in commands_of(read) if said_against(command)] == []
    return read


def commands_of(document: Mapping[str, Any]) -> Iterator[str]:
    """Whatever it says is to be typed."""
    if document["command"]:
        yield document["command"]
    for text in filter(None, (document["next"], document.get("hint"))):
        yield from (command for command in commands_in(text) if command.split()[0] in PROGRAMS)
        if text == document["next"] and "`" not in text:  # a hint has its commands in backticks, among prose
            yield from bare_commands_in(text)


def said_against(command: str) -> str:
    """What hivekeys would say against it, "" for nothing."""
    return mistake(shlex.split(command)[1:])


def printed(words: Sequence[str], code: int, out: str) -> None:
    """Holds what a command line has printed against what programs are promised; nothing, where none was."""
    if code < 0 or (code == ExitCode.INTERRUPTED and not out):  # killed, or stopped at once
        return
    if "--json" in words or ("json" in words and "--format" in words):
        _printed_document(words, code, out)
    elif "--events" in words and out and not any(word.startswith("--help") for word in words):
        last = json.loads(out.splitlines()[-1])
        assert last["type"] in ("result", "not-due", "refusal"), last
        assert last["exit_code"] == code


def _printed_document(words: Sequence[str], code: int, out: str) -> None:
    if "--help" in words or ("--output" in words and not out):  # in a file
        return
    document = valid(json.loads(out))
    verb = next(word for word in words if not word.startswith("-"))
    if document["form"] == "refusal":
        assert code != 0
    else:
        assert document["form"] in FORMS_OF[verb]
    is_past = verb == "report" or (verb == "status" and "--run" in words)
    if document["form"] == "refusal" or not is_past:
        assert document["exit_code"] == code, f"the document says {document['exit_code']}, the command {code}"
