"""Checks that this machine can run a lab: root, and the Debian packages it needs.

Everything that is missing is named in one error, each with the package that brings it, so that one `apt-get
install` mends it. `call` is the one way in which the lab runs such a program.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hivekeys.errors import ExitCode, UserError

PACKAGE_OF = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "ssh-keygen": "openssh-client",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# An ordinary user's PATH leaves out where `ip` is, and `sudo` may keep it that way.
SEARCH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def environment() -> dict[str, str]:
    """The environment for this machine's programs: English messages, and a PATH that finds them."""
    return {**os.environ, "PATH": SEARCH, "LC_ALL": "C.UTF-8"}


def missing(search: str = SEARCH) -> dict[str, str]:
    """What is not on the path `search`, each with the Debian package that brings it."""
    absent = {program: package for program, package in PACKAGE_OF.items() if not shutil.which(program, path=search)}
    if not KEYRING.exists():
        absent[str(KEYRING)] = "debian-archive-keyring"
    return absent


def check() -> None:
    """Refuse, before anything is touched, what could not work on this machine."""
    absent = missing()
    install = "apt-get install " + " ".join(sorted(set(absent.values())))
    if os.geteuid() != 0:
        hint = "run it as root, for example: sudo .venv/bin/fab lab.up"
        raise UserError("the lab boots real hosts and needs root", hint=f"{hint}; and {install}" if absent else hint)
    if absent:
        raise UserError(f"the lab needs programs that are missing: {', '.join(sorted(absent))}", hint=install)


def call(argv: Sequence[str], *, text: str | None = None, timeout: float = 60) -> str:
    """Run a program of this machine and return what it printed; a failure is a UserError with its last words.

    It inherits the locks that are held here, and with them what they promise if it outlives us.
    """
    try:
        done = subprocess.run(
            argv,
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=environment(),
            close_fds=False,
        )
    except subprocess.TimeoutExpired as late:
        raise UserError(f"{argv[0]} did not end within {timeout:.0f} s", code=ExitCode.INCOMPLETE) from late
    if done.returncode != 0:
        words = done.stderr.strip() or f"exit code {done.returncode}"
        raise UserError(f"{' '.join(argv)}: {words}", code=ExitCode.INCOMPLETE)
    return done.stdout
