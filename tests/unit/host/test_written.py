"""Which folders a service writes to, so that `install --harden` leaves them to it."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.host.written import folders_written

SERVICE = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1])
base.execute("create table nodes (name)")
read = open(sys.argv[2])
gone = open(sys.argv[3], "w")
__import__("os").unlink(sys.argv[3])
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not where temporary files lie: those are the service's own with PrivateTmp, and count for nothing."""
    path = Path("/var/lib/hivekeys-test-written")
    for name in ("database", "settings", "gone"):
        (path / name).mkdir(parents=True)
    (path / "settings/file").touch()
    yield path
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()


def test_the_folder_of_a_database_is_one_and_those_of_files_that_are_read_or_gone_are_not(folder: Path) -> None:
    words = [folder / "database/queen.db", folder / "settings/file", folder / "gone/file"]
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout
        assert service.stdout.readline() == "ready\n"
        assert folders_written([service.pid]) == [str(folder / "database")]
        service.communicate()
    assert sqlite3.connect(folder / "database/queen.db").execute("select count(*) from nodes").fetchone() == (0,)


def test_a_process_that_is_gone_writes_nowhere() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as service:
        service.wait()
    assert folders_written([service.pid]) == []
