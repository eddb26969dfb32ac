"""Reads a host's output while the agent starts, up to its marker, a question or the end."""

import time
from collections.abc import Callable

from hivekeys.protocol.causes import Cause
from hivekeys.ssh.bootstrap import OTHER_LIMIT, Startup
from hivekeys.ssh.stream import Stop, Stream, watchdog


def read_until_ready(
    stream: Stream, startup: Startup, there: Callable[[], bool], timeout: float, say: bytes = b"", question: bytes = b""
) -> Cause | Stop | None:
    """Reads until `there()` (None), the question (Stop.ASKED), or the reason why neither will come; first sends `say`.

    All of it takes `timeout` seconds at most.
    """
    until = time.monotonic() + timeout
    with watchdog(until, stream.abort):
        if say:
            stream.send(say, until)  # if that fails, what can still be read says why
        while not there():
            line = stream.line(until, OTHER_LIMIT - startup.other_bytes, question)
            if line is Stop.ASKED:
                return line
            if line is Stop.TOO_LONG:
                return startup.rubbish(f"more than {OTHER_LIMIT} bytes before the agent was ready")
            if line is Stop.ENDED:
                return startup.ended(*stream.farewell())
            if isinstance(line, Stop):
                return startup.silent(timeout)
            startup.add_line(line)
    return None
