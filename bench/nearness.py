"""Which tests reach a module by their imports, the nearest first: these are the likeliest to notice a change."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("hivekeys", "tests")


class Imports:
    """Who imports whom in the project of the current directory; all paths are relative to it."""

    def __init__(self) -> None:
        self._importers: dict[Path, set[Path]] = defaultdict(set)
        for path in (path for folder in FOLDERS for path in Path(folder).rglob("*.py")):
            for imported in _imported(path):
                self._importers[imported].add(path)

    def tests_of(self, module: Path) -> list[Path]:
        """The files in tests/unit that reach the module, the nearest first."""
        steps, ring = {module: 0}, [module]
        while ring:
            ring = sorted({path for near in ring for path in self._importers[near]} - steps.keys())
            steps |= dict.fromkeys(ring, 1 + max(steps.values()))
        return [path for path in steps if path.is_relative_to("tests/unit") and path.name.startswith("test_")]


def _imported(path: Path) -> Iterator[Path]:
    """The files that a file imports, late imports too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            stem = Path(*name.split("."))
            yield from (found for found in (stem.with_suffix(".py"), stem / "__init__.py") if found.is_file())
