"""`fab report`: a run to read. Contacts no host."""

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hivekeys.errors import UserError
from hivekeys.tasks.options.declared import option
from hivekeys.tasks.options.output import FileOption, JsonOption
from hivekeys.tasks.options.recorded import RecordedOptions
from hivekeys.tasks.options.verb import verb
from hivekeys.tasks.terminal.document import fulfil

if TYPE_CHECKING:
    from hivekeys.fleet import Fleet
    from hivekeys.report.page import Page
    from hivekeys.tasks.work.recorded import Recorded

FORMATS = ("table", "json", "markdown", "html")


@dataclass(frozen=True, kw_only=True)
class ReportOptions(FileOption):
    """Which run, and how it is written."""

    run: str = option("the run to tell of: an id that `fab history` lists (default: the newest that brought a token)")
    format: str = option(f"{', '.join(FORMATS)} (--json is --format json)", default="table")


@verb
def report(scope: RecordedOptions, own: ReportOptions, output: JsonOption) -> None:
    """Show how a run went: table, JSON, Markdown, or one HTML page with a timeline; contacts no host."""
    shape = "json" if output.json else own.format
    if shape not in FORMATS:
        raise UserError(f"--format {shape}: expected {', '.join(FORMATS)}")
    from hivekeys.files import destination, write_whole
    from hivekeys.tasks.work.recorded import read_record

    fleet = scope.load()
    path = destination("--output", own.output) if own.output else None
    text = written_as(read_record(fleet, own.run, scope), fleet, shape)
    if path:
        write_whole(path, text)
    else:
        sys.stdout.write(_of_encoding(text, sys.stdout.encoding) if shape == "html" else text)
        fulfil()


def _of_encoding(page: str, encoding: str) -> str:
    """An HTML page says that it is UTF-8: in another encoding it is written in ASCII, which is both."""
    is_utf_8 = encoding.lower().replace("-", "") == "utf8"
    return page if is_utf_8 else page.encode("ascii", "xmlcharrefreplace").decode("ascii")


def page_of(record: "Recorded", fleet: "Fleet") -> "Page":
    from hivekeys.report.page import page

    return page(record.run, record.events, fleet, record.findings, record.review)


def written_as(record: "Recorded", fleet: "Fleet", shape: str) -> str:
    from hivekeys.report import document, writing

    match shape:
        case "json":
            return json.dumps(document(record.run, fleet), indent=2) + "\n"
        case "markdown":
            return writing.markdown(page_of(record, fleet))
        case "html":
            return writing.html(page_of(record, fleet))
        case _:
            return _table(record, fleet)


def _table(record: "Recorded", fleet: "Fleet") -> str:
    from rich.console import Console

    from hivekeys import report as words

    run = record.run
    lines = [
        *words.failure_lines(run, fleet),
        f"stopped: {run.stopped}" if run.stopped else "",
        words.next_step(run, fleet),
    ]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    with console.capture() as captured:
        table = words.result_table(run, fleet, console.width)
        console.print(table)
        for line in (*words.legend(run, table), *filter(None, lines), words.past_summary(run)):
            console.print(line, markup=False, soft_wrap=True)
    return captured.get()
