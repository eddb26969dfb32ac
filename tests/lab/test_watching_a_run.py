"""A rotation as an operator watches it in a real terminal (tmux): resized, interrupted, and what stays there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from hivekeys.lab import Lab
from tests.builders.project import PROJECT
from tests.builders.terminal import CTRL_C, Terminal

from .asking import eventually
from .rotating import fab, serves, truth, write_policy

pytestmark = pytest.mark.lab
FAB = Path(sys.executable).with_name("fab")


class Pane:
    """A terminal of tmux's, on a server of its own; what `fab` leaves on it stays to be looked at."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "tmux"

    def tmux(self, *words: str) -> str:
        argv = ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout

    def start(self, columns: int, rows: int, *words: str, state: Path) -> None:
        fab = f"HIVEKEYS_STATE_DIR={state} {FAB} {' '.join(words)}"
        line = f"trap : INT; cd {PROJECT} && {fab}; echo ended with $?; exec cat"  # the shell outlives a Ctrl-C
        size = ("-x", str(columns), "-y", str(rows))
        env = ("env", "-u", "TMUX", "sh", "-c", line)
        self.tmux("new-session", "-d", *size, *env)

    def screen(self) -> str:
        """What the operator sees."""
        return self.tmux("capture-pane", "-p")

    def kept(self) -> str:
        """The same, with what has left the screen above."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-")

    def shows(self, *words: str, within: float = 60.0) -> str:
        """The first screen on which all these words stand."""
        seen: list[str] = []

        def there() -> bool:
            seen.append(self.screen())
            return all(word in seen[-1] for word in words)

        assert eventually(there, seconds=within), seen[-1]
        return seen[-1]


@pytest.fixture
def pane(tmp_path: Path) -> Iterator[Pane]:
    pane = Pane(tmp_path)
    yield pane
    subprocess.run(["tmux", "-S", str(tmp_path / "tmux"), "kill-server"], check=False, capture_output=True, timeout=120)


@pytest.mark.parametrize(("columns", "rows"), [(60, 20), (100, 30)])
def test_a_rotation_is_one_calm_picture_that_stays_as_the_summary(
    lab: Lab, tmp_path: Path, pane: Pane, columns: int, rows: int
) -> None:
    write_policy(lab, batch=2, stable_seconds=1)
    pane.start(columns, rows, "rotate", "--fleet", lab.name, "--yes", state=tmp_path / "state")
    during = pane.shows("▸ wave 1 of 2", "restart prove")
    assert f"rotation of fleet {lab.name}"[: columns - 5] in during
    assert "✓ canary" in during and "· settle" in during and "2 proven" in during
    assert "to go" in during or "until" in during
    pane.shows("ended with 0")
    after = pane.kept()
    assert after.count("rotation of fleet") == 1, "one picture, drawn over"
    assert "✓ retire" in after and "6 proven  0 waiting  0 failed  0 unreachable" in after
    assert "200 401 401 401" in after
    assert "done, and proven, on every host" in after


def test_a_terminal_is_resized_and_an_interruption_leaves_the_command_that_goes_on(
    lab: Lab, tmp_path: Path, pane: Pane
) -> None:
    write_policy(lab, batch=2, stable_seconds=2)
    old = truth(lab)["queen"].token
    told = tmp_path / "told"
    notice = f"--on-finish 'sh -c \"cat >{told}; env | grep ^HIVEKEYS_EXIT >>{told}\"'"
    pane.start(100, 30, "rotate", "--fleet", lab.name, "--yes", notice, state=tmp_path / "state")
    pane.shows("▸ queen", "restart prove")
    pane.tmux("resize-window", "-x", "60", "-y", "20")
    narrow = pane.shows("▸ canary")
    assert narrow.count("rotation of fleet") == 1
    assert max(map(len, narrow.splitlines())) <= 60
    pane.tmux("send-keys", "C-c")
    pane.shows("stopping: hosts in flight finish")
    pane.shows("ended with 130")
    after = pane.kept()
    assert "interrupted: the run is not over" in after
    assert f"go on: fab resume --fleet {lab.name}" in after
    assert "interrupted: the run is not over" in told.read_text() and "HIVEKEYS_EXIT_CODE=130" in told.read_text()
    assert fab("resume", "--fleet", lab.name, "--json", state=tmp_path / "state").code == 0
    assert serves(lab, truth(lab)["queen"].token, refused=old)


def test_a_second_ctrl_c_ends_at_once_with_the_command_that_goes_on(lab: Lab, tmp_path: Path) -> None:
    """The queen would be watched for a minute more; she has the new token, and nobody waits for her proof."""
    write_policy(lab, stable_seconds=60)
    old = truth(lab)["queen"].token
    words = [str(FAB), "rotate", "--fleet", lab.name, "--yes", "--state-dir", str(tmp_path)]
    with Terminal(words, PROJECT, os.environ) as terminal:
        terminal.until("restart prove", within=120)
        terminal.type(CTRL_C)
        terminal.until("stopping: hosts in flight finish")
        terminal.type(CTRL_C)
        terminal.until(f"go on: fab resume --fleet {lab.name}   go back: fab rollback --fleet {lab.name}")
        assert terminal.end() == 130
    assert terminal.shown.rindex("\x1b[?25h") > terminal.shown.rindex("\x1b[?25l")
    write_policy(lab)
    assert fab("resume", "--fleet", lab.name, "--json", state=tmp_path).code == 0
    assert serves(lab, truth(lab)["queen"].token, refused=old)


def test_the_events_of_a_real_run_fit_their_schema(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab)
    valid = Draft202012Validator(json.loads((PROJECT / "docs" / "events.schema.json").read_text()))
    answer = fab("rotate", "--fleet", lab.name, "--yes", "--events", "--quiet", state=tmp_path)
    assert (answer.code, answer.err) == (0, "")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    for line in lines:
        valid.validate(line)
    assert lines[0]["type"] == "run-started"
    assert (lines[-1]["type"], lines[-1]["exit_code"]) == ("result", 0)
    assert set(lines[-1]["states"].values()) == {"proven"}
    token = truth(lab)["queen"].token
    assert token not in answer.out
    for host in lab.hosts:
        assert any(line.get("host") == host and line.get("phase") == "settle" for line in lines)
