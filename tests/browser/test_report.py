"""The page of a run in Chromium: nothing is fetched, nothing complains; it is read by eye, by ear and on paper."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.journal.events import Phase
from hivekeys.journal.fold import fold
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.report.page import page
from hivekeys.report.writing import html
from tests.builders.recorded import Teller, fleet_of

from .chromium import Chromium

ILL = Cause(Trouble.START_FAILED, "Job for rbee-hive.service failed <script>alert(1)</script>")
# The contrast of every text with what is behind it, by WCAG 2's formula (https://www.w3.org/TR/WCAG22/#contrast-minimum).
CONTRAST = """
(() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const linear = c => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(linear)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const found = channels(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const worst = {ratio: 99};
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some(one => one.nodeType === 3 && one.textContent.trim())) continue;
    if (["title", "desc", "STYLE"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const ink = channels(node.ownerSVGElement ? style.fill : style.color);
    const [one, two] = [light(ink), light(behind(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < worst.ratio) Object.assign(worst, {ratio, tag: node.tagName, text: node.textContent.trim()});
  }
  return worst;
})()
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A rotation with a host that failed, a revocation, and a run over a thousand hosts."""
    folder = tmp_path_factory.mktemp("pages")
    rotated = Teller(fleet_of(7), ill={"hive4": ILL})
    rotated.whole()
    revoked = Teller(fleet_of(20), ill={"hive9": ILL}, lost=("hive7",))
    revoked.revoke()
    large = Teller(fleet_of(999), batch=100, ill={"hive17": ILL, "hive800": ILL})
    large.whole()
    for name, teller in {"rotated": rotated, "revoked": revoked, "large": large}.items():
        (folder / f"{name}.html").write_text(html(page(fold(teller.events), teller.events, teller.fleet)))
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["rotated", "revoked", "large"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_word_on_the_console_and_asks_for_nothing_else(
    chromium: Chromium, pages: dict[str, Path], name: str, scheme: str
) -> None:
    chromium.look(scheme)
    chromium.open(pages[name])
    assert chromium.happened("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    asked = [event["request"]["url"] for event in chromium.happened("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]


def test_it_follows_the_readers_colour_scheme(chromium: Chromium, pages: dict[str, Path]) -> None:
    papers = {}
    for scheme in ("light", "dark"):
        chromium.look(scheme)
        chromium.open(pages["rotated"])
        papers[scheme] = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert papers == {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 20, 27)"}


@pytest.mark.parametrize("name", ["rotated", "revoked", "large"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(
    chromium: Chromium, pages: dict[str, Path], name: str, scheme: str
) -> None:
    chromium.look(scheme)
    chromium.open(pages[name])
    worst = chromium.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst


def test_a_screen_reader_finds_landmarks_headings_captions_and_pictures_by_name(
    chromium: Chromium, pages: dict[str, Path]
) -> None:
    chromium.open(pages["revoked"])
    told = chromium.accessibility()
    roles = {role for role, _ in told}
    assert {"banner", "main", "contentinfo", "heading", "table", "rowheader", "columnheader"} <= roles
    assert ("heading", "Not over: 2 of 21 hosts may still accept the old token") in told
    pictures = [name for role, name in told if role in ("image", "img", "graphics-document", "SvgRoot") and name]
    assert any(name.startswith("Timeline of the run") for name in pictures), pictures
    assert any(name.startswith("Hosts that still accept the old token") for name in pictures), pictures
    tables = [name for role, name in told if role == "table"]
    assert tables == ["Every host of the run, and what its service answered"]
    named = ("region", "image", "img", "table", "heading")
    assert [role for role, name in told if role in named and not name] == []


def test_the_pictures_are_where_they_belong(chromium: Chromium, pages: dict[str, Path]) -> None:
    """Every bar lies right of its host's name, inside the picture, and failed hosts are drawn in another colour."""
    chromium.look("light")
    chromium.open(pages["rotated"])
    inside = chromium.evaluate(
        "(() => { const svg = document.querySelector('main svg'); const all = svg.getBoundingClientRect();"
        " return [...svg.querySelectorAll('rect, text')].every(one => { const box = one.getBoundingClientRect();"
        " return box.left >= all.left - 1 && box.right <= all.right + 1 && box.bottom <= all.bottom + 1; }); })()"
    )
    assert inside is True
    fills = chromium.evaluate(
        "['turn', 'failed'].map(name => getComputedStyle(document.querySelector('main svg rect.' + name)).fill)"
    )
    assert fills[0] != fills[1]


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_the_page_itself_never_scrolls_sideways(chromium: Chromium, pages: dict[str, Path], width: int) -> None:
    for path in pages.values():
        chromium.open(path, width=width)
        wide = chromium.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, path.name


@pytest.mark.parametrize("width", [360, 800, 1200])
def test_no_figure_is_wider_than_its_tile(chromium: Chromium, tmp_path: Path, width: int) -> None:
    """The longest: two tokens, the one that is there and the one that is not."""
    teller = Teller(fleet_of(3))
    teller.before()
    teller.turn()
    teller.stop("the operator asked to roll back")
    teller.phase(Phase.ROLLBACK, [host.name for host in teller.fleet.hosts])
    taken_back = tmp_path / "taken-back.html"
    taken_back.write_text(html(page(fold(teller.events), teller.events, teller.fleet)))
    chromium.look("light")
    chromium.open(taken_back, width=width)
    over = "[...document.querySelectorAll('.tiles dd')].map(one => one.scrollWidth - one.clientWidth)"
    assert max(chromium.evaluate(over)) <= 0
    assert "(not " in chromium.evaluate("document.querySelector('.tiles').innerText")


def test_a_large_fleet_is_short_on_the_screen_and_whole_on_paper(chromium: Chromium, pages: dict[str, Path]) -> None:
    chromium.look("light")
    chromium.open(pages["large"])
    assert chromium.evaluate("document.documentElement.scrollHeight") < 5000
    shown = "getComputedStyle(document.querySelector('details:not([open])'), '::details-content').contentVisibility"
    assert chromium.evaluate(shown) == "hidden"
    chromium.look("dark", "print")
    assert chromium.evaluate(shown) == "visible"
    assert chromium.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = chromium.printed()
    assert printed.startswith(b"%PDF-")
    sheets = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 15 < sheets < 60, "a thousand rows, and not a host a sheet"


def test_a_screenshot_has_something_on_it(chromium: Chromium, pages: dict[str, Path]) -> None:
    chromium.look("light")
    chromium.open(pages["rotated"])
    shot = chromium.screenshot()
    width, height = struct.unpack(">II", shot[16:24])
    assert width > 1000
    assert height > 1000
    assert len(shot) > 50_000
