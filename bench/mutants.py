"""Mutation testing: changes the code in one place at a time, and lists the changes that no fast test notices.

cosmic-ray makes the changes, in a copy of the project, so that nothing here is ever left changed. It writes a whole
file for each: the agent's modules, which are sent to hosts as text, are mutated like all others.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from cosmic_ray.commands.init import _all_work_items  # what its `init` stores; its sessions have no random sample
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome

from bench.nearness import Imports

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("protocol", "journal", "rotation", "host")
PYTEST = f"{sys.executable} -m pytest -q -x -p no:cacheprovider"
SLACK = 30  # seconds a mutant may take beyond twice the tests' own time; who takes longer is found


def main() -> int:
    """Prints counts for each package, and each survivor with file, line and diff. 1 when a mutant survived."""
    options = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    options.add_argument("--sample", type=int, default=30, help="mutants in each package")
    options.add_argument("--seed", type=int, default=1, help="the same seed and code: the same mutants")
    options.add_argument("--packages", default=",".join(PACKAGES), help="of hivekeys/, separated by commas")
    options.add_argument("--module", default="", help="only modules of this name, such as store")
    options.add_argument("--narrow", action="store_true", help="survivors are not shown to the tests of other packages")
    chosen = options.parse_args()
    os.nice(19)
    with tempfile.TemporaryDirectory(prefix="hivekeys-mutants-") as folder:
        copy_to(Path(folder))
        os.chdir(folder)
        # A test may start `fab`, which would import the installed package, the one without a mutant.
        os.environ |= {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        counts = {
            package: tried(package, chosen.module, chosen.sample, chosen.seed, narrow=chosen.narrow)
            for package in chosen.packages.split(",")
        }
    print(f"\nseed {chosen.seed}")
    for package, outcomes in counts.items():
        everywhere = outcomes["found"] + outcomes["found elsewhere"]
        print(f"{package:10} {everywhere} of {outcomes.total()} found, {outcomes['found']} by tests/unit/{package}")
    return 1 if any(outcomes["survived"] for outcomes in counts.values()) else 0


def copy_to(folder: Path) -> None:
    """Copies the files that git knows of, as they stand, and lends the copy this environment."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")


def tried(package: str, module: str, size: int, seed: int, *, narrow: bool) -> Counter[str]:
    """Outcomes of a sample of a package's mutants. Only what its own tests let pass is shown to all others."""
    imports = Imports()
    modules = sorted(Path("hivekeys", package).rglob(f"{module or '*'}.py"))
    reaching = {path: imports.tests_of(path) for path in modules}
    own, others = (
        Judges(
            {
                path: [test for test in tests if (f"unit/{package}" in str(test)) is mine]
                for path, tests in reaching.items()
            }
        )
        for mine in (True, False)
    )
    outcomes: Counter[str] = Counter()
    for mutant in sample(modules, size, seed):
        diff = own.let_pass(mutant)
        outcome = "survived" if diff else "found"
        if diff and not narrow and not others.let_pass(mutant):
            outcome = "found elsewhere"
        outcomes[outcome] += 1
        print(f"{outcome} {mutant.module_path}:{mutant.start_pos[0]} {mutant.operator_name}", flush=True)
        if diff:
            print(diff, flush=True)
    return outcomes


class Judges:
    """Tests of a package: for each module those that reach it, the nearest first."""

    def __init__(self, tests: dict[Path, list[Path]]) -> None:
        self._tests = tests

    def let_pass(self, mutant: MutationSpec) -> str:
        """The diff of a mutant that none of them notices, "" for one that is found."""
        tests = self._tests[Path(mutant.module_path)]
        result = mutate_and_test([mutant], _command(tests), self._limit)
        if result.worker_outcome is not WorkerOutcome.NORMAL:
            sys.exit(f"{mutant.module_path}:{mutant.start_pos[0]} could not be mutated:\n{result.output}")
        return str(result.diff) if result.test_outcome is TestOutcome.SURVIVED else ""

    @cached_property
    def _limit(self) -> float:
        """Seconds that a mutant may take, by what all of them take without one."""
        started = time.monotonic()
        command = _command(sorted({test for tests in self._tests.values() for test in tests}))
        unchanged = subprocess.run(command.split(), check=False, capture_output=True, text=True)
        if unchanged.returncode:
            sys.exit(f"fails without a mutant: {command}\n{unchanged.stdout[-2000:]}")
        return 2 * (time.monotonic() - started) + SLACK


def _command(tests: list[Path]) -> str:
    return " ".join((PYTEST, *map(str, tests))) if tests else "true"


def sample(modules: list[Path], size: int, seed: int) -> list[MutationSpec]:
    """Random places, and one random change at each: an operator that can become ten others counts once."""
    places: dict[object, list[MutationSpec]] = defaultdict(list)
    for path in modules:
        annotated = set(annotated_places(path))
        for item in _all_work_items([path], {}):
            (mutant,) = item.mutations
            if mutant.start_pos not in annotated:
                places[path, mutant.start_pos].append(mutant)
    choice = random.Random(seed)  # noqa: S311  a sample, no secret
    return [choice.choice(places[place]) for place in choice.sample(list(places), min(size, len(places)))]


def annotated_places(path: Path) -> Iterator[tuple[int, int]]:
    """The places (line, column) of operators in annotations, which no test can notice: `int | None`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for found in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(found, ast.expr):
                end = found.end_col_offset or 0
                yield from ((found.lineno, column) for column in range(found.col_offset, end))


if __name__ == "__main__":
    sys.exit(main())
