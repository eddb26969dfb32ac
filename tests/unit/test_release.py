"""`bin/release` refuses what would be a wrong release, names what is missing, and publishes nothing itself."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders.project import PROJECT

CHANGES = "# Changelog\n\n## [Unreleased]\n\n## [0.9.0] - 2026-12-01\n\n- One thing.\n"
GIT = ["git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false"]


class Repository:
    """A project of this version and change log, all of it in a commit of main; what it builds is a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")
        (folder / "bin").mkdir()
        shutil.copy(PROJECT / "bin" / "release", folder / "bin" / "release")
        self.write("hivekeys/__init__.py", '__version__ = "0.9.0"\n')
        self.write("CHANGELOG.md", CHANGES)
        self.write("Makefile", "dist:\n\t@echo built >built\n")
        self.commit()

    def git(self, *words: str) -> None:
        subprocess.run([*GIT, *words], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a commit")

    def release(self) -> "subprocess.CompletedProcess[str]":
        words = [self.folder / "bin" / "release"]
        return subprocess.run(words, cwd="/", capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_commit_that_is_in_order_is_built_and_the_commands_that_publish_it_are_printed(
    repository: Repository,
) -> None:
    done = repository.release()
    assert done.returncode == 0, done.stderr
    assert (repository.folder / "built").exists()
    assert 'git tag --sign --message "hivekeys 0.9.0" v0.9.0 && git push origin v0.9.0' in done.stdout


def unfinished(repository: Repository) -> None:
    repository.write("hivekeys/host.py", "half of it")


def elsewhere(repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "mine")


def released(repository: Repository) -> None:
    repository.git("tag", "v0.9.0")


def raised(repository: Repository) -> None:
    repository.write("hivekeys/__init__.py", '__version__ = "0.9.1"\n')
    repository.commit()


def odd(repository: Repository) -> None:
    repository.write("hivekeys/__init__.py", '__version__ = "soon"\n')
    repository.commit()


def unsorted(repository: Repository) -> None:
    repository.write("CHANGELOG.md", CHANGES.replace("[Unreleased]\n", "[Unreleased]\n\n### Added\n\n- Another.\n"))
    repository.commit()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (unfinished, "the tree has changes that are in no commit: ?? hivekeys/host.py"),
        (elsewhere, "this is not the branch main"),
        (released, "there is a tag v0.9.0 already"),
        (raised, "CHANGELOG.md has no heading '## [0.9.1] - "),
        (odd, "hivekeys/__init__.py: found version 'soon', expected one such as 0.2.0"),
        (unsorted, "CHANGELOG.md: 1 changes stand under [Unreleased]"),
    ],
)
def test_what_is_not_in_order_is_refused_and_nothing_is_built(
    repository: Repository, wrong: Callable[[Repository], None], said: str
) -> None:
    wrong(repository)
    done = repository.release()
    assert (done.returncode, done.stdout) == (2, "")
    assert f"release: {said}" in done.stderr and "hint: " in done.stderr
    assert not (repository.folder / "built").exists()
