"""Completion in real shells: an operator types half a word and Tab."""

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from .test_tasks import Fab

SCRIPTS = Path(__file__).parents[2] / "docs" / "completion"
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "source {script}"),
    "zsh": (["-f", "-i"], "autoload -Uz compinit; compinit -u -D; source {script}"),
}
# What was completed is not run but shown: a terminal is told of changes in a line, not of the line.
INSTEAD = 'fab() { if [ "$1" = --complete ]; then command fab "$@"; else echo "would run: $*"; fi; }'
TYPED = [
    ("fab inventory.ch", "fab inventory.check"),
    ("fab plan --st", "fab plan --state-dir"),
    ("fab plan --fleet pa", "fab plan --fleet paper"),
    ("fab verify --against pa", "fab verify --against paper"),
    ("fab plan --fleet ./inv", "fab plan --fleet ./inventory"),
    ("fab rotate --token-file fabf", "fab rotate --token-file fabfile.py"),
]


def shell(name: str) -> str:
    """The shell's path. Where everything must be tested, one that is missing is a failure, not a skip."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip(f"there is no {name} here: make test installs it")
    assert found
    return found


@pytest.fixture
def fab(tmp_path: Path) -> Fab:
    fab = Fab(tmp_path)
    fab.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    (tmp_path / "deep" / "er").mkdir(parents=True)
    return fab


class Terminal:
    """A shell on a terminal of its own, wide enough that no line is broken."""

    def __init__(self, argv: list[str], folder: Path, environ: dict[str, str]) -> None:
        self.shown = ""
        self._screen, keyboard = pty.openpty()
        fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 400, 0, 0))
        self._shell = subprocess.Popen(
            ["setsid", "--ctty", *argv],
            cwd=folder,
            env={**environ, "TERM": "vt100", "PS1": "", "LC_ALL": "C.UTF-8"},
            stdin=keyboard,
            stdout=keyboard,
            stderr=keyboard,
        )
        os.close(keyboard)

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Reads until the text is on the screen."""
        ends = time.monotonic() + seconds
        while text not in self.shown:
            ready, _, _ = select.select([self._screen], [], [], max(0.0, ends - time.monotonic()))
            assert ready, f"{text!r} was not shown within {seconds:g} s, but {self.shown!r}"
            self.shown += os.read(self._screen, 65_536).decode(errors="replace")

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._screen)


@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes_tasks_options_fleets_and_files(fab: Fab, name: str) -> None:
    options, load = SHELLS[name]
    terminal = Terminal([shell(name), *options], fab.folder, fab.environ)
    try:
        terminal.type(f"{load.format(script=SCRIPTS / f'fab.{name}')}\n{INSTEAD}\necho loa''ded\n")
        terminal.wait_for("loaded")
        for typed, completed in TYPED:
            terminal.type(f"{typed}\t\n")
            terminal.wait_for(completed.replace("fab", "would run:", 1))
    finally:
        terminal.close()


def test_fish_completes_tasks_options_fleets_and_files(fab: Fab) -> None:
    fish = shell("fish")
    for typed, completed in TYPED:
        script = f"source {SCRIPTS}/fab.fish; cd deep/er; complete --do-complete '{typed}'"
        if "./inv" in typed or "fabf" in typed:
            script = script.replace("cd deep/er; ", "")
        done = subprocess.run(
            [fish, "--no-config", "--command", script],
            cwd=fab.folder,
            env=fab.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert [line.rstrip("/") for line in done.stdout.splitlines()] == [completed.split()[-1]], done


def test_a_fleet_s_name_is_not_carried_out(fab: Fab) -> None:
    """A file's name may hold anything; Tab must not run it."""
    (fab.folder / "inventory" / "zz$(touch pwned)`touch pwned`.toml").touch()
    terminal = Terminal([shell("bash"), "--norc", "--noprofile", "-i"], fab.folder, fab.environ)
    try:
        terminal.type(f"source {SCRIPTS}/fab.bash\n{INSTEAD}\necho loa''ded\n")
        terminal.wait_for("loaded")
        terminal.type("fab plan --fleet zz\t\n")
        terminal.wait_for("would run: plan --fleet zz$(touch pwned)`touch pwned`")
    finally:
        terminal.close()
    assert not (fab.folder / "pwned").exists()
