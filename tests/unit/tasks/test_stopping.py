"""A run, or any other verb, is asked to stop: no signal is slept over, whenever it comes."""

import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from hivekeys.tasks.terminal.live import Show
from hivekeys.tasks.terminal.stopping import NUMBERS, endable, stoppable
from tests.builders.documents import valid
from tests.builders.fab import FAB, HERE, KEY, Fab
from tests.builders.operator import Operator
from tests.inprocess import InProcessFleet


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_a_signal_that_does_not_wake_the_main_thread_ends_a_pause_all_the_same(
    tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another thread gets it, as when it comes in the moment before the main one falls asleep."""
    runner = Operator(InProcessFleet(tmp_path, hives=1)).runner
    with stoppable(runner, Show()):
        press = threading.Timer(0.2, os.kill, (os.getpid(), number))
        press.start()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
        try:
            assert runner.interrupted.wait(20)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            press.join()
    assert "stopping: hosts in flight finish" in capfd.readouterr().err


def test_signals_are_as_they_were_when_the_run_is_over(tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in NUMBERS]
    with stoppable(Operator(InProcessFleet(tmp_path, hives=1)).runner, Show()):
        assert all(signal.getsignal(number) != handler for number, handler in zip(NUMBERS, handlers, strict=True))
    assert [signal.getsignal(number) for number in NUMBERS] == handlers
    assert signal.set_wakeup_fd(-1) == -1


def test_a_hangup_that_is_ignored_as_by_nohup_stops_nothing(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        runner = Operator(InProcessFleet(tmp_path, hives=1)).runner
        with stoppable(runner, Show()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_the_main_thread_sleeps_over_wakes_it_all_the_same() -> None:
    """It came in the moment before the main thread fell asleep: here, while that takes none."""
    press = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
    asleep = threading.Event()
    with pytest.raises(KeyboardInterrupt), endable():
        signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
        try:
            press.start()
            asleep.wait(20)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
            press.join()


# -- verbs that are no run


class Silent:
    """`fab` at work on a host that takes the connection and says nothing, until it hangs up."""

    def __init__(self, fab: Fab, *words: str) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self._door.settimeout(60)
        inventory = HERE.format(port=self._door.getsockname()[1]) + "[timeouts]\nbanner = 60\n"
        (fab.folder / "inventory" / "paper.toml").write_text(inventory)
        self._process = subprocess.Popen(
            ["env", "--default-signal", str(FAB), *words],
            cwd=fab.folder,
            env=fab.environ,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.out = ""  # what it printed, once it has ended

    def __enter__(self) -> Self:
        self._line, _ = self._door.accept()
        self._line.settimeout(60)
        assert self._line.recv(1) == b"S"  # it has begun to speak (SSH-2.0-…), and waits for the host now
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate(timeout=60)
        self.hang_up()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def hang_up(self) -> None:
        self._line.close()
        self._door.close()

    def says(self, words: str) -> None:
        """Reads on until that was said."""
        assert self._process.stderr
        assert any(words in line for line in self._process.stderr), "it ended and had not said it"

    def end(self) -> tuple[int, str]:
        self.out, said = self._process.communicate(timeout=60)
        return self._process.returncode, said


AT_WORK = {
    "fix": ("fix", "--apply"),
    "install": ("install",),
    "uninstall": ("uninstall", "--yes"),
    "backup": ("backup", "--to", KEY),
    "verify": ("verify",),
    "audit": ("audit",),
    "status": ("status",),
    "trust": ("trust", "--fingerprints", "/dev/null"),
}


@pytest.mark.parametrize(
    ("verb", "number"), [("fix", signal.SIGTERM), ("backup", signal.SIGHUP), ("verify", signal.SIGINT)]
)
def test_a_verb_that_is_told_to_end_waits_for_hosts_in_flight_and_leaves_with_130(
    fab: Fab, verb: str, number: signal.Signals
) -> None:
    with Silent(fab, *AT_WORK[verb]) as silent:
        silent.signal(number)
        silent.says("stopping: hosts in flight finish")
        silent.hang_up()
        assert silent.end() == (130, "interrupted\n")
    if verb != "verify":
        (run,) = json.loads(fab("history", "--json").out)["runs"]
        assert (run["task"], run["exit_code"]) == (verb, 130)


@pytest.mark.parametrize("verb", ["fix", "status"])
def test_a_program_is_told_in_a_document_that_it_was_interrupted(fab: Fab, verb: str) -> None:
    with Silent(fab, *AT_WORK[verb], "--json") as silent:
        silent.signal(signal.SIGTERM)
        silent.says("")
        silent.hang_up()
        assert silent.end()[0] == 130
    document = valid(json.loads(silent.out))
    assert (document["form"], document["exit_code"], document["message"]) == ("refusal", 130, "interrupted")


@pytest.mark.parametrize("verb", AT_WORK)
def test_told_a_second_time_it_leaves_at_once(fab: Fab, verb: str) -> None:
    with Silent(fab, *AT_WORK[verb]) as silent:
        silent.signal(signal.SIGTERM)
        silent.says("stopping: hosts in flight finish")
        silent.signal(signal.SIGHUP)
        assert silent.end() == (130, "stopped at once, without waiting for hosts in flight\n")
