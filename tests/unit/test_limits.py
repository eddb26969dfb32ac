"""The bastion's limit of open files: raised where that is allowed, refused by its name where it is not."""

import subprocess
import sys

import pytest

from hivekeys import limits
from hivekeys.errors import UserError


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
        "from hivekeys import limits; limits.raise_open_files(1000, 32)\n"
        "print(*r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["1256", "2048"]
