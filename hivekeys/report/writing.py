"""Renders the page as HTML or Markdown. Pure: the templates are part of the program, as a module is.

No text of a host, an operator or another bastion is markup: HTML escapes every word, Markdown every character that
means something there.
"""

import functools
from typing import TYPE_CHECKING

from hivekeys.report.page import Page

if TYPE_CHECKING:
    from jinja2 import Environment

SIGNS = frozenset("\\`*_{}[]()#+!|<>&~")  # of Markdown, and of the HTML that it lets through


def html(page: Page) -> str:
    """One file that needs nothing else: no network, no script; light and dark; made to be printed as well."""
    return _for_html().get_template("run.html.j2").render(page=page)


def markdown(page: Page) -> str:
    """For a ticket or a review: GitHub's Markdown."""
    return _for_markdown().get_template("run.md.j2").render(page=page)


def plain(text: str) -> str:
    """The text escaped for Markdown and HTML, also where an address would become a link."""
    said = "".join(f"\\{sign}" if sign in SIGNS else sign for sign in text)
    return said.replace("://", ":\\/\\/").replace("www.", "www\\.")


@functools.cache
def _for_html() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  `fab status` does not wait for it

    loader = PackageLoader("hivekeys.report")
    return Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True)


@functools.cache
def _for_markdown() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    return Environment(  # noqa: S701  it is no HTML: `finalize` escapes every word that is filled in
        loader=PackageLoader("hivekeys.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: plain(str(value)),
    )
