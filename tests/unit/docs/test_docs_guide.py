"""docs/from-the-guide.md has a row for every command of the Secret Management Guide, with what is done here instead."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.project import PROJECT

PAGE = PROJECT / "docs" / "from-the-guide.md"
COMMANDS = Path(__file__).with_name("guide-commands.txt")
CELLS = re.compile(r"(?<!\\)\|")


def sections(text: str) -> dict[str, list[str]]:
    """The lines below each heading of the second level."""
    _, *others = re.split(r"^## ", text, flags=re.MULTILINE)
    return {part.splitlines()[0]: part.splitlines()[1:] for part in others}


GUIDE = [(name, line) for name, lines in sections(COMMANDS.read_text()).items() for line in lines if line]


def rows(name: str) -> Iterator[list[str]]:
    """What a section's table says: a row's cells."""
    for line in sections(PAGE.read_text()).get(name, []):
        if line.startswith("| ") and not line.startswith(("| ---", "| The guide")):
            yield [cell.replace("\\|", "|").strip() for cell in CELLS.split(line)[1:-1]]


def stands_for(said: str, command: str) -> bool:
    """Whether this is the command, or begins it; "…" is any part that is left out."""
    bare = re.sub(r"^(?:ssh \S+ \")?sudo ", "", command)
    pattern = ".*".join(map(re.escape, said.removeprefix("sudo ").split("…")))
    return any(re.match(rf"{pattern}(?![\w-])", text) for text in (bare, command))


def answers(name: str, command: str) -> list[str]:
    """What the rows for a command say is done here."""
    return [row[1] for row in rows(name) if any(stands_for(said, command) for said in re.findall(r"`([^`]+)`", row[0]))]


@pytest.mark.parametrize(("section", "command"), GUIDE)
def test_every_command_of_the_guide_has_its_row(section: str, command: str) -> None:
    assert any(answers(section, command)), f"docs/from-the-guide.md, {section}: no row for {command}"


def test_a_command_without_a_row_is_found() -> None:
    assert answers("Fix Permissions", "sudo chmod 600 /etc/llama-orch/secrets/api-token")
    assert not answers("Fix Permissions", "sudo chmod 644 /etc/llama-orch/secrets/api-token")
    assert not answers("Nothing Such", "ls -la")
    assert not stands_for("wc -c", "wc -cc")
