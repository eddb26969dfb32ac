"""A host with a real nginx before a real service."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivekeys.host.nginx import NGINX
from tests.builders.fronted import FrontedHost


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The front's files are root's, and its workers another account's."""
    able = os.geteuid() == 0 and os.access(NGINX, os.X_OK)
    needed = pytest.mark.skipif(not able and os.environ.get("CI") != "true", reason="needs root and nginx")
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(needed)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FrontedHost]:
    """A service that clients reach, as it was before there was a front."""
    found = FrontedHost(tmp_path)
    yield found
    found.close()


@pytest.fixture
def fronted(host: FrontedHost) -> FrontedHost:
    """The same, with its front."""
    host.set_up()
    return host
