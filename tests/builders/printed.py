"""A table as a terminal shows it."""

from rich.console import Console
from rich.table import Table


def printed(table: Table, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def row(table: Table, name: str, width: int = 80) -> str:
    """The line that shows this host or run."""
    return next(line.strip() for line in printed(table, width).splitlines() if name in line.split())
