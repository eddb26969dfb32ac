"""Who reads what `fab` says, and in which encoding, changes nothing of what it does.

Whole processes, over a fleet that turns for real: simulated hosts behind real SSH (bench/simulated.py).
"""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
from rich.console import Console

from bench.simulated import Hosts
from hivekeys.journal.fold import fold
from hivekeys.journal.store import Journal
from hivekeys.tasks.terminal import asking
from hivekeys.tasks.terminal.output import STAND_INS, Outlet
from tests.builders.project import PROJECT
from tests.builders.terminal import Terminal

FAB = Path(sys.executable).with_name("fab")


@dataclass(frozen=True)
class Bastion:
    """Where an operator types `fab`, over three hosts that turn."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "HIVEKEYS_STATE_DIR": str(self.folder / "state")}

    def line(self, verb: str, *words: str) -> list[str]:
        return [str(FAB), verb, "--fleet", str(self.folder / "fleet.toml"), *words]

    def fab(
        self,
        verb: str,
        *words: str,
        out: int | IO[bytes] = subprocess.PIPE,
        err: int | IO[bytes] = subprocess.PIPE,
        **environ: str,
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.line(verb, *words),
            cwd=PROJECT,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=120,
            check=False,
            start_new_session=True,
        )

    def last(self) -> tuple[str, int | None, set[str]]:
        """What was done last: which task, how it ended, and where its hosts are, as the journal has it."""
        with contextlib.closing(Journal(self.folder / "state" / "simulated")) as journal:
            run = fold(journal.events(journal.runs()[0]))
        return run.task, run.code, {host.state.value for host in run.hosts.values()}


TURNED = ("rotate", 0, {"proven"})


@pytest.fixture(scope="module")
def bastion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bastion]:
    folder = tmp_path_factory.mktemp("output")
    with Hosts(folder, "--hosts=3"):
        yield Bastion(folder)


@pytest.fixture
def notice(tmp_path: Path) -> Callable[[], str]:
    """What the command of --on-finish was told."""
    file = tmp_path / "notice"
    script = tmp_path / "tell"
    script.write_text(f"#!/bin/sh\n{{ cat; echo heard $HIVEKEYS_EXIT_CODE; }} >{file}\n")
    script.chmod(0o700)
    return file.read_text


@pytest.fixture
def nobody() -> Iterator[int]:
    """A pipe whose reader has left, as `head` does."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


def test_in_an_encoding_that_lacks_characters_a_rotation_ends_as_it_would_in_any(
    bastion: Bastion, notice: Callable[[], str], tmp_path: Path
) -> None:
    done = bastion.fab("rotate", "--yes", "--on-finish", str(tmp_path / "tell"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done
    said = done.stdout.decode("ascii")
    assert "|hive2 |" in said and "proven" in said and "exit code 0" in said
    assert "bug" not in done.stderr.decode("ascii") + said
    assert notice().endswith("heard 0\n")
    assert bastion.last() == TURNED
    page = bastion.fab("report", "--format", "html", PYTHONIOENCODING="latin-1").stdout
    assert page.isascii() and b"&#" in page, "it says that it is UTF-8"


def test_the_list_of_verbs_can_be_had_in_ascii(bastion: Bastion) -> None:
    done = subprocess.run(
        [FAB, "--list"],
        cwd=PROJECT,
        env={**bastion.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"") and b"rotate" in done.stdout


@pytest.mark.parametrize(
    ("lost", "words"), [("reader", ()), ("reader", ("--json",)), ("reader", ("--events",)), ("full", ())]
)
def test_a_rotation_that_nobody_reads_turns_every_host_and_ends_with_its_own_code(
    bastion: Bastion, notice: Callable[[], str], tmp_path: Path, nobody: int, lost: str, words: tuple[str, ...]
) -> None:
    """Standard output and standard error are one pipe, as with `2>&1 | head`, or one full disk."""
    with Path("/dev/full").open("wb") as full:
        sink = full if lost == "full" else nobody
        done = bastion.fab("rotate", "--yes", *words, "--on-finish", str(tmp_path / "tell"), out=sink, err=sink)
    assert done.returncode == 0
    assert notice().endswith("heard 0\n")
    assert bastion.last() == TURNED


def test_output_that_is_closed_changes_nothing_either(bastion: Bastion) -> None:
    """As some schedulers start a program; and no connection to a host comes by the number of standard error."""
    words = " ".join(bastion.line("rotate", "--yes"))
    done = subprocess.run(
        ["sh", "-c", f"exec {words} <&- >&- 2>&-"], cwd=PROJECT, env=bastion.environ, timeout=120, check=False
    )
    assert done.returncode == 0
    assert bastion.last() == TURNED


def test_a_verb_that_only_tells_ends_with_its_own_code_too(bastion: Bastion, nobody: int) -> None:
    read = bastion.fab("verify")
    assert bastion.fab("verify", out=nobody).returncode == read.returncode
    with Path("/dev/full").open("wb") as full:
        unread = bastion.fab("verify", out=full)
    assert unread.returncode == read.returncode
    assert unread.stderr.decode().splitlines()[-1] == (
        "hivekeys: warning: nothing can be written to standard output any more: No space left on device"
    )


def test_a_refusal_that_nobody_reads_is_a_refusal(bastion: Bastion, nobody: int) -> None:
    assert bastion.fab("rotate", "--yes", "--batch", "0", err=nobody).returncode == 2
    assert bastion.fab("rotate", "--ye", err=nobody).returncode == 2


def test_a_question_that_nobody_sees_is_answered_with_no(bastion: Bastion) -> None:
    """As on a terminal that was lost: nobody waits at it with the hosts' locks in hand."""
    line = f"exec 3>&1; {{ {' '.join(bastion.line('rotate'))}; echo ended with $? >&3; }} 2>&1 | true"
    with Terminal(["sh", "-c", line], PROJECT, bastion.environ) as terminal:
        terminal.until("ended with 2", within=60)
    assert bastion.last()[2] == {"unchanged"}


def test_what_an_encoding_lacks_becomes_one_character_of_ascii_each() -> None:
    """So that tables stay straight."""
    for text, plain in {"a – b … c": "a - b . c", "→×✓│─┼": "> x v|-+"[0] + "xv|-+", "é日\ud800": "e??"}.items():
        assert text.encode("ascii", STAND_INS).decode() == plain
        assert len(plain) == len(text)
    assert "é…".encode("latin-1", STAND_INS) == b"\xe9."


def test_a_descriptor_that_was_made_non_blocking_is_waited_for() -> None:
    """By another program on the same terminal."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    script = "import sys; data = sys.stdin.buffer.read(); sys.stdout.write(str(len(data)))"
    reader = subprocess.Popen([sys.executable, "-c", script], stdin=read, stdout=subprocess.PIPE)
    os.close(read)
    outlet = Outlet(write)
    with io.BufferedWriter(outlet) as file:
        file.write(b"x" * 1_000_000)
    os.close(write)
    assert outlet.lost is None
    assert reader.communicate(timeout=60)[0] == b"1000000"


def test_a_question_to_a_reader_who_has_left_is_the_end_of_the_input(nobody: int) -> None:
    file = io.TextIOWrapper(io.BufferedWriter(Outlet(nobody)), "utf-8")
    with pytest.raises(EOFError):
        asking.answer("Go on? [y/N] ", Console(file=file))
