"""Several processes hold the lines of a run to real hosts: that changes nothing, and one that dies is replaced."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hivekeys.lab import Lab

from .rotating import Answer, end_fab, fab, serves, start_fab, truth, write_policy

pytestmark = pytest.mark.lab
THREE = 3  # workers: of queen and hive3, of hive1 and hive4, of hive2 and hive5


def workers_of(run: "subprocess.Popen[str]") -> list[int]:
    """The workers of a run, in the order in which they were started."""
    children = (file.read_text().split() for file in Path(f"/proc/{run.pid}/task").glob("*/children"))
    pids = sorted(int(pid) for names in children for pid in names)
    return [pid for pid in pids if "shards.process" in Path(f"/proc/{pid}/cmdline").read_text()]


def when(run: "subprocess.Popen[str]", event: str, host: str, phase: str, do: Callable[[], object]) -> Answer:
    """Does something as soon as this is in the run's journal, and lets the run end."""
    assert run.stdout
    for line in run.stdout:
        told = json.loads(line)
        if (told["type"], told.get("host"), told.get("phase")) == (event, host, phase):
            do()
            return end_fab(run)
    raise AssertionError(
        f"the run ended without {event} of {host} in {phase}: {run.stderr.read() if run.stderr else ''}"
    )


def test_three_processes_turn_a_fleet_and_then_revoke_its_token(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab, processes=THREE)
    tokens = [truth(lab)["queen"].token]
    for verb in (("rotate",), ("revoke", "--reason", "leaked")):
        answer = fab(*verb, "--yes", "--json", "--fleet", lab.name, state=tmp_path)
        assert answer.code == 0, answer.err
        assert {host["state"] for host in answer.hosts.values()} == {"proven"}
        tokens.append(truth(lab)["queen"].token)
        assert serves(lab, tokens[-1], refused=tokens[-2])


def test_a_worker_that_is_killed_while_its_host_turns_is_replaced_and_the_rotation_succeeds(
    lab: Lab, tmp_path: Path
) -> None:
    write_policy(lab, processes=THREE)
    old = truth(lab)["queen"].token
    run = start_fab("rotate", "--yes", "--events", "--fleet", lab.name, state=tmp_path)
    answer = when(run, "host-begins", "hive1", "canary", lambda: os.kill(workers_of(run)[1], signal.SIGKILL))
    assert answer.code == 0, answer.err
    assert serves(lab, truth(lab)["queen"].token, refused=old)


def test_a_run_that_is_killed_with_its_workers_at_work_is_taken_up_by_one_process(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab, processes=THREE)
    old = truth(lab)["queen"].token
    run = start_fab("rotate", "--yes", "--events", "--fleet", lab.name, state=tmp_path)
    assert when(run, "host-begins", "hive1", "canary", run.kill).code == -signal.SIGKILL
    answer = fab("resume", "--yes", "--fleet", lab.name, state=tmp_path)
    assert answer.code == 0, answer.err
    assert serves(lab, truth(lab)["queen"].token, refused=old)


def test_no_process_shows_a_token_to_who_lists_processes(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab, processes=THREE)
    old = truth(lab)["queen"].token
    seen: list[str] = []

    def look() -> None:
        for pid in (run.pid, *workers_of(run)):
            seen.extend(Path(f"/proc/{pid}/{name}").read_text(errors="replace") for name in ("cmdline", "environ"))

    run = start_fab("rotate", "--yes", "--events", "--fleet", lab.name, state=tmp_path)
    answer = when(run, "host-begins", "hive1", "canary", look)
    assert answer.code == 0, answer.err
    assert len(seen) == 8
    assert [text for text in seen if old in text or truth(lab)["queen"].token in text] == []
