"""Completion in real shells: an operator types half a word and Tab."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.fab import Fab
from tests.builders.project import PROJECT
from tests.builders.terminal import Terminal

SCRIPTS = PROJECT / "docs" / "completion"
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "source {script}"),
    "zsh": (["-f", "-i"], "autoload -Uz compinit; compinit -u -D; source {script}"),
}
# What was completed is not run but shown: a terminal is told of changes in a line, not of the line.
INSTEAD = 'fab() { if [ "$1" = --complete ]; then command fab "$@"; else echo "would run: $*"; fi; }'
WIDE = 400  # no line is broken
TYPED = [
    ("fab inventory.ch", "fab inventory.check"),
    ("fab plan --st", "fab plan --state-dir"),
    ("fab plan --fleet pa", "fab plan --fleet paper"),
    ("fab verify --against pa", "fab verify --against paper"),
    ("fab plan --limit que", "fab plan --limit queen"),
    ("fab rotate --fleet paper --exclude hive1,hive2,que", "fab rotate --fleet paper --exclude hive1,hive2,queen"),
    ("fab plan --limit @", "fab plan --limit @failed"),
    ("fab verify --format sa", "fab verify --format sarif"),
    ("fab verify --skip dead", "fab verify --skip dead-token"),
    ("fab status --run la", "fab status --run last"),
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


@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes_tasks_options_fleets_and_files(fab: Fab, name: str) -> None:
    options, load = SHELLS[name]
    with Terminal([shell(name), *options], fab.folder, fab.environ, columns=WIDE) as terminal:
        terminal.type(f"{load.format(script=SCRIPTS / f'fab.{name}')}\n{INSTEAD}\necho loa''ded\n")
        terminal.until("loaded")
        for typed, completed in TYPED:
            terminal.type(f"{typed}\t\n")
            terminal.until(completed.replace("fab", "would run:", 1))


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
    bash = [shell("bash"), "--norc", "--noprofile", "-i"]
    with Terminal(bash, fab.folder, fab.environ, columns=WIDE) as terminal:
        terminal.type(f"source {SCRIPTS}/fab.bash\n{INSTEAD}\necho loa''ded\n")
        terminal.until("loaded")
        terminal.type("fab plan --fleet zz\t\n")
        terminal.until("would run: plan --fleet zz$(touch pwned)`touch pwned`")
    assert not (fab.folder / "pwned").exists()


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("fab plan --limit ", ["queen", "hive1", "hive2", "hive3", "@failed"]),
        ("fab plan --limit=hive1,q", ["hive1,queen"]),
        ("fab plan --limit = hive3", ["hive3"]),
        ("fab plan --fleet nowhere --limit ", []),
        ("fab plan --fleet 'open --limit ", []),
        ("fab report --format h", ["html"]),
    ],
)
def test_behind_an_option_stands_what_it_may_take_and_nothing_where_that_cannot_be_read(
    fab: Fab, typed: str, words: list[str]
) -> None:
    answer = fab("--complete", "--", *typed.split(" "))
    assert (answer.code, answer.out.splitlines(), answer.err) == (0, words, "")
