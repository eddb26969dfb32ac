"""The order of all tests: fast ones first, then the files that take longest, so that no worker ends alone with one."""

import signal

import pytest

from tests.builders.project import TESTS

# Each of these takes a minute or more. They are begun one after the other, and the short ones fill in behind them.
LONG = (
    "lab/test_survival.py",
    "sweep/test_crash_sweep.py",
    "lab/test_secrecy.py",
    "lab/test_rotation_faults.py",
    "lab/test_verify.py",
    "lab/test_crash_points.py",
    "sweep/test_contract.py",
    "lab/test_revocation.py",
    "lab/test_pages.py",
    "lab/test_fix.py",
    "lab/test_install.py",
    "lab/test_restricted.py",
    "lab/test_rotation.py",
    "sweep/test_model.py",
    "lab/test_backup.py",
    "lab/test_broken_into.py",
    "lab/test_liars.py",
    "lab/test_rivals.py",
)


def pytest_configure() -> None:
    """Under nohup a verb hears no SIGHUP, and so would those that are tested: what is tested begins as in a shell."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files keep their tests in order; where several workers take files, they take them in this order too."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[bool, int]:
    file = item.path.relative_to(TESTS).as_posix()
    return not file.startswith("unit/"), LONG.index(file) if file in LONG else len(LONG)
