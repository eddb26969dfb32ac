"""What several unit tests want: an operator's keyboard."""

import os
import pty
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Somebody at the terminal, who types ahead what is written to this descriptor."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
        os.close(ours)
