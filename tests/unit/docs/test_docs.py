"""Every code, state, trouble, task and inventory key is in the documentation, and its links lead somewhere."""

import re
from pathlib import Path
from typing import Any

import pytest

from docs.code_map import MAP, code_map, first_sentence
from docs.generate import REFERENCE, anchor, heading, options, reference, tasks
from docs.manual import manual
from hivekeys.errors import ExitCode
from hivekeys.inventory import schema
from hivekeys.journal.events import State
from hivekeys.protocol.causes import Trouble
from tests.builders.project import PROJECT

TOP = [PROJECT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
PAGES = [*TOP, *sorted((PROJECT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TABLES: list[Any] = [
    schema.Document,
    schema.SshKeys,
    schema.TimeoutKeys,
    schema.RolloutKeys,
    schema.TokenAgeKeys,
    schema.WaiverKeys,
    schema.AnsibleKeys,
    schema.LlamaOrchKeys,
    schema.BackupKeys,
    schema.ServicesKeys,
    schema.ServiceKeys,
    schema.HostKeys,
]


def headings(page: Path) -> list[str]:
    """The text of a page's headings, none of them from a block of code."""
    return re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)


@pytest.mark.parametrize("item", [*ExitCode, *State, *Trouble], ids=str)
def test_the_runbook_has_one_heading_for_each_code_state_and_trouble(item: ExitCode | State | Trouble) -> None:
    assert headings(PROJECT / "docs" / "runbook.md").count(heading(item)) == 1


def test_the_reference_is_what_the_code_says_today() -> None:
    assert REFERENCE.read_text() == reference(), "stale: run `.venv/bin/python -m docs.generate`"


def test_the_map_is_what_the_modules_say_today() -> None:
    assert MAP.read_text() == code_map(), "stale: run `.venv/bin/python -m docs.generate`"


def test_a_module_says_in_one_short_sentence_what_it_is_for() -> None:
    files = sorted((PROJECT / "hivekeys").rglob("*.py"))
    long = {str(path): words for path in files if not 0 < len(words := first_sentence(path)) <= 120}
    assert long == {}


def test_every_task_and_each_of_its_options_has_a_line_of_help() -> None:
    for name, task in tasks().items():
        assert (task.__doc__ or "").strip(), name
        for option, words in options(task):
            assert words, f"{name} {option}"


@pytest.mark.parametrize("name", sorted(tasks()))
def test_every_task_is_in_the_guide_or_the_how_to(name: str) -> None:
    pages = [PROJECT / "docs" / "guide.md", *(PROJECT / "docs").glob("how*to*.md")]
    assert any(f"fab {name}" in page.read_text() for page in pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_has_one_title(page: Path) -> None:
    """With two the site's sidebar shows the page in pieces."""
    assert len(re.findall(r"^# ", FENCED.sub("", page.read_text()), re.MULTILINE)) == 1


def test_every_page_is_in_the_index() -> None:
    text = (PROJECT / "docs" / "index.md").read_text()
    listed = re.findall(r"^([\w-]+)$", text[text.index("{toctree}") :], re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in (PROJECT / "docs").glob("*.md") if page.stem != "index")


def test_the_man_page_has_every_task_option_and_code() -> None:
    text = manual().replace("\\-", "-")
    for name, task in tasks().items():
        assert f".SS fab {name}\n" in text
        assert all(f".B {option}\n" in text for option, _ in options(task)), name
    assert all(f".B {int(code)}\n" in text for code in ExitCode)


def test_every_inventory_key_is_in_the_reference() -> None:
    text = REFERENCE.read_text()
    for key in {key for table in TABLES for key in table.__annotations__}:
        assert re.search(rf"\b{key}\b", text), key


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_of_ours(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_relative_to(PROJECT), target
        assert there.exists(), target
        if fragment:
            assert fragment in map(anchor, headings(there)), target


def test_every_test_that_a_promise_names_exists() -> None:
    text = (PROJECT / "docs" / "guarantees.md").read_text()
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert (PROJECT / path).is_file(), path
        if name:
            assert f"def {name}(" in (PROJECT / path).read_text(), f"{path}::{name}"


@pytest.mark.parametrize("name", ["design", "decisions"])
def test_every_module_that_the_design_names_exists(name: str) -> None:
    text = (PROJECT / "docs" / f"{name}.md").read_text()
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", text)
    assert named
    assert [path for path in named if not any((top / path).is_file() for top in (PROJECT, PROJECT / "hivekeys"))] == []


def test_no_page_names_a_place_on_the_machine_it_was_written_on() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![a-z])/work/|/tmp/[a-z]*\.", page.read_text()), page.name


def glossary() -> list[str]:
    """The terms that docs/design.md explains, in their order."""
    words = (PROJECT / "docs" / "design.md").read_text().partition("\n## Words\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| (?!Word |---)([^|]+) \|", words, re.MULTILINE)


def test_the_glossary_has_each_term_once_and_few_of_them() -> None:
    terms = glossary()
    assert 15 < len(terms) <= 25
    assert len(set(terms)) == len(terms)
    assert [term for term in terms if not re.fullmatch(r"[a-z]+", term)] == [], "one word a row"


@pytest.mark.parametrize("term", glossary())
def test_a_term_of_the_glossary_is_met_elsewhere(term: str) -> None:
    """What no other page says needs no explanation."""
    pages = [page for page in PAGES if page.name not in ("design.md", "CHANGELOG.md")]
    assert any(re.search(rf"\b{term}(?:s|es)?\b", page.read_text(), re.IGNORECASE) for page in pages)
