"""`fab` as an operator types it, for a fleet on paper: nobody is contacted unless a test puts a host's address in."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.builders.documents import printed
from tests.builders.project import PROJECT
from tests.builders.terminal import Terminal

FAB = Path(sys.executable).with_name("fab")
INVENTORY = """
fleet = "paper"
[hosts.queen]
role = "queen"
address = "192.0.2.1"
[hosts."hive[1:3]"]
role = "hive"
address = "192.0.2.[11:13]"
"""
HERE = """
fleet = "paper"
[hosts.queen]
role = "queen"
address = "127.0.0.1"
port = {port}
"""
KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"

NEARBY = """
fleet = "paper"
[hosts.queen]
role = "queen"
address = "127.0.0.1"
port = {port}
[hosts."hive[1:2]"]
role = "hive"
address = "127.0.0.[2:3]"
port = {port}
"""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


class Fab:
    """`fab` beside a copy of the fabfile, with one fleet on paper (TEST-NET addresses) and a state of its own.

    Or an installed `hivekeys`, in a folder without a fabfile.
    """

    def __init__(self, folder: Path, installed: Path | None = None) -> None:
        self.folder, self.program = folder, installed or FAB
        if installed is None:
            shutil.copy(PROJECT / "fabfile.py", folder)
        (folder / "inventory").mkdir()
        (folder / "inventory" / "paper.toml").write_text(INVENTORY)
        self.environ = {
            "PATH": os.environ["PATH"],
            # The code beside the tests, or the installed one, whatever the environment has.
            "PYTHONPATH": str(installed.parents[1] if installed else PROJECT),
            "HOME": str(folder),
            "HIVEKEYS_STATE_DIR": str(folder / "state"),
        }

    def __call__(self, *words: str, given: str = "", **environ: str) -> Answer:
        done = subprocess.run(
            [self.program, *words],
            cwd=self.folder,
            env={**self.environ, **environ},
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,  # no terminal to ask on, whatever the tester has
        )
        assert "Traceback" not in done.stderr, done.stderr
        printed(words, done.returncode, done.stdout)
        return Answer(done.returncode, done.stdout, done.stderr)

    def on_terminal(self, *words: str) -> Terminal:
        return Terminal([str(self.program), *words], self.folder, self.environ)


def state_of(fab: Fab) -> Path:
    folder = fab.folder / "state" / "paper"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def refusing(folder: Path) -> Iterator[Fab]:
    """A fleet whose every host refuses the connection at once."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        fab = Fab(folder)
        (fab.folder / "inventory" / "paper.toml").write_text(NEARBY.format(port=nobody.getsockname()[1]))
        yield fab
