"""Writes the man page, hivekeys(1), from the code: `python -m docs.manual >hivekeys.1`. `make docs` does."""

import re
from collections.abc import Iterator
from importlib.metadata import version

from docs.generate import ENVIRONMENT, options, tasks
from hivekeys.errors import ExitCode

ABOUT = """\
Fabric tasks that an operator runs on a bastion. They turn the fleet of one inventory file, a queen-rbee and its
rbee-hive hosts, to a new API token, prove it on every host, and go back where that fails.
"""
HEAD = """\
.SH NAME
hivekeys \\- rotate, revoke and verify the API token of a llama\\-orch fleet, over SSH
.SH SYNOPSIS
.B fab
.I task
[\\fIoption\\fR ...]
.br
.B fab \\-\\-list
.br
.B fab \\-\\-help
.I task
"""
TAIL = """\
.SH FILES
.TP
.I inventory/NAME.toml
The fleet NAME. inventory/example.toml explains every key.
.TP
.I ~/.local/state/hivekeys/NAME/
The journal, the fingerprint key, the lock and the sealed backups of the fleet. No token.
.SH SEE ALSO
.BR ssh (1),
.BR ssh_config (5),
.BR age (1)
.PP
docs/runbook.md: what a message means, and what to type.
"""


def manual() -> str:
    """The whole page, as man(7) has it."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f'.TH HIVEKEYS 1 "" "hivekeys {_plain(version("hivekeys"))}" "Fabric tasks for llama-orch"'
    yield HEAD.rstrip()
    yield f".SH DESCRIPTION\n{_plain(ABOUT.strip())}"
    yield ".SH TASKS"
    for name, task in tasks().items():
        yield f".SS fab {_plain(name)}\n{_plain((task.__doc__ or '').strip())}"
        yield from (f".TP\n.B {_plain(option)}\n{_plain(words)}" for option, words in options(task))
    yield ".SH EXIT STATUS"
    yield from (f".TP\n.B {int(code)}\n{_plain(code.name.lower().replace('_', ' '))}" for code in ExitCode)
    yield ".SH ENVIRONMENT"
    yield from (f".TP\n.B {_plain(name)}\n{_plain(words)}" for name, words in ENVIRONMENT.items())
    yield TAIL.rstrip()


def _plain(text: str) -> str:
    """Text that roff shows as it is: no escapes, no requests, hyphens that can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


if __name__ == "__main__":
    print(manual(), end="")
