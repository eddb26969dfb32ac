"""Searches a machine and the hosts of a lab for a secret: processes, files, journals."""

import base64
import secrets
import subprocess
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from hivekeys.lab import Lab, boot

from .asking import log_of


def traces(token: str) -> list[str]:
    """What would give a secret of 64 characters away: each half of it, as it is, in hex and in base64."""
    halves = (token[:32], token[32:])
    encoded = base64.b64encode(token.encode()).decode().rstrip("=")
    return [*halves, *(half.encode().hex() for half in halves), encoded[:40], encoded[-40:]]


class Watch:
    """Reads arguments and environment of every process of this machine, until the block ends.

    The processes of the hosts of a lab are among them.

    What begins meanwhile is read over and over. Who was there before is read at the beginning and at the end alone, so
    that each round is quick enough for processes that live a moment.
    """

    def __init__(self, *tokens: str) -> None:
        self.traces = [trace.encode() for token in tokens for trace in traces(token)]
        self.leaks: set[str] = set()
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._before = self._round()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(10)

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self._before &= self._round(self._before)  # a number that was free for a round is another process's
        self._round()

    def _round(self, but: Collection[str] = ()) -> set[str]:
        """Looks at all processes but those; answers the numbers of all."""
        there = {process.name for process in Path("/proc").glob("[0-9]*")}
        for name in there.difference(but):
            self._look(Path("/proc", name))
        return there

    def _look(self, process: Path) -> None:
        for name in ("cmdline", "environ"):
            try:
                text = (process / name).read_bytes()
            except OSError:
                return  # it has just ended
            if name == "cmdline":
                self.seen.add(text)
            if any(trace in text for trace in self.traces):
                self.leaks.add(f"{process.name} {name}")


class Secret:
    """A token in its file, and the search for it.

    `token`: one that there is already; `since`: a file that is older than the token.
    """

    def __init__(self, folder: Path, token: str = "", since: Path | None = None) -> None:
        self.token = token or secrets.token_urlsafe(48)
        self.folder = folder
        self.file = folder / "token"
        self._since = since or self.file
        self._patterns = folder / "patterns"
        for path, text in ((self.file, self.token), (self._patterns, "\n".join(traces(self.token)))):
            path.touch(0o600)
            path.write_text(f"{text}\n")

    def below(self, *places: Path) -> set[str]:
        """The files below these places that hold a trace of it; its own on this machine do not count.

        What was last changed before the token was made cannot hold it, and is not read; nor are the huge sparse
        files that other tests leave.
        """
        script = 'LC_ALL=C find "$@" -type f -size -65536k -cnewer "$SINCE" -exec grep -laF -f "$0" {} +'
        search = ["env", f"SINCE={self._since}", "sh", "-c", script, str(self._patterns), *map(str, places)]
        found = subprocess.run(search, capture_output=True, text=True, check=False).stdout
        return set(found.splitlines()) - {str(self.file), str(self._patterns)}

    def on_host(self, lab: Lab, name: str) -> set[str]:
        """The files of a host that hold a trace of it: on its own disk, and in what vanishes with its power."""
        disk = boot.folder(lab, name) / "upper"
        kept = {f"/{Path(file).relative_to(disk)}" for file in self.below(disk)}
        script = "LC_ALL=C grep -rlaF -D skip -f - /run /tmp /var/tmp /dev/shm || true"
        shown = lab.run(name, ["sh", "-c", script], text=self._patterns.read_text()).stdout
        journal = log_of(lab, name, "--all -o export")
        in_journal = {"journal" for trace in traces(self.token) if trace in journal}
        return kept | set(shown.splitlines()) | in_journal
