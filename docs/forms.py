"""Makes docs/json.md and docs/schemas/ from the types of the documents that `--json` prints."""

import ast
import functools
import json
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

import typing_extensions  # pydantic refuses the standard TypedDict before Python 3.12
from pydantic import Field, TypeAdapter, with_config

from hivekeys.errors import ExitCode
from hivekeys.fleet import Role
from hivekeys.journal.events import Phase, State
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.verbs import Verb
from hivekeys.text.documents import (
    approvals,
    audit,
    backups,
    evidence,
    head,
    inventory,
    refusal,
    run,
    status,
    trust,
    upkeep,
    verify,
)

HERE = Path(__file__).resolve().parent
PAGE = HERE / "json.md"
SCHEMAS = HERE / "schemas"
MODULES = (approvals, audit, backups, evidence, head, inventory, refusal, run, status, trust, upkeep, verify)
FORMS: tuple[type, ...] = (
    refusal.Refusal,
    run.Run,
    run.NotDue,
    run.History,
    approvals.Stated,
    approvals.ApprovedAfterwards,
    status.Status,
    verify.Checklist,
    audit.Audit,
    audit.Accesses,
    upkeep.Upkeep,
    upkeep.Sudoers,
    backups.Backup,
    backups.ForeseenBackup,
    backups.Backups,
    evidence.Evidence,
    evidence.EvidenceCheck,
    evidence.PublicKey,
    inventory.Inventory,
    inventory.Init,
    trust.Trust,
)
# What each verb may print instead of a refusal.
FORMS_OF = {
    "approve": ("approved",),
    "audit": ("audit", "accesses"),
    "backup": ("backup", "backup-foreseen", "backups"),
    "evidence": ("evidence", "evidence-check", "public-key"),
    "fix": ("upkeep",),
    "history": ("history",),
    "init": ("init",),
    "install": ("upkeep", "sudoers"),
    "inventory.check": ("inventory",),
    "plan": ("run", "stated"),
    "reconcile": ("run",),
    "report": ("run",),
    "restore": ("run",),
    "resume": ("run",),
    "revoke": ("run",),
    "rollback": ("run",),
    "rotate": ("run", "not-due"),
    "status": ("status", "run"),
    "trust": ("trust",),
    "uninstall": ("upkeep",),
    "verify": ("verify",),
    "watch": ("upkeep",),
}


def _words(kind: type[Enum]) -> dict[str, Any]:
    return {"enum": [word.value for word in kind]}


# What a schema says of each kind of text (hivekeys.text.documents.head.Kind).
KINDS: dict[str, dict[str, Any]] = {
    "fp6": {"pattern": "^[0-9a-f]{6}$"},
    "time": {"format": "date-time"},
    "state": _words(State),
    "phase": _words(Phase),
    "trouble": _words(Trouble),
    "verb": _words(Verb),
    "role": _words(Role),
    "exit code": _words(ExitCode),
}
# Keys that have no line below them where they are declared: one is in every form, two are words of Python's.
UNSAID = {
    "form": "what this document is",
    "from": "the hosts that have proven it",
    "is": "current, previous, or null for an unknown token",
}
FIRST = ("form", "version", "hivekeys", "fleet", "verdict", "exit_code", "next", "command")
MARKS = {"fp6": "six hex digits", "time": "time", "exit code": "exit code"}

HEAD = """\
# Documents of `--json`

Made from the code by `python -m docs.generate`; do not edit.

With `--json` a verb prints one JSON document on standard output, and nothing else there. Decide by the exit code of
the command, or by `form` and `exit_code` of the document, which say the same:

- `form` names what the document is, `version` the version of that form. Within a version keys may be added: ignore what
  you do not know. If a meaning changes or a key goes, the version changes.
- A command that ends without a result prints a document of form `refusal`: for a mistake in a file or on the command
  line, another run at work, Ctrl-C, a bug. Standard error has the same words, as it has without `--json`. With
  [`--events`](events.md) the refusal is the last line.
- `verdict` is the sentence that people read. `next` is what to type next, in the words of the screen, and `command` the
  first command in it that can be typed as it stands. They are null where there is nothing to type.
- No document holds a token. Tokens are named by the six hex digits that the services log.
- A process that is killed, or stopped at once by a second Ctrl-C, prints no document: its exit code says so.

A script that has jq gets the sentence, whatever happened, by `jq -r .verdict`, and what to type next by
`jq -r '.command // empty'`.

While another run is at work, `fab rotate --json` ends with 5 and prints:

```text
{example}
```

A key with a question mark may be missing; the others are always there, and null where there is nothing to say.

"""


def schema_of(form: type) -> dict[str, Any]:
    """The JSON Schema of a form."""
    made = _resolved(TypeAdapter(_described(form)).json_schema())
    keys = made["properties"]
    made["properties"] = {name: keys[name] for name in sorted(keys, key=_place)}
    name = name_of(form)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{name}.schema.json",
        **made,
        "title": name,
    }


def name_of(form: type) -> str:
    """What stands in `form`."""
    return str(get_args(get_type_hints(form)["form"])[0])


def texts() -> dict[Path, str]:
    """The page and every schema, by their files."""
    schemas = {SCHEMAS / f"{name_of(form)}.schema.json": json.dumps(schema_of(form), indent=2) + "\n" for form in FORMS}
    return {PAGE: page(), **schemas}


def write_forms() -> None:
    """Writes them, and takes away what is no form any more."""
    made = texts()
    SCHEMAS.mkdir(exist_ok=True)
    for path in {*SCHEMAS.iterdir()} - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text)


# -- schemas


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)


@functools.cache
def _described(kind: type) -> Any:
    """The same type for pydantic: closed, and each key with what it means."""
    hints = get_type_hints(kind, include_extras=True)
    fields = {name: _field(hints[name], meaning) for name, meaning in meanings(kind).items()}
    made = typing_extensions.TypedDict(kind.__name__, fields)  # type: ignore[misc]  # its keys are known as it is made
    made.__doc__ = kind.__doc__
    return with_config(extra="forbid")(made)


def _field(hint: Any, meaning: str) -> Any:
    if get_origin(hint) is NotRequired:
        return typing_extensions.NotRequired[_field(get_args(hint)[0], meaning)]
    return Annotated[_replaced(hint), Field(description=meaning)]


def _replaced(hint: Any) -> Any:
    """A hint with the described types in the places of ours."""
    if is_typeddict(hint):
        return _described(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (list, dict):
        return origin[tuple(map(_replaced, inner))]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_replaced, inner))]  # noqa: UP007  of types that are not known before
    return hint


def _resolved(schema: Any) -> Any:
    """The schema with each kind of text in place of its name; no title but the document's."""
    if isinstance(schema, list):
        return [_resolved(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kind = KINDS.get(schema.get("kind", ""), {}) if isinstance(schema.get("kind", ""), str) else {}
    named = schema.get("properties", {})
    rest = {
        key: _resolved(value)
        for key, value in schema.items()
        if not (key in ("title", "kind") and isinstance(value, str))
    }
    if named:
        rest["properties"] = {name: _resolved(value) for name, value in named.items()}
    return {**rest, **kind}


@functools.cache
def _classes() -> dict[str, ast.ClassDef]:
    """Every class of the documents, as it is written."""
    trees = (ast.parse(Path(str(module.__file__)).read_text()) for module in MODULES)
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def meanings(kind: type) -> dict[str, str]:
    """What each key means: the line below it, where it is declared."""
    found = dict(_meanings(kind.__name__))
    names = get_type_hints(kind)
    return {name: found.get(name) or UNSAID[name] for name in names}


def _meanings(name: str) -> Iterator[tuple[str, str]]:
    node = _classes().get(name)
    if node is None:
        return
    for base in node.bases:
        yield from _meanings(ast.unparse(base))
    for before, after in zip(node.body, node.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield ast.unparse(before.target), str(after.value.value)


# -- the page


def page() -> str:
    """The whole page."""
    return (
        HEAD.replace("{example}", _example())
        + "\n".join(line for lines in (_verbs(), *map(_section, FORMS)) for line in lines)
        + "\n"
    )


def _example() -> str:
    """A refusal, as it is printed."""
    message = "another run works on fleet production: run production-5f0e12ab of ann@bastion, pid 4711, the yearly one"
    hint = "`fab status --fleet production` shows how far it is"
    return json.dumps({**refusal.document(message, hint, ExitCode.LOCKED, ()), "hivekeys": "1.2.3"}, indent=2)


def _verbs() -> Iterator[str]:
    yield "## Which verb prints which\n"
    yield "| Verb | Forms |\n| --- | --- |"
    for verb, names in FORMS_OF.items():
        yield f"| `fab {verb}` | {', '.join(f'[{name}](#{name})' for name in names)} |"
    yield ""


def _section(form: type) -> Iterator[str]:
    name = name_of(form)
    yield f"## {name}\n"
    yield f"{_first_line(form)} Schema: [{name}.schema.json](schemas/{name}.schema.json).\n"
    yield from _table(form)
    for inner in _inner(form):
        yield f"**{inner.__name__}**: {_first_line(inner)}\n"
        yield from _table(inner)


def _table(kind: type) -> Iterator[str]:
    hints = get_type_hints(kind, include_extras=True)
    said = meanings(kind)
    yield "| Key | Is | Means |\n| --- | --- | --- |"
    for name in sorted(hints, key=_place):
        mark = "?" if get_origin(hints[name]) is NotRequired else ""
        yield f"| `{name}`{mark} | {shown(hints[name])} | {said[name]} |"
    yield ""


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]


def _inner(form: type) -> list[type]:
    """The types that a form is made of, in the order in which they are met."""
    found: dict[type, None] = {}
    waiting = [form]
    while waiting:
        hints = get_type_hints(waiting.pop(0), include_extras=True)
        for hint in hints.values():
            for kind in _types_in(hint):
                if kind not in found:
                    found[kind] = None
                    waiting.append(kind)
    return list(found)


def _types_in(hint: Any) -> Iterator[type]:
    if is_typeddict(hint):
        yield hint
    for inner in get_args(hint):
        yield from _types_in(inner)


def shown(hint: Any) -> str:
    """A type for people."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return shown(inner[0])
    if origin is Annotated:
        kind = next((mark.name for mark in inner[1:] if isinstance(mark, head.Kind)), "")
        return MARKS.get(kind, f"word: {kind}")
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else shown(part) for part in inner)
    if origin is list:
        return f"list of {shown(inner[0])}"
    if origin is dict:
        return f"{shown(inner[1])} by name"
    if inner:  # Literal
        return ", ".join(f"`{json.dumps(value)}`" for value in inner)
    words = {str: "text", int: "number", float: "number", bool: "true or false"}
    return words.get(hint) or str(hint.__name__)
