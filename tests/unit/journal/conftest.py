"""Databases that a test opens are closed behind it: Python 3.13 warns of one that is left open."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connected(*args: Any, **options: Any) -> sqlite3.Connection:
        base: sqlite3.Connection = connect(*args, **options)
        opened.append(base)
        return base

    monkeypatch.setattr(sqlite3, "connect", connected)
    yield
    for base in opened:
        with contextlib.suppress(sqlite3.ProgrammingError):  # another thread's own
            base.close()
