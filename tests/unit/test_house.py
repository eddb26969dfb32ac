"""The repository's rules (DESIGN, "The house"): who may import whom, how large a module may be, what has to be said."""

import ast
import functools
import inspect
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import fabfile
from hivekeys.protocol.causes import HINTS, Trouble

ROOT = Path(__file__).resolve().parents[2]
ENGINE = sorted((ROOT / "hivekeys").rglob("*.py"))
TASKS = sorted((ROOT / "tasks").rglob("*.py"))
HOST = ROOT / "hivekeys" / "host"
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LEAVES = {
    "hivekeys",
    "hivekeys.protocol.audited",
    "hivekeys.protocol.causes",
    "hivekeys.protocol.change",
    "hivekeys.errors",
    "hivekeys.fleet",
    "hivekeys.ssh.line",
    "hivekeys.protocol.listeners",
    "hivekeys.journal.events",
    "hivekeys.journal.clock",
    "hivekeys.ssh.password",
    "hivekeys.protocol.restriction",
    "hivekeys.text.clean",
    "hivekeys.protocol.shown",
    "hivekeys.token",
    "hivekeys.protocol.tombstone",
    "hivekeys.protocol.inspected",
}
PURE = {
    "hivekeys.audit",
    "hivekeys.backups.backup",
    "hivekeys.backups.shelf",
    "hivekeys.backups.signature",
    "hivekeys.journal.chain",
    "hivekeys.protocol.doubles",
    "hivekeys.upkeep.changes",
    "hivekeys.ssh.excluded",
    "hivekeys.journal.debts",
    "hivekeys.journal.downtime",
    "hivekeys.journal.estimate",
    "hivekeys.report.evidence",
    "hivekeys.journal.exposure",
    "hivekeys.journal.gap",
    "hivekeys.protocol.hints",
    "hivekeys.journal.history",
    "hivekeys.ssh.hostkeys",
    "hivekeys.journal.hostrun",
    "hivekeys.rotation.steps",
    "hivekeys.status.metrics",
    "hivekeys.text.names",
    "hivekeys.rotation.preview",
    "hivekeys.journal.progress",
    "hivekeys.report",
    "hivekeys.inventory.table",
    "hivekeys.journal.run",
    "hivekeys.journal.sittings",
    "hivekeys.status.status",
    "hivekeys.verify",
    "hivekeys.rotation.waves",
    "hivekeys.protocol.wire",
}
EDGES = {
    "hivekeys.backups",
    "hivekeys.ssh.bootstrap",
    "hivekeys.files",
    "hivekeys.ssh.hostkeys.known_hosts",
    "hivekeys.ssh.hostkeys.known_hosts_file",
    "hivekeys.inventory",
    "hivekeys.journal.store",
    "hivekeys.ssh.limits",
    "hivekeys.journal.mark",
    "hivekeys.ssh.openssh",
    "hivekeys.files",
    "hivekeys.ssh.dialer",
    "hivekeys.journal.salvage",
    "hivekeys.ssh.session",
    "hivekeys.ssh.config_files",
    "hivekeys.ssh.settings",
    "hivekeys.journal.state_folder",
    "hivekeys.journal.tables",
}
SHELL = {
    "hivekeys.ssh.hostkeys.trusting",
    "hivekeys.upkeep.inheritance",
    "hivekeys.upkeep.install",
    "hivekeys.journal.recorder",
    "hivekeys.upkeep.current_token",
    "hivekeys.rotation.revocation",
    "hivekeys.rotation.rollout",
    "hivekeys.rotation.runner",
    "hivekeys.rotation.story",
    "hivekeys.upkeep.upkeep",
    "hivekeys.rotation.usage",
    "hivekeys.verify.survey",
}  # the loop, and what it is made of
LAB = {"hivekeys.lab"}  # rehearsal hosts: no part of a rotation
ON_THE_HOST = {"hivekeys.host"}  # read as text
PLACED = LEAVES | PURE | EDGES | SHELL | LAB | ON_THE_HOST
LEVELS = [LEAVES, PURE, EDGES, SHELL]  # each may import itself and what comes before it
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


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def unit(name: str) -> str:
    """What has a place in the house: the module itself, or the package that it is in. "" when neither has one."""
    if name in PLACED or "." not in name:
        return name if name in PLACED else ""
    return unit(name.rpartition(".")[0])


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
                is_module = (ROOT / whole.replace(".", "/")).with_suffix(".py").exists() or (
                    ROOT / whole.replace(".", "/") / "__init__.py"
                ).exists()
                yield whole if is_module else str(node.module)


def naming(*packages: str) -> set[str]:
    """Modules of engine and tasks that name one of these packages."""
    files = [*ENGINE, *TASKS]
    return {module(path) for path in files if {name.split(".")[0] for name in imports(path)} & set(packages)}


def test_every_module_has_a_place_in_the_house() -> None:
    assert {unit(module(path)) for path in ENGINE} == PLACED


@pytest.mark.parametrize("path", ENGINE, ids=module)
def test_imports_point_down_only(path: Path) -> None:
    here = unit(module(path))
    allowed: set[str] = set()
    for level in LEVELS:
        allowed |= level
        if here in level:
            break
    if here in LAB:
        allowed |= LAB
    mine = {unit(name) for name in imports(path) if name.split(".")[0] == "hivekeys"}
    assert mine - {here} <= allowed - ON_THE_HOST
    assert not [name for name in imports(path) if name.split(".")[0] in ("tasks", "fabfile", "tests")]
    relative = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == [], "a relative import would hide from this test"


@pytest.mark.parametrize("name", sorted((LEAVES | PURE) - {"hivekeys"}))
def test_pure_modules_and_leaves_do_not_reach_the_outside_world(name: str) -> None:
    paths = [path for path in ENGINE if unit(module(path)) == name]
    assert paths
    assert {found.split(".")[0] for path in paths for found in imports(path)} & OUTSIDE_WORLD == set()


def test_tasks_reach_ssh_only_through_the_engine() -> None:
    assert all(name.startswith("hivekeys.ssh.dialer") for name in naming("fabric", "paramiko"))


def test_pydantic_stays_where_documents_become_values() -> None:
    assert naming("pydantic") == {"hivekeys.inventory.schema", "hivekeys.journal.store", "hivekeys.protocol.wire"}


def test_age_is_in_one_module() -> None:
    assert naming("pyrage") == {"hivekeys.age"}


def test_invoke_is_the_tasks_alone() -> None:
    assert all(name.startswith("tasks") for name in naming("invoke"))


def test_nobody_but_tests_imports_the_agent() -> None:
    others = [path for path in [*ENGINE, *TASKS] if unit(module(path)) not in ON_THE_HOST]
    assert not [path for path in others if ON_THE_HOST & {unit(name) for name in imports(path)}]


def test_the_agent_needs_nothing_but_the_standard_library() -> None:
    names = {name for path in HOST.glob("*.py") for name in imports(path) if unit(name) not in ON_THE_HOST}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_what_is_sent_together_does_not_take_each_others_names() -> None:
    """A host reads it as one text: a second `SHOWN` would quietly take the first one's place."""
    together = Counter(name for path in HOST.glob("*.py") for name in defined_in(path))
    assert {name for name, times in together.items() if times > 1} == {"TYPE_CHECKING"}


def defined_in(path: Path) -> set[str]:
    """What a host's text defines at its top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found - {"EXTRA"}


# -- size and manners


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_modules_stay_small() -> None:
    sizes = {module(path): lines(path) for path in [*ENGINE, *TASKS] if unit(module(path)) not in ON_THE_HOST}
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
def test_every_task_says_in_one_line_what_it_does_and_explains_every_option(name: str) -> None:
    task = fabfile.namespace[name]
    help_text = (task.__doc__ or "").strip()
    assert help_text
    assert "\n" not in help_text
    explained = {option.replace("-", "_") for option in EXPLAINED[name]}
    options = set(inspect.signature(task.body).parameters) - {"_", "context"}
    assert options <= explained, options - explained


def test_the_list_of_tasks_does_not_wait_for_what_only_a_run_needs() -> None:
    """`fab --list` has half a second; fab itself brings paramiko."""
    script = "import sys, fabfile; print(*sorted({'rich', 'pydantic', 'sqlite3', 'platformdirs'} & sys.modules.keys()))"
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == []
