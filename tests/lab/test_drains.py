"""A drain on real hosts: work ends before the restart, and new work comes again, whatever happens in between."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.lab import Lab

from .asking import eventually
from .rotating import end_fab, fab, serves, start_fab, truth, write_policy

pytestmark = pytest.mark.lab
HIVES = tuple(f"hive{number}" for number in range(1, 6))
CALLS = "/root/calls"
DRAIN = f"""
[services.hive.drain]
before = {{ run = ["/bin/sh", "-c", 'echo "before $HIVEKEYS_PHASE" >> {CALLS}; touch /root/cordon'] }}
until = {{ run = ["/bin/sh", "-c", "test -e /root/work || exit 0; cat /root/work; exit 75"], every = 0.2 }}
after = {{ run = ["/bin/sh", "-c", 'echo "after $HIVEKEYS_PHASE" >> {CALLS}; rm /root/cordon'] }}
deadline = "30s"
"""


@pytest.fixture
def drained(lab: Lab) -> Iterator[Lab]:
    """Hives whose work is a file: while it is there, they are busy."""
    write_policy(lab)
    lab.inventory.write_text(lab.inventory.read_text() + DRAIN)
    for name in HIVES:
        lab.sh(name, f"rm -rf /root/work /root/cordon {CALLS} /var/lib/hivekeys/cordoned")
    yield lab
    for name in HIVES:
        lab.sh(name, f"rm -rf /root/work /root/cordon {CALLS} /var/lib/hivekeys/cordoned")


def calls(lab: Lab, name: str) -> list[str]:
    return lab.sh(name, f"cat {CALLS}").splitlines()


def is_cordoned(lab: Lab, name: str) -> bool:
    return "yes" in lab.sh(name, "test -e /root/cordon -o -e /var/lib/hivekeys/cordoned && echo yes || true")


def test_a_busy_hive_restarts_when_its_work_has_ended(drained: Lab, tmp_path: Path) -> None:
    old = truth(drained)["queen"].token
    drained.sh("hive2", "echo two streams > /root/work")
    run = start_fab("rotate", "--fleet", drained.name, "--yes", "--json", state=tmp_path)
    eventually(lambda: is_cordoned(drained, "hive2"))
    assert truth(drained)["hive2"].token == old, "nothing of it is turned while it works"
    ended = int(drained.sh("hive2", "rm /root/work; awk '{ printf \"%d\", $1 * 1000000 }' /proc/uptime"))
    answer = end_fab(run)

    assert answer.code == 0, answer.err
    now = truth(drained)
    assert now["hive2"].started > ended
    assert serves(drained, now["queen"].token, refused=old)
    for name in HIVES:
        assert calls(drained, name) == [f"before {phase_of(name)}", f"after {phase_of(name)}"]
        assert not is_cordoned(drained, name)
    drain = answer.hosts["hive2"]["drain"]
    assert drain["seconds"] > 0
    assert (drain["forced"], drain["cordoned"]) == (False, False)


def phase_of(name: str) -> str:
    return "canary" if name == "hive1" else "wave"


def test_the_plan_says_how_much_work_there_is(drained: Lab, tmp_path: Path) -> None:
    drained.sh("hive3", "echo two streams > /root/work")

    answer = fab("plan", "--fleet", drained.name, state=tmp_path)

    assert "drains: hive[1:5] before each restart, for at most 30 s; then the host fails" in answer.out
    assert "work now: hive3: two streams" in answer.out


def test_a_hive_whose_bastion_dies_while_it_drains_has_work_again_and_the_run_is_resumed(
    drained: Lab, tmp_path: Path
) -> None:
    drained.sh("hive1", "echo a stream > /root/work")
    run = start_fab("rotate", "--fleet", drained.name, "--yes", "--json", state=tmp_path)
    eventually(lambda: is_cordoned(drained, "hive1"))
    run.kill()
    end_fab(run)

    assert eventually(lambda: not is_cordoned(drained, "hive1")), "its agent did `after`, and left"
    drained.sh("hive1", "rm /root/work")
    answer = fab("resume", "--fleet", drained.name, "--json", state=tmp_path)
    assert answer.code == 0, answer.err
    assert not any(is_cordoned(drained, name) for name in HIVES)


def test_a_run_that_is_stopped_waits_for_no_work(drained: Lab, tmp_path: Path) -> None:
    """Ctrl-C: the host hears of it on the line that it has, gives its service work again and says what it was."""
    old = truth(drained)["hive1"].token
    drained.sh("hive1", "echo two streams > /root/work")
    drained.inventory.write_text(drained.inventory.read_text().replace('deadline = "30s"', 'deadline = "2h"'))
    run = start_fab("rotate", "--fleet", drained.name, "--yes", "--json", state=tmp_path)
    eventually(lambda: is_cordoned(drained, "hive1"))
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    answer = end_fab(run)

    assert time.monotonic() - began < 20
    assert answer.code == 130, answer.err
    cause = answer.hosts["hive1"]["cause"]
    assert (cause["trouble"], answer.hosts["hive1"]["state"]) == ("still-busy", "unchanged")
    assert cause["detail"].startswith("the operator ended the run; after")
    assert cause["detail"].endswith("two streams")
    assert calls(drained, "hive1") == ["before canary", "after canary"]
    assert not is_cordoned(drained, "hive1")
    assert truth(drained)["hive1"].token == old

    drained.sh("hive1", "rm /root/work")
    assert fab("resume", "--fleet", drained.name, "--json", state=tmp_path).code == 0


def test_an_after_that_fails_is_shown_by_status_and_paid_by_the_rollback(drained: Lab, tmp_path: Path) -> None:
    drained.sh("hive1", "mkdir -p /root/cordon/not-empty")  # a folder: `touch` succeeds, `rm` does not

    answer = fab("rotate", "--fleet", drained.name, "--yes", "--json", state=tmp_path)

    assert answer.code == 4, answer.err
    assert answer.hosts["hive1"]["state"] == "cordoned"
    assert answer.hosts["hive1"]["cause"]["trouble"] == "hook-failed"
    shown = fab("status", "--fleet", drained.name, state=tmp_path)
    assert "hive1: run " in shown.out
    assert "has drained it, and it was not given work again" in shown.out

    drained.sh("hive1", "rmdir /root/cordon/not-empty /root/cordon; touch /root/cordon")
    back = fab("rollback", "--fleet", drained.name, "--json", state=tmp_path)
    assert back.code == 0, back.err
    assert not is_cordoned(drained, "hive1")
