"""The fleets that the tests of the lab share, each booted once: three hives on every release, and five to rotate."""

import os
from collections.abc import Iterator

import pytest

from hivekeys.lab import Accepts, Lab, down, up

from .asking import FIRST_TOKEN
from .rotating import INVENTORY, STARTED, made_whole, write_policy


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without root there is no lab. Where everything must be tested, that is a failure, not a skip."""
    if item.get_closest_marker("lab") and os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("the lab needs root: sudo make test")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """A test that failed leaves no run behind: not while its hosts are made whole, nor for the next."""
    while STARTED:
        process = STARTED.pop()
        with process:
            process.kill()  # nothing, where its end was waited for


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab of this test session's own."""
    lab = up(
        f"lab-own{os.getpid()}",
        hives=3,
        releases=("bookworm", "bullseye", "trixie"),
        inventory_dir=tmp_path_factory.mktemp("inventory"),
        token=FIRST_TOKEN,
    )
    yield lab
    down(lab)


@pytest.fixture(scope="session")
def five_hives() -> Iterator[Lab]:
    """A queen and five hives whose inventory lies where `fab` looks for it."""
    name = f"lab-test-five{os.getpid()}"
    try:
        yield up(name, hives=5, inventory_dir=INVENTORY)
    finally:
        down(name, inventory_dir=INVENTORY)


@pytest.fixture
def lab(five_hives: Lab) -> Iterator[Lab]:
    """The five hives and their queen, whole before and after each test."""
    yield five_hives
    made_whole(five_hives)


@pytest.fixture(scope="module", params=[Accepts.LINES, Accepts.PAIR], ids=str)
def two(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A queen and two hives whose services accept two tokens."""
    name = f"lab-{request.param}{os.getpid()}"
    try:
        lab = up(name, hives=2, accepts=request.param, inventory_dir=INVENTORY)
        write_policy(lab, stable_seconds=1.5)
        yield lab
    finally:
        down(name, inventory_dir=INVENTORY)
