"""What several unit tests want: an operator's keyboard, and `fab` for a fleet on paper."""

import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.fab import Fab


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Somebody at the terminal, who types ahead what is written to this descriptor."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
        os.close(ours)


@pytest.fixture
def fab(tmp_path: Path) -> Fab:
    """A fleet whose addresses nobody has."""
    return Fab(tmp_path)
