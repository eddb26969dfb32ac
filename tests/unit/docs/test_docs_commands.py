"""What a page tells the operator to type can be typed: the task, its options, what they need, the files they name.

tests/lab/test_pages.py types every block of it; here are the sentences too, and what makes sure that it is every block.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys import inventory
from tests.builders.commands import mistake
from tests.builders.pages import ELSEWHERE, FENCED, NOT_TYPED, PAGES, lines, sections
from tests.builders.project import PROJECT

INLINE = re.compile(r"`([^`\n]+)`")
BEFORE = re.compile(r"^(?:\$ |sudo (?:-u \w+ )?|[A-Z_]+=\S+ )*")  # a prompt, another account, variables
FAB = re.compile(r"^(?:\.venv/bin/|/opt/hivekeys/\.venv/bin/)?fab\s+")
OURS = re.compile(r"(?:^|(?<=\s)|(?<=/opt/hivekeys/))(?:docs|inventory|tests|tasks|hivekeys)/[\w/.@*-]+")
MADE_BY_THE_READER = re.compile(r"NAME|production|staging|lab|_build")


def commands(page: Path) -> Iterator[str]:
    """What blocks of code would give to a shell."""
    for language, block in FENCED.findall(page.read_text()):
        if language == "sh":
            for line in lines(block):
                yield from parts(line)


def inline(page: Path) -> Iterator[str]:
    """Commands in the middle of a sentence."""
    for text in INLINE.findall(FENCED.sub("", page.read_text())):
        yield from parts(text)


def parts(line: str) -> Iterator[str]:
    """The commands of a line, without comments and redirections."""
    yield from (part.strip() for part in re.split(r"\s#\s.*|[|;&]+|\d?>\S*", line) if part.strip())


def of_fab(texts: Iterator[str]) -> Iterator[list[str]]:
    """The arguments of those that call fab."""
    for text in texts:
        bare = BEFORE.sub("", text)
        if FAB.match(bare):
            yield shlex.split(FAB.sub("", bare))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fab_command_of_a_page_can_be_typed(page: Path) -> None:
    wrong = {" ".join(argv): found for argv in of_fab(commands(page)) if (found := mistake(argv))}
    assert wrong == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fab_command_in_a_sentence_names_a_task_and_options_of_its_own(page: Path) -> None:
    """It need not be whole there: `fab restore` may be spoken of without its file."""
    wrong = {}
    for argv in of_fab(inline(page)):
        found = mistake(argv) if argv != ["…"] else ""
        if not re.search("^$|did not receive required positional|needed value", found):
            wrong[" ".join(argv)] = found
    assert wrong == {}


def test_a_command_that_nobody_knows_is_found() -> None:
    assert mistake(["rotat", "--fleet", "x"])
    assert mistake(["--help", "rotat"])
    assert mistake(["rotate", "--fleets", "x"])
    assert mistake(["restore", "--fleet", "x"])
    assert mistake(["rotate", "--fleet"])
    assert mistake([]) == "no task"
    assert mistake(["rotate", "--fleet", "x", "--batch", "5", "--yes"]) == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_and_every_file_of_ours_that_a_command_names_is_there(page: Path) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for command in commands(page):
        words = BEFORE.sub("", command).split()
        if words and words[0] == "make":
            assert all(re.search(rf"^{word}:", makefile, re.MULTILINE) for word in words[1:]), command
        for path in OURS.findall(command):
            if not MADE_BY_THE_READER.search(path):
                assert list(PROJECT.glob(path.rstrip("."))), command


# -- that nothing is left out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is_and_only_those_marked_sh_hold_commands(page: Path) -> None:
    """So that a new command is typed by the lab's test without anybody thinking of it."""
    assert not re.search(r"```|^~~~", FENCED.sub("", page.read_text()), re.MULTILINE), "a block in another form"
    programs = {BEFORE.sub("", command).split()[0] for one in PAGES for command in commands(one)} | {"fab", "sudo"}
    for language, block in FENCED.findall(page.read_text()):
        assert language in ("sh", "text", "toml", "yaml", "python", "promql", "{toctree}"), f"{language}: {block}"
        if language != "sh":
            assert not {line.split()[0] for line in block.splitlines() if line.strip()} & programs, block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_inventory_of_a_page_is_right(page: Path, tmp_path: Path) -> None:
    """A whole one loads as it stands; a part of one is TOML at least."""
    for language, block in FENCED.findall(page.read_text()):
        if language == "toml" and tomllib.loads(block).keys() == {"fleet", "ssh", "hosts"}:
            (tmp_path / "production.toml").write_text(block)
            assert len(inventory.load(tmp_path / "production.toml").hosts) > 1


def test_the_few_commands_that_nobody_types_are_in_the_pages_and_say_why() -> None:
    there = {command for section in sections() for command in section.commands}
    assert len(NOT_TYPED) <= 4 and all(NOT_TYPED.values())
    assert set(NOT_TYPED) <= there


def test_what_another_test_types_is_in_the_pages_and_named_there() -> None:
    there = {command for section in sections() for command in section.commands}
    assert set(ELSEWHERE) <= there
    for command, path in ELSEWHERE.items():
        play = re.search(r"[\w-]+\.yml(?= --check$|$)", command)
        assert play and play[0] in (PROJECT / path).read_text(), command


def test_a_command_that_stands_twice_is_typed_once() -> None:
    found = [command for section in sections() for command in section.commands]
    assert len(found) > 50
    assert len(found) == len(set(found))
