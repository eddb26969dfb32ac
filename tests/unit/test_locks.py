"""Nothing is installed without a hash, and a bastion gets what hivekeys imports and no more."""

import importlib.metadata
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.builders.project import PROJECT

LOCKS = sorted((PROJECT / "requirements").glob("*.lock"))
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())
MAKEFILE = (PROJECT / "Makefile").read_text()


def entries(name: str) -> dict[str, list[str]]:
    """Every requirement of a lock, with the lines below it."""
    found: dict[str, list[str]] = {}
    for line in (PROJECT / "requirements" / f"{name}.lock").read_text().splitlines():
        if line[0] not in " #":
            found[line.removesuffix(" \\")] = below = []
        else:
            below.append(line)
    return found


def pins(name: str) -> dict[str, set[str]]:
    """The versions of each package: several where Python's version decides."""
    found: dict[str, set[str]] = {}
    for text in entries(name):
        requirement = Requirement(text)
        found.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    return found


def needed(requirements: list[str], extra: str = "") -> set[str]:
    """The packages that these need here, and those that they need in turn."""
    here = {name: str(value) for name, value in default_environment().items()}
    found: set[str] = set()
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({**here, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found |= {name, *needed(importlib.metadata.requires(name) or [])}
    return found


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_package_of_a_lock_is_pinned_and_has_a_hash(path: Path) -> None:
    for text, below in entries(path.stem).items():
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==[\w.]+( ;|$)", text), text
        assert any("--hash=sha256:" in line for line in below), text


def test_a_bastion_gets_what_hivekeys_needs_and_nothing_else() -> None:
    assert needed(DECLARED["project"]["dependencies"]) <= pins("runtime").keys()
    assert pins("runtime").keys() & {"pytest", "mypy", "ruff", "ansible-core", "hatchling"} == set()
    assert len(pins("runtime")) < 30


def test_the_build_backend_is_locked_as_it_is_declared() -> None:
    (backend,) = DECLARED["build-system"]["requires"]
    assert backend in entries("build")
    assert needed([backend, "editables"]) <= pins("build").keys()


@pytest.mark.parametrize("name", ["runtime", "build", "ansible"])
def test_what_is_tested_is_what_a_bastion_gets(name: str) -> None:
    tested = pins("test")
    assert {package: tested.get(package) for package in pins(name)} == pins(name)


def test_make_fetches_nothing_that_has_no_hash() -> None:
    """pip is called with locks alone; what is built here is built with no network at all."""
    recipes = [line for line in MAKEFILE.replace("\\\n", " ").splitlines() if line.startswith("\t")]
    calls = [line for line in recipes if re.search(r"\$\((PIP|LOCKED)\)|bin/pip\b", line)]
    assert len(calls) >= 7
    assert [line for line in calls if not re.search(r"\$\(LOCKED\)|--require-hashes|--no-index", line)] == []
    locks = set(re.findall(r"requirements/(\w+)\.lock", MAKEFILE)) | {"docs", "dist", "mutants", "stores"}
    assert locks == {path.stem for path in LOCKS}


def test_an_older_python_is_refused_with_the_words_that_name_another(tmp_path: Path) -> None:
    """As on RHEL 9, whose `python3` is 3.9 and has 3.11 beside it."""
    older = tmp_path / "python3"
    older.write_text('#!/bin/sh\n[ "$1" = --version ] && exec echo "Python 3.9.18"\nexit 1\n')
    older.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "requirements/runtime.lock", "requirements/build.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, tmp_path / name)
    words = ["make", "install", f"PYTHON={older}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "needs Python 3.11 or newer, and this is Python 3.9.18; name another: make install PYTHON=" in done.stdout
    assert not (tmp_path / ".venv").exists()
