"""The bastion's limits of open files and threads, raised or refused by name; and no core dump, whatever they are."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fabfile
from hivekeys.errors import UserError
from hivekeys.ssh import limits
from tests.builders.project import PROJECT


def test_a_limit_that_is_high_enough_is_left_alone() -> None:
    assert limits.raised(hosts=50, width=32, soft=1024, hard=4096) == 1024


def test_a_soft_limit_is_raised_as_far_as_a_thousand_hosts_need_it() -> None:
    assert limits.raised(hosts=1000, width=32, soft=1024, hard=524288) == 1000 + 32 * 4 + 128


def test_a_hard_limit_that_is_too_low_is_refused_by_its_name() -> None:
    with pytest.raises(UserError, match=r"3000 hosts need 3256 open files at once.* is 1024") as refusal:
        limits.raised(hosts=3000, width=32, soft=1024, hard=1024)
    assert "ulimit -Hn 3256" in refusal.value.hint


def test_a_real_process_gets_the_limit_that_it_asked_for() -> None:
    program = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (256, 2048))\n"
        "from hivekeys.ssh import limits; limits.raise_open_files(1000, 32)\n"
        "print(*r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["1256", "2048"]


# -- threads


def test_a_thousand_hosts_need_a_thread_each_and_one_for_each_at_work() -> None:
    limits.check_threads(1000, 32, [limits.Ceiling("a limit", 1000 + 32 + 16, "raise it")])
    with pytest.raises(
        UserError, match=r"1000 hosts need 1048 threads at once, and a limit leaves you 1047"
    ) as refusal:
        limits.check_threads(1000, 32, [limits.Ceiling("a limit", 1047, "raise it")])
    assert refusal.value.hint == "raise it, or use --limit"


def test_a_control_group_and_those_around_it_are_limits(tmp_path: Path) -> None:
    """A unit's TasksMax=, its slice's, a container's: the first that is too low is named."""
    own = tmp_path / "system.slice/rotate.service"
    own.mkdir(parents=True)
    for group, most, now in ((own, "max", "3"), (own.parent, "500", "120")):
        (group / "pids.max").write_text(f"{most}\n")
        (group / "pids.current").write_text(f"{now}\n")
    found = list(limits.control_groups(tmp_path, "/system.slice/rotate.service"))
    assert [(one.name, one.left) for one in found] == [(f"{own.parent / 'pids.max'} (500)", 380)]
    with pytest.raises(UserError, match=r"pids.max \(500\) leaves you 380") as refusal:
        limits.check_threads(400, 32, found)
    assert "TasksMax=" in refusal.value.hint


def test_a_group_that_is_not_there_is_no_limit(tmp_path: Path) -> None:
    """A container sees its own part of the tree, and perhaps the path that it has outside."""
    assert list(limits.control_groups(tmp_path, "/docker/0123")) == []


def test_this_process_knows_its_own_limits() -> None:
    assert all(one.left > 0 for one in limits.ceilings())


# A verb whose process is told to dump its core, with the shell's limit as wide as it goes.
ABORTS = """
import ctypes, os, resource, signal
from invoke import Context
from hivekeys.tasks.options.verb import verb

@verb
def body():
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    print(ctypes.CDLL(None).prctl(3), flush=True)  # PR_GET_DUMPABLE
    os.kill(os.getpid(), signal.SIGABRT)

body(Context())
"""


def test_a_verb_leaves_no_core_dump_whatever_the_shell_allows(tmp_path: Path) -> None:
    """A token is in its memory."""
    argv, own = [sys.executable, "-c", ABORTS], {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(argv, cwd=tmp_path, env=own, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.strip()) == (-signal.SIGABRT, b"0"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_verb_has_these_manners() -> None:
    plain = [name for name in fabfile.namespace.task_names if not hasattr(fabfile.namespace[name].body, "__wrapped__")]
    assert plain == []
