"""Makes docs/map.md from the first sentence of each module, so that a module is described once: where it stands."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAP = HERE / "map.md"
ROOT = HERE.parent
PARTS = ("hivekeys", "docs", "bench", "tests/builders")
HEAD = """\
# Map of the code

Made from the first sentence of each module by `python -m docs.generate`; do not edit. [The design](design.md) says why
the packages are these and which may import which. *pure*: does no I/O and imports nothing that does.

| | |
| --- | --- |
"""


def code_map() -> str:
    """The whole page."""
    top = HEAD + f"| `fabfile.py` | {first_sentence(ROOT / 'fabfile.py')} |\n"
    packages = (package for part in PARTS for package in _packages(ROOT / part))
    return top + "".join(map(_section, packages))


def first_sentence(path: Path) -> str:
    """What a module says of itself, on one line; "" for one that says nothing."""
    words = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.?!])\s", words)[0]


def is_pure(path: Path) -> bool:
    """Whether a module's docstring says so."""
    return bool(re.search(r"\bPure[.:]", ast.get_docstring(ast.parse(path.read_text())) or ""))


def _packages(folder: Path) -> Iterator[Path]:
    """A package and those in it, by name."""
    yield folder
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").is_file():
            yield from _packages(inner)


def _section(package: Path) -> str:
    own = package / "__init__.py"
    words = f"{first_sentence(own)}\n\n" if own.is_file() else ""
    rows = "".join(_row(path) for path in sorted(package.glob("*.py")) if path != own)
    table = f"| Module | Is for |\n| --- | --- |\n{rows}" if rows else ""
    return f"\n## {package.relative_to(ROOT)}/\n\n{words}{table}"


def _row(path: Path) -> str:
    words = first_sentence(path).replace("|", "\\|")
    return f"| `{path.name}` | {words}{' *pure*' if is_pure(path) else ''} |\n"
