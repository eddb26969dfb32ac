"""Every `fab …` that a message, a hint or a line of hivekeys names is read by fab itself; and it names the fleet."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from docs.generate import options, tasks
from hivekeys.errors import UserError
from hivekeys.protocol.hints import VERBS, for_fleet
from hivekeys.tasks.options.verb import fail
from tests.builders.commands import bare_commands_in, mistake
from tests.builders.project import PROJECT

FILES = sorted((PROJECT / "hivekeys").rglob("*.py"))
VALUE = "value"  # stands for what is filled in


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module that a person may read, with what is filled in replaced; no docstrings."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree):
        if id(node) in docs or id(node) in inner:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values),
            )


def named(path: Path) -> Iterator[tuple[str, str]]:
    """The place and the text of each command; where the verb is filled in, only a run can tell what it is."""
    for number, text in texts(path):
        for command in bare_commands_in(for_fleet(text, VALUE)):
            bare = re.split(r"[`)\n]|(?<=\w)[,;.](?=\s|$)", command)[0].strip()
            if not bare.startswith((f"fab {VALUE}", "fab --")):  # fab's own options are no verb
                yield f"{path.relative_to(PROJECT)}:{number}", bare


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_command_that_a_text_names_is_read_by_fab(path: Path) -> None:
    """Behind a bare verb there may be words that are no part of it: then the verb at least is one."""
    wrong = {}
    for place, command in named(path):
        words = shlex.split(command)[1:]
        said = [mistake(words[:length]) for length in range(len(words), 0, -1)]
        if not any(re.search("^$|did not receive required positional|needed value", found) for found in said):
            wrong[place] = (command, said[0])
    assert wrong == {}


def test_every_verb_that_wants_a_fleet_is_named_with_it() -> None:
    """Whatever text names it, and whoever knows the fleet only where it is shown."""
    wanting = {
        name for name, task in tasks().items() if any(option.startswith("--fleet ") for option, _ in options(task))
    }
    no_hosts = {"evidence", "inventory.check", "inventory.convert"}  # its key is the bastion's; these are about a file
    assert set(VERBS) == wanting - no_hosts
    assert for_fleet("`fab plan`, fab lab.status, or fab revoke --yes", "prod") == (
        "`fab plan --fleet prod`, fab lab.status, or fab revoke --fleet prod --yes"
    )
    assert for_fleet("fab plan --fleet blue", "prod") == "fab plan --fleet blue"
    assert for_fleet("`fab plan`", "") == "`fab plan`"


def test_a_refusal_names_the_fleet_that_was_named() -> None:
    with pytest.raises(Exit) as left:
        fail(UserError("no", hint="`fab plan` shows its hosts"), "./our hosts.ini")
    assert "`fab plan --fleet './our hosts.ini'` shows its hosts" in str(left.value.message)
