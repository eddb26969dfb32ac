"""Writes docs/reference.md, docs/map.md, docs/json.md and docs/schemas/ from the code: `python -m docs.generate`.

A test fails while one of them is stale. Words for people belong in the other pages; these only list.
"""

import functools
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from invoke.tasks import Task

import fabfile
from docs.code_map import MAP, code_map
from docs.forms import write_forms
from hivekeys.errors import ExitCode
from hivekeys.host import dropin
from hivekeys.host.state import STATE
from hivekeys.host.verbs import restrict, watch
from hivekeys.inventory.ansible import variables
from hivekeys.journal.events import Event, State
from hivekeys.protocol import restriction
from hivekeys.protocol.causes import Trouble
from hivekeys.protocol.hints import general
from hivekeys.verify.checks import CHECKS
from hivekeys.verify.last import TALLY

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
    "HIVEKEYS_INVENTORY": "a folder of inventories. `--fleet NAME` is NAME.toml in ./inventory (beside the fabfile, "
    "if there is one), in this folder, in `~/.config/hivekeys` or in /etc/hivekeys: the first that is there",
    "HIVEKEYS_STATE_DIR": "the folder of journals, locks and fingerprint keys (default: `hivekeys` in the user's state "
    "directory, `~/.local/state/hivekeys`)",
    "HIVEKEYS_SUDO_PASSWORD_FILE": 'the file with the password for hosts of `become = "sudo-password"`; goes before '
    "`sudo_password_file` in the inventory",
    "HIVEKEYS_DEBUG": "print the traceback of a bug in hivekeys",
    "NO_COLOR": "no colours",
}


KEPT = f"/{STATE}"  # on the host; root's, 0700
ON_THE_HOST = {
    "TOKEN": "the service's token, where the inventory says (default: /etc/llama-orch/secrets/api-token)",
    "TOKEN.new": "the token that a run has staged; gone when the run is over",
    "TOKEN.backup": "the token from before a run, until every host is proven",
    f"{KEPT}/fleet": "the fleet's name: another fleet's inventory is refused",
    f"{KEPT}/run": "the last run that wrote here: an older one is refused",
    f"{KEPT}/lock": "held by the agent of a run that is at work; it is free when that ends",
    f"{KEPT}/tombstones": "salted digests of tokens that leaked: none of them is written again",
    f"{KEPT}/installed": "what `fab install` put there; `fab uninstall` removes that and nothing else",
    f"{KEPT}/{restrict.OWN_SETTINGS}": "restricted mode: what the agent may work on",
    f"{dropin.UNITS}/UNIT.d/{dropin.DROP_IN}": "`fab install`: where the unit has its token from",
    f"{watch.RULES}/50-hivekeys.rules": "`fab watch`: the rule by which auditd notes who reads the token",
    restriction.INSTALLED: "restricted mode: the agent",
    restrict.RULE: "restricted mode: the one program that the login may run as root",
}
ON_THE_BASTION = {
    "journal.db": "every event of every run, in a chain of hashes; SQLite",
    "journal.mark": "how many events it had, and where its chain stood: an end that is cut off shows",
    "journal.damaged-DATE.*": "a journal that was damaged, as it was found; `.tombstones`: what leaked, read from it",
    "fingerprint.key": "the key of the keyed fingerprints; without it past runs can't be resumed",
    "evidence.key": "signs what `fab evidence` writes; made on first use",
    "lock": "held by a run that is at work, with its operator; free when that ends",
    TALLY: "the numbers of the last `fab verify`, for `fab status --metrics`",
    "backups/": "sealed backups, `*.backup`",
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
            yield f"--{name.strip('_').replace('_', '-')}{'' if argument.kind is bool else ' …'}", argument.help or ""


def reference() -> str:
    """The whole page."""
    kinds = (_tasks, _codes, _states, _troubles, _checks, _environment, _events, _files, _inventory, _ansible)
    return "\n".join([HEAD, *(line for each in kinds for line in each())])


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
    rows = ((trouble.value, general(trouble)) for trouble in Trouble)
    yield from (f"| [{name}](runbook.md#{anchor(name)}) | {words} |" for name, words in rows)
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


def _events() -> Iterator[str]:
    yield "## Journal\n\nThe kinds of events in a run's journal, each on disk before it is acted on.\n"
    yield "| Event | Means | Holds |\n| --- | --- | --- |"
    for kind in get_args(Event):
        words = (kind.__doc__ or "").split("\n")[0]
        held = ", ".join(f"`{field.name}`" for field in fields(kind) if field.name != "when")
        yield f"| {kind.__name__} | {words} | {held or '–'} |"
    yield ""


def _files() -> Iterator[str]:
    for place, files in (("host", ON_THE_HOST), ("bastion", ON_THE_BASTION)):
        yield f"## Files on the {place}\n\n| File | Is |\n| --- | --- |"
        yield from (f"| `{path}` | {words} |" for path, words in files.items())
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
    yield f"| `{variables.BESIDE}` | `beside` of the host |"
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
    MAP.write_text(code_map())
    write_forms()
