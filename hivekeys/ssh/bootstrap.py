"""Starts the agent on a host: the remote command, its stdin, and what each failure means.

The command is one constant for each way to become root and holds nothing of a host or a fleet, but for a python3 that
the inventory names (`with_python`). Any login shell passes it on unharmed (sh, bash, zsh, ksh, fish, csh): one line,
single quotes only, no `!`, no backslash. Each station prints a marker once it is reached, and what went wrong follows
from the last marker and the exit status, never from the words of sudo or a shell, which differ by language and
implementation:

    last marker          the command then ended               it said nothing more in time
    ------------------   ----------------------------------   ----------------------------
    none                 RUBBISH: the login shell ran         SILENT
                         something else, or would not
    hivekeys:shell       SUDO_REFUSED                         SILENT
    hivekeys:root        PYTHON_REFUSED if the status is      SILENT
                         126, else PYTHON_MISSING
    hivekeys:python      PYTHON_MISSING if the status is      SILENT
                         83 (too old), else AGENT_CRASHED
    hivekeys:missing     MODULE_MISSING                       MODULE_MISSING
    hivekeys:ready 123.4 (the line stands; the host's monotonic clock)

Where sudo wants a password it puts a question (`with_password`), which `remote/sudo.py` answers. The program is then
sent behind the marker hivekeys:root, so that sudo never takes a line of it for an answer.

A host in restricted mode has its agent installed: the command is that program, and nothing is sent. hivekeys:ready,
which then says protocol and digest as well (gate.py), follows hivekeys:shell; what ends in between is AGENT_MISSING.

LINE_BROKEN if it was the connection that ended. Text before, between and behind the markers comes from
start-up files and banners. It is skipped, up to OTHER_LIMIT bytes; more is RUBBISH. Pure: this module reads
nothing and sends nothing.
"""

import zlib
from dataclasses import dataclass

from hivekeys.fleet import Become
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.protocol.restriction import COMMAND, SHELL

ROOT, PYTHON, MISSING, READY = ("hivekeys:root", "hivekeys:python", "hivekeys:missing", "hivekeys:ready")
NO_PYTHON = 83  # exit status: no python3, or one that is too old
NOT_ALLOWED = 126  # exit status of a shell: the program is there and may not be run
NO_MODULE = 84  # exit status: the program's imports failed
OTHER_LIMIT = 64 * 1024  # bytes of other text before the agent is ready

# -I: no environment, no directory of the caller's counts. -S: no site-packages, whose .pth files are lines of Python
# that every python3 runs, written by any account that installs packages; the agent needs the standard library alone.
# `echo` first: a start-up file may have printed half a line, and a marker counts only at the start of one.
_AS_LOGIN = f'echo; echo {SHELL}; exec {{become}}/bin/sh -c "$1" sh "$2" "$3"'
_AS_ROOT = (
    f"echo; echo {ROOT}; "
    "py=${2:-$(command -v python3 || command -v /usr/bin/python3 || command -v /usr/libexec/platform-python)}; "
    'test "$py" || '
    f'exit {NO_PYTHON}; exec "$py" -IS -c "$1"'
)
_IN_PYTHON = "import sys; i = sys.stdin.buffer; exec(i.read(int(i.readline())))"


def _command(become: str) -> str:
    return f"exec /bin/sh -c '{_AS_LOGIN.format(become=become)}' sh '{_AS_ROOT}' '{_IN_PYTHON}'"


def with_python(command: str, python: str | None) -> str:
    """The command with the host's own python3, an absolute path; without one it is looked for."""
    return f"{command} '{python}'" if python else command


# Whose end it was, by the last marker.
_ENDED = {
    SHELL: (Trouble.SUDO_REFUSED, "sudo"),
    ROOT: (Trouble.PYTHON_MISSING, "python3"),
    PYTHON: (Trouble.AGENT_CRASHED, "the agent"),
}

# LC_ALL: the last line of sudo's refusal is shown to the operator, so let it be in English where sudo can.
_NO_QUESTION = _command("env LC_ALL=C sudo -n -- ")
COMMANDS = {
    Become.NONE: _command(""),
    Become.SUDO: _NO_QUESTION,
    Become.SUDO_PASSWORD: _NO_QUESTION,
    Become.RESTRICTED: COMMAND,
}


def with_password(question: str) -> str:
    """The command for a sudo that may ask for a password, by this word of letters and digits.

    -k: no cached ticket counts, and none is left. -S: the answer is read from stdin, without a terminal.
    """
    return _command(f"env LC_ALL=C sudo -k -S -p {question} -- ")


# Runs before the agent, under any Python 3: it must say "too old" where the agent would not compile.
_BOOT = f"""\
import sys
print("{PYTHON} %d.%d" % sys.version_info[:2])
sys.stdout.flush()
if sys.version_info < (3, 6):
    sys.exit({NO_PYTHON})
try:
    import zlib
    packed = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
    exec(compile(zlib.decompress(packed), "hivekeys-agent", "exec"), globals())
except ImportError as error:
    print("{MISSING} %s" % (error.name or error))
    sys.stdout.flush()
    sys.exit({NO_MODULE})
"""


def opening(program: bytes) -> bytes:
    """What the command reads before the first request: boot text and packed `program`, each after its length.

    Packed, it fits into what TCP sends in its first two round trips; plain, it takes one or two more.
    """
    return b"".join(b"%d\n%s" % (len(part), part) for part in (_BOOT.encode(), zlib.compress(program, 9)))


@dataclass
class Startup:
    """The output of a host since the command was sent: `hear` takes its lines; then ask why there is no agent."""

    marker: str = ""
    marker_text: str = ""  # what stood behind the marker
    other: str = ""  # the last line that was no marker
    other_bytes: int = 0
    restricted: bool = False  # the command is an installed agent

    @property
    def ready(self) -> bool:
        return self.marker == READY

    @property
    def is_root(self) -> bool:
        """Whether sudo let us through."""
        return self.marker in (ROOT, PYTHON, MISSING, READY)

    @property
    def clock(self) -> float | None:
        """The host's monotonic clock as its agent got ready, None when it did not say."""
        try:
            return float(self.marker_text.partition(" ")[0])
        except ValueError:
            return None

    def clock_offset(self, now: float) -> float | None:
        """How far that is ahead of our own monotonic clock."""
        return None if self.clock is None else self.clock - now

    def differs(self, digest: str) -> Cause | None:
        """Why an agent that is ready is not the installed one with this digest (SHA-256, hex)."""
        _, _, protocol_and_digest = self.marker_text.partition(" ")
        _, _, said = protocol_and_digest.partition(" ")
        if said == digest:
            return None
        has = f"the host has agent {said[:12]}" if said else "the host's agent does not say which it is"
        return Cause(Trouble.AGENT_DIFFERS, f"{has}, this bastion {digest[:12]}")

    def add_line(self, line: bytes) -> None:
        """Take in one line of stdout, without its end."""
        text = line.decode(errors="replace").strip()
        marker, _, said = text.partition(" ")
        if marker in (SHELL, ROOT, PYTHON, MISSING, READY):
            self.marker, self.marker_text = marker, said
        else:
            self.other_bytes += len(line) + 1
            self.other = text or self.other

    def ended(self, status: int, complaint: str) -> Cause:
        """The command ended with `status`, or the connection did (-1); `complaint` is stderr's last line."""
        if self.marker == MISSING:
            return self._missing()
        if status < 0:
            return Cause(Trouble.LINE_BROKEN, "the connection broke before the agent was ready")
        if self.marker == PYTHON and status == NO_PYTHON:
            return Cause(Trouble.PYTHON_MISSING, f"python {self.marker_text} is too old: 3.6 is needed")
        if self.marker not in _ENDED:
            return self.rubbish(f"the login shell ended with status {status}", complaint)
        trouble, who = _ENDED[self.marker]
        if status == NOT_ALLOWED and trouble is Trouble.PYTHON_MISSING:
            trouble = Trouble.PYTHON_REFUSED
        trouble = Trouble.AGENT_MISSING if self.restricted else trouble
        words = "there is no python3" if status == NO_PYTHON else f"{who} ended with status {status}"
        return Cause(trouble, f"{words}: {complaint}" if complaint else words)

    def silent(self, seconds: float) -> Cause:
        """The time is over and the command still runs."""
        if self.marker == MISSING:
            return self._missing()
        station = {SHELL: "sudo", ROOT: "python3", PYTHON: "the agent"}.get(self.marker, "the login shell")
        return Cause(Trouble.SILENT, f"{station} did not get ready within {seconds:g} s")

    def rubbish(self, why: str, complaint: str = "") -> Cause:
        """The login shell is not one that runs commands quietly."""
        words = self.other or complaint
        return Cause(Trouble.RUBBISH, f"{why}; it said: {words}" if words else why)

    def _missing(self) -> Cause:
        return Cause(Trouble.MODULE_MISSING, f"python3 has no module {self.marker_text}")
