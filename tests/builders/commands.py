"""Typing what hivekeys tells an operator to type: fab, OpenSSH and a shell read it, and nobody is contacted."""

import itertools
import re
import shlex
import subprocess
from functools import cache

from fabric.main import make_program
from invoke.exceptions import ParseError
from invoke.parser import Parser

import fabfile
from docs.generate import options, tasks
from hivekeys import inventory
from hivekeys.errors import UserError
from hivekeys.fleet import Fleet

QUOTED = re.compile("`([^`]+)`")
BARE = re.compile(r"\bfab (?:.(?!   |; |: |,\s|\bor take))+.")  # in a last line, where commands stand without quotes
PROGRAMS = ("fab", "ssh", "systemctl", "journalctl")
HOSTS_OF = ("--limit", "--exclude", "--allow-missing", "--without", "--replace")


def commands_in(text: str) -> list[str]:
    """The commands of a hint, which stand in backticks."""
    return [found for found in QUOTED.findall(text) if found.split()[0] in PROGRAMS]


def bare_commands_in(text: str) -> list[str]:
    """The commands of fab in a last line."""
    return [found.strip() for found in BARE.findall(text)]


def mistake_in(command: str, fleet: Fleet) -> str:
    """What would be said against it, "" for nothing."""
    words = shlex.split(command)
    if words[0] == "fab":
        return mistake(words[1:]) or _wrong_value(words[1:], fleet)
    if words[0] == "ssh":
        done = subprocess.run(["ssh", "-G", *words[1:]], capture_output=True, text=True, timeout=20, check=False)
        return done.stderr if done.returncode else ""
    return subprocess.run(["sh", "-n", "-c", command], capture_output=True, text=True, check=False).stderr


def _wrong_value(words: list[str], fleet: Fleet) -> str:
    """Options whose value has to mean something: the fleet, and hosts of it."""
    given = dict(itertools.pairwise(words))
    if given.get("--fleet") not in (None, *shlex.split(fleet.typed)):
        return f"another fleet: {given['--fleet']}"
    if "--fleet" not in given:
        return "it names no fleet"
    try:
        for option in HOSTS_OF:
            if option in given:
                inventory.select(fleet, given[option])
    except UserError as error:
        return error.message
    return ""


@cache
def parser() -> Parser:
    """The one that fab itself has, with our tasks."""
    for task in tasks().values():
        options(task)  # keeps their help, which Invoke takes away below
    return Parser(contexts=fabfile.namespace.to_contexts(), initial=make_program().initial_context)


def mistake(argv: list[str]) -> str:
    """What fab would say against it, "" for nothing."""
    if argv[:1] == ["--help"] and len(argv) == 2:  # of which fab reads the second word itself
        return "" if argv[1] in tasks() else f"no task {argv[1]}"
    try:
        chosen = parser().parse_argv(argv)
    except ParseError as error:
        return str(error)
    return "" if len(chosen) > 1 or chosen[0].args["list"].value else "no task"
