"""The order of all tests: no worker ends alone with a long file, and who waits does so beside who computes."""

import signal

import pytest

from tests.builders.project import TESTS

# These wait for most of their minutes, and leave the processors to the unit tests beside them.
WAITING = (
    "lab/test_survival.py",
    "lab/test_rotation_faults.py",
)
# Each of these takes a minute or more. They are begun one after the other, and the short ones fill in behind them.
LONG = (
    "sweep/test_crash_sweep.py",
    "lab/test_passes.py",
    "lab/test_front.py",
    "lab/test_overlap.py",
    "lab/test_revocation.py",
    "lab/test_secrecy.py",
    "lab/test_verify.py",
    "sweep/test_contract.py",
    "lab/test_install.py",
    "lab/test_crash_points.py",
    "lab/test_liars.py",
    "lab/test_backup.py",
    "sweep/test_model.py",
    "lab/test_pages.py",
    "lab/test_broken_into.py",
    "lab/test_fix.py",
    "lab/test_restricted.py",
    "lab/test_rotation.py",
    "lab/test_rivals.py",
    "lab/test_faults.py",
    "lab/test_access.py",
)


def pytest_configure() -> None:
    """Under nohup a verb hears no SIGHUP, and so would those that are tested: what is tested begins as in a shell."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Files keep their tests in order; where several workers take files, they take them in this order too."""
    is_shared = hasattr(config, "workerinput")  # a worker of pytest-xdist: others take other files
    items.sort(key=lambda item: _place(item.path.relative_to(TESTS).as_posix(), is_shared))


def _place(file: str, is_shared: bool) -> tuple[int, int]:
    """Alone, the fast ones go first."""
    if file in WAITING and is_shared:
        return 0, WAITING.index(file)
    if file.startswith("unit/"):
        return 1, 0
    order = (*WAITING, *LONG)
    return 2, order.index(file) if file in order else len(order)
