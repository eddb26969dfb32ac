"""Writes docs/reference.md from the code, so that it cannot say anything else: `python -m docs.generate`.

A test fails while the file is stale. Words for people belong in the other pages; this one only lists.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from invoke.tasks import Task

import fabfile
from hivekeys.causes import HINTS, Trouble
from hivekeys.checks import CHECKS
from hivekeys.errors import ExitCode
from hivekeys.inventory.ansible import variables
from hivekeys.model import State

HERE = Path(__file__).resolve().parent
REFERENCE = HERE / "reference.md"
EXAMPLE = HERE.parent / "inventory" / "example.toml"

HEAD = """\
# Reference

Made from the code by `python -m docs.generate`; do not edit. What to do when something goes wrong is in the
[runbook](runbook.md).
"""
ENVIRONMENT = {
    "HIVEKEYS_FLEET": "the fleet when `--fleet` is left out",
    "HIVEKEYS_STATE_DIR": "the folder of journals, locks and fingerprint keys (default: `hivekeys` in the user's state "
    "directory, `~/.local/state/hivekeys`)",
    "HIVEKEYS_SUDO_PASSWORD_FILE": 'the file with the password for hosts of `become = "sudo-password"`; goes before '
    "`sudo_password_file` in the inventory",
    "HIVEKEYS_DEBUG": "print the traceback of a bug in hivekeys",
    "NO_COLOR": "no colours",
}


def anchor(heading: str) -> str:
    """The fragment by which a heading is linked to, as GitHub makes it."""
    kept = (char for char in heading.lower().strip() if char.isalnum() or char in " -_")
    return "".join(kept).replace(" ", "-")


def heading(item: ExitCode | State | Trouble) -> str:
    """The text of the item's heading in the runbook."""
    match item:
        case ExitCode():
            return f"Exit code {int(item)}: {item.name.lower().replace('_', ' ')}"
        case State():
            return f"State: {item.value}"
        case Trouble():
            return item.value


def tasks() -> dict[str, Task[Any]]:
    """Every task by the name that an operator types."""
    return {name: fabfile.namespace[name] for name in sorted(fabfile.namespace.task_names, key=_plain_first)}


@functools.cache  # invoke takes the help out of a task when it is asked for its arguments: it can be asked once
def options(task: Task[Any]) -> tuple[tuple[str, str], ...]:
    """How each option or argument of a task is written, and its help."""
    return tuple(_options(task))


def _options(task: Task[Any]) -> Iterator[tuple[str, str]]:
    for argument in task.get_arguments():
        name = argument.name or ""
        if argument.positional:
            yield name.upper(), argument.help or ""
        else:
            yield f"--{name.replace('_', '-')}{'' if argument.kind is bool else ' …'}", argument.help or ""


def reference() -> str:
    """The whole page."""
    lists = (_tasks(), _codes(), _states(), _troubles(), _checks(), _environment(), _inventory(), _ansible())
    return "\n".join([HEAD, *(line for each in lists for line in each)])


def _tasks() -> Iterator[str]:
    yield "## Tasks\n"
    for name, task in tasks().items():
        yield f"### fab {name}\n\n{(task.__doc__ or '').strip()}\n"
        rows = [f"| `{option}` | {words} |" for option, words in options(task)]
        if rows:
            yield "\n".join(["| Option | Means |", "| --- | --- |", *rows]) + "\n"


def _codes() -> Iterator[str]:
    yield "## Exit codes\n\n| Code | Name | What to do |\n| --- | --- | --- |"
    for code in ExitCode:
        yield f"| {int(code)} | {code.name.lower().replace('_', ' ')} | {_link(code)} |"
    yield ""


def _states() -> Iterator[str]:
    yield "## States\n\n| State of a host | What to do |\n| --- | --- |"
    yield from (f"| {state.value} | {_link(state)} |" for state in State)
    yield ""


def _troubles() -> Iterator[str]:
    yield "## Troubles\n\n| Trouble | The hint that is shown with it |\n| --- | --- |"
    yield from (f"| [{trouble.value}](runbook.md#{anchor(trouble.value)}) | {HINTS[trouble]} |" for trouble in Trouble)
    yield ""


def _checks() -> Iterator[str]:
    yield "## Checks\n\nWhat `fab verify` asks; the section is the Secret Management Guide's.\n"
    yield "| Check | Severity | What must be so | Section |\n| --- | --- | --- | --- |"
    yield from (f"| `{c.id}` | {c.severity.value} | {c.title} | {c.section} |" for c in CHECKS.values())
    yield ""


def _environment() -> Iterator[str]:
    yield "## Environment variables\n\n| Variable | Means |\n| --- | --- |"
    yield from (f"| `{name}` | {words} |" for name, words in ENVIRONMENT.items())
    yield ""


def _inventory() -> Iterator[str]:
    yield "## Inventory keys\n\nThis is inventory/example.toml, whole.\n"
    yield f"```toml\n{EXAMPLE.read_text()}```\n"


def _ansible() -> Iterator[str]:
    yield "## Ansible variables\n\nWhat is read of an Ansible inventory. Those of one row must not differ.\n"
    yield "| Variable | Means |\n| --- | --- |"
    for key, names in variables.LOGIN.items():
        yield f"| {', '.join(f'`{name}`' for name in names)} | `{key}` of the host |"
    yield f"| {', '.join(f'`{name}`' for name in variables.ARGUMENTS)} | `jump` and `key` of the host |"
    passwords = ", ".join(f"`{name}`" for name in variables.PASSWORDS)
    yield f'| {passwords} | `become = "sudo-password"`: it is not read, you are asked |'
    yield f"| `{variables.FLEET}` | `fleet`; the same for all hosts |"
    yield from (f"| `{name}` | `{key}` of the host's service |" for name, key in variables.SERVICE.items())
    yield "\nThese must have one of the values given, or none:\n\n| Variable | Values |\n| --- | --- |"
    for name, allowed in variables.ONLY.items():
        yield f"| `{name}` | {', '.join(f'`{word}`' for word in allowed if word)} |"
    yield "\nThese are refused, unless `ignore` of `[ansible]` names them:\n\n| Variable | Why |\n| --- | --- |"
    yield from (f"| `{name}` | {words} |" for name, words in variables.REFUSED.items())
    yield ""


def _link(item: ExitCode | State) -> str:
    return f"[runbook](runbook.md#{anchor(heading(item))})"


def _plain_first(name: str) -> tuple[bool, str]:
    return "." in name, name


if __name__ == "__main__":
    REFERENCE.write_text(reference())
