"""Lists the OpenSSH configuration files that `ssh -G` will read, so that their owners can be checked first.

Known before it is asked: `Match exec` runs commands.

Include is the one keyword that is understood here, and rather too much of it: also under a Host or Match that means
another host, and a %-token stands for anything. ssh_config(5).
"""

import glob
import os
import pwd
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

SYSTEM = Path("/etc/ssh")
DEEPEST = 16  # OpenSSH's own limit of files that include files
_INCLUDE = re.compile(r'^\s*"?include"?(?:\s*=\s*|\s+)(.*)$', re.IGNORECASE | re.MULTILINE)


def files_of(config: str | None) -> tuple[Path, ...]:
    """Every file that may be read for a configuration, or for the user's and the system's; some may not be there.

    Of a pattern also the folder in which its files would be.
    """
    own = Path(_home()) / ".ssh"
    found: dict[Path, None] = {}
    if config:
        _take(Path(config), own, found, DEEPEST)
    else:
        _take(own / "config", own, found, DEEPEST)
        _take(SYSTEM / "ssh_config", SYSTEM, found, DEEPEST)
    return tuple(found)


def _take(file: Path, base: Path, found: dict[Path, None], deepest: int) -> None:
    if file in found or not deepest:
        return
    found[file] = None
    for name in _included(file):
        pattern = name if name.startswith("/") else f"{glob.escape(str(base))}/{name}"
        inside = Path(pattern)
        while glob.has_magic(str(inside)):
            inside = inside.parent
        for each in (inside, *map(Path, sorted(glob.glob(pattern)))):  # noqa: PTH207  any path, not one below a folder
            _take(each, base, found, deepest - 1)


def _included(file: Path) -> Iterator[str]:
    """What a file includes, as patterns; nothing where it cannot be read, since ssh cannot either."""
    try:
        text = file.read_text(errors="surrogateescape") if file.is_file() else ""
    except OSError:
        return
    for words in _INCLUDE.findall(text):
        try:
            names = shlex.split(words)
        except ValueError:
            names = words.split()
        for name in names:
            home = re.sub(r"^~(?=/|$)", lambda _: _home(), name)
            yield re.sub("%.", "*", os.path.expandvars(os.path.expanduser(home)))  # noqa: PTH111  of ~NAME


def _home() -> str:
    """Where OpenSSH looks, which is not HOME."""
    return pwd.getpwuid(os.getuid()).pw_dir
