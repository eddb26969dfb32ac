"""Finds the keys that the known_hosts files have for a host; `known_keys` judges a presented key by them.

The files are read once a run. Plain lines (names, type, key) are indexed here; as soon as a file has anything
harder (hashed names, wildcards, negation, `@cert-authority`, `@revoked`), OpenSSH is asked about it, host by
host (`ssh-keygen -F`), so that no rule of its matching is copied.
"""

import base64
import binascii
import os
import stat
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from hivekeys.files import stranger
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.hostkeys.key import HostKey
from hivekeys.ssh.hostkeys.known_keys import KnownKeys, bare
from hivekeys.ssh.openssh import call

_HARD = frozenset("|*?!")  # in a name: hashed, a pattern, or a negation


class KnownHosts:
    """The known_hosts files of a run. Safe for many threads."""

    def __init__(self, timeout: float) -> None:
        """`timeout` in seconds bounds one question to ssh-keygen."""
        self._timeout = timeout
        self._indexes: dict[str, dict[str, list[_Entry]] | Cause | None] = {}
        self._entries: dict[tuple[str, tuple[str, ...]], KnownKeys | Cause] = {}
        self._lock = threading.Lock()

    def keys(self, name: str, files: tuple[str, ...]) -> KnownKeys | Cause:
        """What `files` say of `name` (`host` or `[host]:port`, lower case); a missing file says nothing.

        LOCAL_FILE for one that is there and cannot be read (there may be `@revoked` lines in it), or that others can
        change.
        """
        with self._lock:
            found = self._entries.get((name, files))
            for path in files:
                if path not in self._indexes:
                    self._indexes[path] = _index(Path(path))
        if found is None:
            found = self._search(name, files)
            with self._lock:
                self._entries[name, files] = found
        return found

    def _search(self, name: str, files: tuple[str, ...]) -> KnownKeys | Cause:
        entries: list[_Entry] = []
        for path in files:
            found = self._in_file(name, path)
            if isinstance(found, Cause):
                return found
            entries += found
        return KnownKeys(
            name=name,
            files=files,
            keys=tuple(dict.fromkeys(entry.key for entry in entries if not entry.marker)),
            revoked=tuple(entry.key for entry in entries if entry.marker == "@revoked"),
            authorities=tuple(entry.key for entry in entries if entry.marker == "@cert-authority"),
        )

    def _in_file(self, name: str, path: str) -> "list[_Entry] | Cause":
        """As in OpenSSH, a marked line that has the name without its port is for every port of the host."""
        index = self._indexes[path]
        if isinstance(index, Cause):
            return index
        if index is not None:
            return index.get(name, [])
        found = _ask(name, path, self._timeout)
        if bare(name) == name or isinstance(found, Cause):
            return found
        more = _ask(bare(name), path, self._timeout)
        return more if isinstance(more, Cause) else found + [entry for entry in more if entry.marker]


@dataclass(frozen=True)
class _Entry:
    marker: str
    names: tuple[str, ...]
    key: HostKey

    @property
    def hard(self) -> bool:
        return bool(self.marker) or any(_HARD & set(name) for name in self.names)


def _index(path: Path) -> dict[str, list[_Entry]] | Cause | None:
    """The entries of a file by name, or None if OpenSSH has to be asked."""
    index: dict[str, list[_Entry]] = defaultdict(list)
    if found := stranger(path):
        return Cause(Trouble.LOCAL_FILE, f"{path}: {found}")
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe might never end
            return {} if str(path) == os.devnull else Cause(Trouble.LOCAL_FILE, f"{path}: this is no file")
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        return Cause(Trouble.LOCAL_FILE, f"{path}: cannot be read: {error.strerror}")
    for entry in filter(None, map(_parse, lines)):
        if entry.hard:
            return None
        for name in entry.names:
            index[name].append(entry)
    return dict(index)


def _parse(line: str) -> _Entry | None:
    """One line of known_hosts; None for a comment, an empty line or one that OpenSSH would skip as well."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    if len(words) < 3:
        return None
    try:
        blob = base64.b64decode(words[2], validate=True)
    except binascii.Error:
        return None
    return _Entry(marker, tuple(words[0].lower().split(",")), HostKey(words[1], blob))


def _ask(name: str, path: str, timeout: float) -> list[_Entry] | Cause:
    """The entries of a file for `name`, found by OpenSSH. Status 1 is its way to say that there are none."""
    answer = call(["ssh-keygen", "-F", name, "-f", path], timeout)
    if isinstance(answer, Cause):
        return answer
    if answer.returncode not in (0, 1):
        return Cause(Trouble.SSH_CONFIG, f"{path}: {answer.stderr}")
    return list(filter(None, map(_parse, answer.stdout.splitlines())))
