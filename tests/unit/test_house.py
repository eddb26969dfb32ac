"""The repository's rules (DESIGN, "The house"): who may import whom, how large a module may be, what has to be said."""

import ast
import functools
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

import fabfile
from hivekeys.protocol.causes import HINTS, Trouble
from hivekeys.tasks.options.declared import HELP
from tests.builders.project import PROJECT
from tests.conftest import LONG, WAITING

TASKS = sorted((PROJECT / "hivekeys" / "tasks").rglob("*.py"))
ENGINE = sorted({*(PROJECT / "hivekeys").rglob("*.py")} - {*TASKS})
HOST = PROJECT / "hivekeys" / "host"
TESTS = sorted((PROJECT / "tests").rglob("*.py"))

# Each line may import itself and what stands above it; the rooms of one line know nothing of each other.
ROOMS = (
    ("errors", "token", "service", "fleet", "files", "age", "text"),  # leaves: these may know each other
    ("inventory",),
    ("protocol",),
    ("journal",),
    ("ssh",),
    ("report", "verify"),
    ("audit", "status"),
    ("rotation",),
    ("upkeep", "backups"),
    ("bastion", "lab"),
    ("api",),
)
LEAVES = ROOMS[0]
ON_THE_HOST = "host"  # read as text
OUTSIDE_WORLD = {
    "os",
    "socket",
    "subprocess",
    "time",
    "threading",
    "fabric",
    "paramiko",
    "invoke",
    "pathlib",
    "sqlite3",
}

BUDGET = 400  # lines of a module
HALF = 150  # lines that half of the modules stay below
ENTRIES = 22  # at the top of hivekeys/: twenty for the engine, and above them bastion and api


def module(path: Path) -> str:
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room(name: str) -> str:
    """The room that a module of the engine stands in; "" for the package itself, and for what is not the engine's."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "hivekeys" else ""


def floor(name: str) -> int:
    """How far down a room stands."""
    return next(number for number, line in enumerate(ROOMS) if name in line)


def is_pure(path: Path) -> bool:
    """What a module's own first words say: "… Pure."."""
    return bool(re.search(r"\bPure[.:]", ast.get_docstring(ast.parse(path.read_text())) or ""))


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file names, in functions too; not what only a type checker imports."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:  # only tests may import from beside them
                continue
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (PROJECT / whole.replace(".", "/")).with_suffix(".py").exists() or (
                    PROJECT / whole.replace(".", "/") / "__init__.py"
                ).exists()
                yield whole if is_module else str(node.module)


def naming(*packages: str) -> set[str]:
    """Modules of engine and tasks that name one of these packages."""
    files = [*ENGINE, *TASKS]
    return {module(path) for path in files if {name.split(".")[0] for name in imports(path)} & set(packages)}


def test_every_module_stands_in_a_room() -> None:
    assert {room(module(path)) for path in ENGINE} - {"", ON_THE_HOST} == {name for line in ROOMS for name in line}


def test_the_house_is_seen_at_a_glance() -> None:
    files = [path.relative_to(PROJECT / "hivekeys") for path in ENGINE]  # a room that moved leaves __pycache__ behind
    entries = {path.parts[0] for path in files} - {"__init__.py"}
    assert len(entries) <= ENTRIES


@pytest.mark.parametrize("path", ENGINE, ids=module)
def test_imports_point_down_only(path: Path) -> None:
    here = room(module(path))
    names = [name for name in imports(path) if name.partition(".")[0] == "hivekeys"]
    if here == ON_THE_HOST:
        allowed = {ON_THE_HOST}
    elif here:
        above = {name for line in ROOMS[: floor(here)] for name in line}
        allowed = above | {here} | (set(LEAVES) if here in LEAVES else set())
    else:
        allowed = set()
    assert {room(name) for name in names} - {""} <= allowed
    assert not [name for name in imports(path) if name.split(".")[0] in ("fabfile", "tests")]
    relative = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == [], "a relative import would hide from this test"


PURE = [path for path in ENGINE if is_pure(path)]


def test_most_of_the_engine_is_pure() -> None:
    assert len(PURE) > 80


@pytest.mark.parametrize("path", PURE, ids=module)
def test_what_says_that_it_is_pure_reaches_nothing_outside_nor_what_is_not(path: Path) -> None:
    names = imports(path)
    assert {name.split(".")[0] for name in names} & OUTSIDE_WORLD == set()
    pure = {module(other) for other in PURE}
    packages = {module(other) for other in ENGINE if other.name == "__init__.py" and not imports(other)}
    keys = {"hivekeys.age"}  # whose files are read when something is sealed, and not to know a key from a file's name
    assert {name for name in names if room(name)} - pure - packages - keys == set()


def test_tasks_reach_ssh_only_through_the_engine() -> None:
    assert all(name.startswith("hivekeys.ssh.") for name in naming("fabric", "paramiko"))


def test_pydantic_stays_where_documents_become_values() -> None:
    documents = {"inventory.schema", "journal.store", "protocol.wire", "rotation.shards.messages"}
    assert naming("pydantic") == {f"hivekeys.{name}" for name in documents}


def test_age_is_in_one_module() -> None:
    assert naming("pyrage") == {"hivekeys.age"}


def test_invoke_is_the_tasks_alone() -> None:
    assert all(name.startswith("hivekeys.tasks.") for name in naming("invoke"))


def test_nobody_but_tests_imports_the_agent() -> None:
    others = [path for path in [*ENGINE, *TASKS] if room(module(path)) != ON_THE_HOST]
    assert not [path for path in others if ON_THE_HOST in {room(name) for name in imports(path)}]


def test_the_agent_needs_nothing_but_the_standard_library() -> None:
    names = {name for path in HOST.rglob("*.py") for name in imports(path) if room(name) != ON_THE_HOST}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_what_is_sent_together_does_not_take_each_others_names() -> None:
    """A host reads it as one text: a second `SHOWN` would quietly take the first one's place."""
    together = Counter(name for path in HOST.rglob("*.py") for name in defined_in(path))
    assert {name for name, times in together.items() if times > 1} == {"TYPE_CHECKING"}


def defined_in(path: Path) -> set[str]:
    """What a host's text defines at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


# -- names

# Words that a newcomer would have to decode: they name nothing outside a function.
RIDDLES = """
    story roads pulse beat door hide hear heard told tell kept keeping upkept found one each shown said sight norm leg
    legs flight way late ahead met again condemned joining recall usage roster notice
""".split()  # noqa: SIM905  a table of words is read, not a column of quotes
PROMISED = {  # as the journal, the wire, a document or the kernel has them
    "Outcome.met",
    "Audited.found",
    "HostTrail.found",
    "Tried.told",
    "Finding.found",
    "Tally.found",
    "Verb.RECALL",
    "Recall",
    "recall",
    "ExitCode.USAGE",
    "ONE",
    "Accepts.ONE",
}


def names_in(body: list[ast.stmt], scope: str = "") -> Iterator[str]:
    """Classes, functions, methods, fields and constants; of a method also what it keeps in `self`."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield scope + node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (scope + name.id for at in targets for name in ast.walk(at) if isinstance(name, ast.Name))
        if isinstance(node, ast.ClassDef):
            yield from names_in(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and scope:
            stored = [at for at in ast.walk(node) if isinstance(at, ast.Attribute) and isinstance(at.ctx, ast.Store)]
            yield from (scope + at.attr for at in stored if ast.unparse(at.value) == "self")


@pytest.mark.parametrize("path", [*ENGINE, *TASKS], ids=module)
def test_no_name_is_a_riddle(path: Path) -> None:
    names = {path.stem, *names_in(ast.parse(path.read_text()).body)} - PROMISED
    assert [name for name in sorted(names) if name.split(".")[-1].strip("_").lower() in RIDDLES] == []


# -- size and manners


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_modules_stay_small() -> None:
    sizes = {module(path): lines(path) for path in [*ENGINE, *TASKS]}
    assert {name: size for name, size in sizes.items() if size > BUDGET} == {}
    assert sorted(sizes.values())[len(sizes) // 2] < HALF


@pytest.mark.parametrize("path", [*ENGINE, *TASKS], ids=module)
def test_a_module_begins_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def calls(path: Path) -> set[str]:
    """What a file calls or decorates with, as it is written."""
    tree = ast.parse(path.read_text())
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | set(imports(path))


def test_no_test_replaces_what_it_tests() -> None:
    """If a test wants a patch, the seam is in the wrong place."""
    wrong = {module(path) for path in TESTS if any(name.startswith("unittest.mock") for name in imports(path))}
    assert wrong == set()


def test_no_module_of_tests_imports_from_another() -> None:
    """What two of them need is a helper: it stands in tests/builders/, or beside its suite's tests."""
    wrong = {
        (str(path.relative_to(PROJECT)), node.module)
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and any(part.startswith("test_") for part in [*(node.module or "").split("."), *(n.name for n in node.names)])
    }
    assert wrong == set()


def test_the_order_of_the_tests_names_files_that_are_there() -> None:
    assert [file for file in (*WAITING, *LONG) if not (PROJECT / "tests" / file).exists()] == []


def test_no_unit_test_sleeps() -> None:
    """One may: its stand-in service sends a byte now and then, and nobody waits for that sleep to end."""
    sleepers = {path.name for path in TESTS if "unit" in path.parts and "time.sleep" in calls(path)}
    assert sleepers <= {"test_agent_system.py"}


# -- what an operator is told


def test_every_trouble_has_a_hint() -> None:
    assert HINTS.keys() == set(Trouble)
    assert all(hint and "\n" not in hint for hint in HINTS.values())


TASK_NAMES = sorted(fabfile.namespace.task_names)
EXPLAINED = {name: set(fabfile.namespace[name].help) for name in TASK_NAMES}  # Invoke empties it when it parses


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_verb_is_found_by_the_name_of_its_file(name: str) -> None:
    assert fabfile.namespace[name].body.__module__ == f"hivekeys.tasks.{name.partition('.')[0]}"


def test_every_option_is_declared_with_its_help_in_one_place() -> None:
    """Another verb may have an option of the same name: then it means something else, and its help says so."""
    declared = {
        (option.metadata[HELP], option.name, place) for name in TASK_NAMES for option, place in options_of(name)
    }
    times = Counter(help_text for help_text, _, _ in declared)
    assert {help_text for help_text, number in times.items() if number > 1} == set()


def options_of(name: str) -> Iterator[tuple[Field[Any], type]]:
    """The options of a verb, and the class that declares each."""
    for parameter in inspect.signature(inspect.unwrap(fabfile.namespace[name].body)).parameters.values():
        group = parameter.annotation
        for option in fields(group):
            yield option, next(kind for kind in group.__mro__ if option.name in inspect.get_annotations(kind))


@pytest.mark.parametrize("name", TASK_NAMES)
def test_every_task_says_in_one_line_what_it_does_and_explains_every_option(name: str) -> None:
    task = fabfile.namespace[name]
    help_text = (task.__doc__ or "").strip()
    assert help_text
    assert "\n" not in help_text
    explained = {option.replace("-", "_") for option in EXPLAINED[name]}
    options = set(inspect.signature(task.body).parameters) - {"_", "context"}
    assert options <= explained, options - explained


BEFORE_VERBS = ("commandline", "completion")  # they look at what was typed
LATE = [path for path in TASKS if path.parent.name in ("work", "terminal") and path.stem not in BEFORE_VERBS]


@pytest.mark.parametrize("path", LATE, ids=module)
def test_what_is_imported_as_a_verb_begins_imports_at_its_top(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    late = [node for each in functions for node in ast.walk(each) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert late == []


def test_the_list_of_tasks_does_not_wait_for_what_only_a_run_needs() -> None:
    """`fab --list` has half a second; fab itself brings paramiko."""
    heavy = ("rich", "pydantic", "sqlite3", "platformdirs", "hivekeys.tasks.work", "hivekeys.tasks.terminal.live")
    script = f"import sys, fabfile; print(*sorted({set(heavy)} & sys.modules.keys()))"
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == []
