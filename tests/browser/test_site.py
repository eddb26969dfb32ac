"""The pages as a site: its search, in a browser, leads who types what a screen says to that heading of the runbook."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate import anchor, heading
from hivekeys.errors import ExitCode
from hivekeys.journal.events import State
from hivekeys.protocol.causes import Trouble
from tests.builders.project import PROJECT

from .chromium import Chromium

# Where the first result leads: the list is shown from its end.
FIRST = """
(query => {{
  const found = Search._performSearch(...Search._parseQuery(query)).pop();
  return found ? found[0] + found[2] : "";
}})("{}")
"""


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """The built site's search, with its index."""
    folder = tmp_path_factory.mktemp("site")
    words = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-b",
        "html",
        "-d",
        str(folder / "read"),
        "docs",
        str(folder / "html"),
    ]
    subprocess.run(words, cwd=PROJECT, check=True, timeout=300)
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        browser.open(Path(folder / "html" / "search.html"))
        assert browser.evaluate("Search.hasIndex()")
        yield browser


@pytest.mark.parametrize("trouble", Trouble, ids=lambda trouble: trouble.value)
def test_a_trouble_leads_to_its_heading_in_the_runbook(search: Chromium, trouble: Trouble) -> None:
    assert search.evaluate(FIRST.format(trouble.value)) == f"runbook#{anchor(heading(trouble))}"


@pytest.mark.parametrize("state", State, ids=str)
def test_so_does_a_state_as_the_runbook_words_it(search: Chromium, state: State) -> None:
    assert search.evaluate(FIRST.format(heading(state))) == f"runbook#{anchor(heading(state))}"


@pytest.mark.parametrize("code", ExitCode)
def test_an_exit_code_leads_to_the_runbook(search: Chromium, code: ExitCode) -> None:
    """By its number alone to the page; by its whole heading to that."""
    assert search.evaluate(FIRST.format(f"exit code {int(code)}")).startswith("runbook")
    assert search.evaluate(FIRST.format(heading(code))) == f"runbook#{anchor(heading(code))}"


def test_a_heading_of_another_page_comes_before_pages_that_have_its_words(search: Chromium) -> None:
    assert search.evaluate(FIRST.format("several environments")) == "howto#several-environments"
