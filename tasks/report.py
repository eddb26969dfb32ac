"""`fab report`: a run to read. Contacts no host."""

import json as jsonlib
import sys
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from hivekeys.errors import UserError
from tasks.options.frame import chosen, verb

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.report.page import Page
from tasks.options.recorded import HELP, Recorded, gathered

FORMATS = ("table", "json", "markdown", "html")


@task(
    help={
        **HELP,
        "run": "the run to tell of: an id that `fab history` lists (default: the newest that brought a token)",
        "format": f"{', '.join(FORMATS)} (--json is --format json)",
        "output": "write to this file instead of stdout",
    },
    auto_shortflags=False,
)
@verb
def report(
    _: Context,
    fleet: str = "",
    run: str = "",
    format: str = "table",
    output: str = "",
    findings: str = "",
    audit: str = "",
    state_dir: str = "",
    json: bool = False,
) -> None:
    """Show how a run went: table, JSON, Markdown, or one HTML page with a timeline; contacts no host."""
    shape = "json" if json else format
    if shape not in FORMATS:
        raise UserError(f"--format {shape}: expected {', '.join(FORMATS)}")
    from hivekeys.files import destination, write_whole

    found, _hosts = chosen(fleet, "", "")
    path = destination("--output", output) if output else None
    text = written_as(gathered(found, run, findings, audit, state_dir), found, shape)
    if path:
        write_whole(path, text)
    else:
        sys.stdout.write(_of_encoding(text, sys.stdout.encoding) if shape == "html" else text)


def _of_encoding(page: str, encoding: str) -> str:
    """An HTML page says that it is UTF-8: in another encoding it is written in ASCII, which is both."""
    is_utf_8 = encoding.lower().replace("-", "") == "utf8"
    return page if is_utf_8 else page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def page_of(told: Recorded, fleet: "Fleet") -> "Page":
    from hivekeys.report.page import page

    return page(told.run, told.events, fleet, told.findings, told.review)


def written_as(told: Recorded, fleet: "Fleet", shape: str) -> str:
    from hivekeys.report import document, writing

    match shape:
        case "json":
            return jsonlib.dumps(document(told.run, fleet), indent=2) + "\n"
        case "markdown":
            return writing.markdown(page_of(told, fleet))
        case "html":
            return writing.html(page_of(told, fleet))
        case _:
            return _table(told, fleet)


def _table(told: Recorded, fleet: "Fleet") -> str:
    from rich.console import Console

    from hivekeys import report as words

    run = told.run
    lines = [
        *words.failure_lines(run, fleet),
        f"stopped: {run.stopped}" if run.stopped else "",
        words.next_step(run, fleet),
    ]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    with console.capture() as said:
        table = words.result_table(run, fleet, console.width)
        console.print(table)
        for line in (*words.legend(run, table), *filter(None, lines), words.past_summary(run)):
            console.print(line, markup=False, soft_wrap=True)
    return said.get()
