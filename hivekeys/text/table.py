"""Draws the tables of all verbs. Pure."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


def plain_table(title: str) -> Table:
    """The common look: seven columns fit into 80 characters."""
    return Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
