"""`--events`: writes a run's events to stdout as JSON lines.

Their reader may be slow, stuck or gone: the run never waits for it, only its end does, for a while.
"""

import json
import os
import queue
import threading
from collections.abc import Callable, Mapping

PATIENCE = 10.0  # seconds that the end of a run waits for a reader


class Stream:
    """Writes lines to a file descriptor from a thread of its own. `warn` is told once when a reader is gone."""

    def __init__(self, descriptor: int, warn: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._warn = warn
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._keep_writing, name="events", daemon=True)
        self._thread.start()

    def write(self, line: Mapping[str, object]) -> None:
        """One more line; returns at once."""
        self._lines.put(json.dumps(line, ensure_ascii=True).encode() + b"\n")

    def close(self) -> None:
        """Waits until all is written, but not for ever."""
        self._lines.put(b"")
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._warn("no program reads the events on standard output: some of them are lost")

    def _keep_writing(self) -> None:
        try:
            while line := self._lines.get():
                while line:
                    line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            self._warn(f"the events cannot be written to standard output: {error.strerror}; the run goes on")
