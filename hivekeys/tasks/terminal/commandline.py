"""Checks the command line before any verb begins: mistyped words, and options of Fabric that no verb honours.

Fabric reads the line itself, and ends with 1, or goes on in silence. As it loads the fabfile its parser is asked here
for the first time, so that a mistake ends with 2 and says what was meant, and `--dry` never turns a fleet.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from invoke.exceptions import ParseError
from invoke.parser import Parser

from hivekeys.errors import UserError
from hivekeys.tasks.options.verb import DRY_RUN, fail
from hivekeys.tasks.terminal import completion, document, output

if TYPE_CHECKING:
    from invoke.collection import Collection
    from invoke.parser.context import ParserContext
    from invoke.parser.parser import ParseResult
    from invoke.program import Program

KEYS = "hivekeys logs in with keys: from your SSH agent, from ~/.ssh, or `key` in [ssh] of the inventory"
NO_COMMANDS = "hivekeys runs no commands of yours on the hosts: `ssh HOST` does"
# Options of Fabric and Invoke, by the name that stands first in their help, and what hivekeys has in their place.
UNHONOURED = {
    "dry": DRY_RUN,
    "echo": f"--events tells each step as it happens; {DRY_RUN}",
    "hosts": "use --limit HOST,… instead",
    "identity": KEYS,
    "prompt-for-login-password": KEYS,
    "prompt-for-passphrase": f"`ssh-add` asks for it; {KEYS}",
    "prompt-for-sudo-password": '`become = "sudo-password"` in [ssh] of the inventory asks, or reads a file',
    "ssh-config": "`config = FILE` in [ssh] of the inventory",
    "connect-timeout": "`connect = SECONDS` in [timeouts] of the inventory",
    "command-timeout": "`request = SECONDS` in [timeouts] of the inventory",
    "config": "the inventory has all settings: inventory/example.toml explains each",
    "hide": "--quiet says nothing but what fails, and the result",
    "pty": "no verb needs a terminal on the hosts: leave it out",
    "warn-only": "--max-failures and --allow-missing say which failures do not stop a run",
}
FORMATS = ("flat", "nested", "json")  # of --list


def begin(namespace: "Collection") -> None:
    """Called as the fabfile is loaded: by `fab`, this looks at what was typed; by anything else, it does nothing."""
    program: Program | None = getattr(sys.modules.get("fabric.main"), "program", None)
    if program and hasattr(program, "core"):
        output.take_over()
        try:
            refuse_mistakes(program, namespace)
        except UserError as error:
            document.promise_typed(program.core.unparsed)
            fail(error)


def refuse_mistakes(program: "Program", namespace: "Collection") -> None:
    """Raises UserError for what no verb can do as it was typed. Sets nothing: Fabric parses the same words again."""
    given = program.core[0].args
    if given["complete"].value:
        if (words := completion.offered(program.core.remainder)) is not None:
            sys.stdout.write("".join(f"{word}\n" for word in words))
            sys.exit(0)
        return
    contexts = _contexts(namespace)
    verbs = {str(context.name): context for context in contexts}
    _refuse_unknown_subject(given, verbs)
    if not (program.core.unparsed or program.core.remainder):
        return  # --list and its like: no verb will begin
    parsed = _parsed(program, contexts, verbs)
    if parsed[0].args["help"].value or given["help"].value:
        return
    for args in (given, parsed[0].args):
        _refuse_unhonoured(args)
    if program.core.remainder:
        raise UserError(f"-- {program.core.remainder}: there is no such thing to run", hint=NO_COMMANDS)


def _refuse_unknown_subject(given: Any, verbs: Iterable[str]) -> None:
    """What help or a list is asked for must be there."""
    topic, branch, form = given["help"].value, given["list"].value, given["list-format"].value
    if isinstance(topic, str) and topic not in verbs:
        raise UserError(f"there is no task {topic}", hint=_meant(topic, verbs, "`fab --list` shows all"))
    branches = {name.rpartition(".")[0] for name in verbs} - {""}
    if isinstance(branch, str) and branch not in branches:
        raise UserError(f"--list {branch}: there is none", hint=f"there are {', '.join(sorted(branches))}")
    if form not in FORMATS:
        raise UserError(f"--list-format {form}: expected {', '.join(FORMATS)}")


def _contexts(namespace: "Collection") -> "list[ParserContext]":
    """What each verb takes. Invoke takes the help out of a task when it is asked for that: it is put back."""
    helps = {name: dict(namespace[name].help) for name in namespace.task_names}
    contexts = namespace.to_contexts()
    for name, words in helps.items():
        namespace[name].help = words
    return contexts


def _parsed(program: "Program", contexts: "list[ParserContext]", verbs: "dict[str, ParserContext]") -> "ParseResult":
    """As Fabric will parse it: its own options that stand behind a task, then the tasks."""
    typed = program.core.unparsed
    try:
        return Parser(initial=program.initial_context, contexts=contexts).parse_argv(typed)
    except ParseError as error:
        raise _explained(str(error), error.context, program, verbs) from None
    except ValueError as error:  # a number was expected
        hint = "`fab --help` says what each of its own options takes"
        raise UserError(f"{' '.join(typed)}: {error}", hint=hint) from None


def _explained(
    words: str, context: "ParserContext | None", program: "Program", verbs: "dict[str, ParserContext]"
) -> UserError:
    """Invoke's words for a mistake, in ours, and what may have been meant."""
    verb = context.name if context and context.name else ""
    there = f"{verb}: " if verb else ""
    own = f"`fab --help {verb}`".replace(" `", "`")
    if unknown := re.fullmatch(r"No idea what '(.*)' is!", words, re.DOTALL):
        word = unknown[1]
        if word.startswith("-"):
            options = context.flags if context and verb else program.initial_context.flags
            hint = UNHONOURED.get(word.lstrip("-")) or _meant(word, options, f"{own} lists them")
            return UserError(f"{there}there is no option {word}", hint=hint)
        hint = _meant(word, verbs, "`fab --list` shows all")
        if context and "--limit" in context.flags:
            hint = f"hosts are named with --limit {word}; {hint}"
        return UserError(f"{there}there is no task {word}", hint=hint)
    if valueless := re.match(r"Flag <Argument: (\S+).*> needed value", words):
        return UserError(f"{there}--{valueless[1].replace('_', '-')} needs a value", hint=f"{own} says which")
    if missing := re.search(r"required positional arguments: (.*)", words):
        return UserError(f"{there}{missing[1].replace(chr(39), '').upper()} is missing", hint=f"{own} says what it is")
    return UserError(f"{there}{words}", hint=f"{own} lists the options")


def _meant(word: str, known: Iterable[str], otherwise: str) -> str:
    """The known words that are most like this one, as a question."""
    from difflib import get_close_matches

    likely = get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(likely)}? {otherwise}" if likely else otherwise


def _refuse_unhonoured(args: Any) -> None:
    for option in _given(args):
        name = next((name for name in option.names if name in UNHONOURED), "")
        if name == "hosts":
            raise UserError("-H would run this once per host", hint=UNHONOURED[name])
        if name:
            raise UserError(f"{_spelled(option.names)}: no verb honours this option of Fabric's", hint=UNHONOURED[name])


def _given(args: Any) -> Iterator[Any]:
    return (option for option in args.values() if option.got_value)


def _spelled(names: Iterable[str]) -> str:
    return ", ".join(f"-{name}" if len(name) == 1 else f"--{name}" for name in sorted(names, key=len))
