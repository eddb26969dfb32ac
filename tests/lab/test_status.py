"""`fab status` on real hosts: watched on a terminal, and told to Prometheus."""

import os
import re
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hivekeys.lab import Lab
from tests.builders.project import PROJECT
from tests.builders.terminal import CTRL_C, Terminal

from .asking import eventually
from .rotating import fab

pytestmark = pytest.mark.lab
AGENTS = "pgrep -f [s]ys.stdin.buffer || true"  # not the shell that asks


def test_a_watched_fleet_shows_what_happens_to_it_over_lines_that_stay_open(lab: Lab, tmp_path: Path) -> None:
    words = [str(Path(sys.executable).with_name("fab")), "status", "--fleet", lab.name, "--watch"]
    with Terminal(words, PROJECT, {**os.environ, "HIVEKEYS_STATE_DIR": str(tmp_path)}) as terminal:
        assert "all 6 hosts hold token:" in terminal.until("hive5")
        agents = lab.sh("hive2", AGENTS)
        lab.sh("hive2", "systemctl stop rbee-hive")
        terminal.until("inactive (dead)")
        assert agents and agents == lab.sh("hive2", AGENTS)
        terminal.type(CTRL_C)
        last = terminal.until("\x1b[?25h")  # the cursor is back
        assert terminal.end() == 4
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last)  # without what moves the cursor
    assert re.findall(r"^ *(hive\d|queen) {2,}", shown, re.MULTILINE)[0] == "hive2", "who is not well stands first"
    assert eventually(lambda: not lab.sh("hive2", AGENTS))


def test_prometheus_is_told_what_is_true_of_the_hosts(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "fleet.prom"
    assert fab("verify", "--fleet", lab.name, state=tmp_path / "state").code in (0, 6)
    lab.sh("hive2", "systemctl stop rbee-hive")
    answer = fab("status", "--fleet", lab.name, "--metrics", str(path), state=tmp_path / "state")
    assert (answer.code, path.stat().st_mode & 0o777) == (4, 0o644), answer.err
    samples = [sample for family in text_string_to_metric_families(path.read_text()) for sample in family.samples]
    active = {one.labels["host"]: one.value for one in samples if one.name == "hivekeys_host_service_active"}
    assert active == {name: name != "hive2" for name in lab.hosts}
    passed = [one.value for one in samples if one.labels.get("verdict") == "pass"]
    assert sum(passed) > 100
    assert {one.labels["fleet"] for one in samples} == {lab.name}
