"""Restricted mode on a host: the program's path, the sudo rule, the line for authorized_keys. Pure."""

import re
from dataclasses import dataclass

from hivekeys.errors import UserError

INSTALLED = "/usr/local/lib/hivekeys/agent"  # the program; restrict.py knows it by the same name
SHELL = "hivekeys:shell"  # the first of the markers (hivekeys.ssh.bootstrap)
# What the bastion runs, and all that a key can run which was restricted to it: one line, quoted once, for any shell.
COMMAND = f"exec /bin/sh -c 'echo; echo {SHELL}; exec env LC_ALL=C sudo -n -- {INSTALLED}'"
SUDOERS = f"""\
# Written by `fab install --restricted`; `fab uninstall --restricted` takes it away. Place: /etc/sudoers.d/hivekeys,
# root's and 0440. The account may run this one program as root, without arguments; and the program refuses all but
# rotating, revoking and verifying the token of the one service that it was installed for.
{{account}} ALL=(root) NOPASSWD: {INSTALLED} ""
"""
# A word in capitals would be an alias to sudo, and ALL would be everybody.
_ACCOUNT = re.compile(r"[a-z_][A-Za-z0-9._-]{0,31}")
_KEY = re.compile(r"((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/]{16,}={0,2})(?: [^\x00-\x1f\x7f]*)?")


@dataclass(frozen=True)
class Restriction:
    """What one host is given: `account` may run `program` by the rule `sudoers`; `login`: a line of authorized_keys."""

    account: str
    program: str
    sudoers: str
    login: str = ""


def sudoers(account: str) -> str:
    """The file for sudo. Raises UserError for an account that cannot stand in one, or that is root already."""
    if account == "root" or not _ACCOUNT.fullmatch(account):
        raise UserError(
            f"restricted mode needs an account that is not root and has a plain name, not {account}",
            hint="make one on the hosts, such as deploy, and name it with `user` in [ssh]",
        )
    return SUDOERS.format(account=account)


def login_line(public: str, source: str) -> str:
    """The line of authorized_keys that lets a public key start the agent and do nothing else."""
    found = _KEY.fullmatch(public.strip())
    if not found:
        raise UserError(
            f"{source} is no public key of OpenSSH's", hint="`ssh-keygen -y -f KEY` prints a key's public half"
        )
    return f'restrict,command="{COMMAND}" {found[1]} hivekeys'
