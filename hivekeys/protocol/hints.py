"""Fills in a hint so that it can be typed as it stands: hosts, addresses, accounts, units, the fleet. Pure.

The texts are in `causes`; what stands there in braces is put in here. A command in a hint stands in backticks.
"""

import re
import shlex
from collections.abc import Mapping

from hivekeys.fleet import Become, Fleet, Host
from hivekeys.protocol.causes import HINTS, Cause, Trouble
from hivekeys.text.commands import as_typed
from hivekeys.text.documents import head as documents
from hivekeys.text.names import fold_names

# What a hint may name, as the reference page and an unknown host show it.
BLANKS = {
    "there": "HOST",  # what stands after `ssh`: options and the host
    "root": "HOST sudo",  # the same, for a command that only root may give
    "unit": "UNIT",
    "host": "HOST",
    "hosts": "HOST",  # for --limit: all that have the trouble
    "fleet": "NAME",
}
# Verbs of fab that want --fleet; a text that was made without knowing the fleet names them bare.
VERBS = (
    *("approve", "audit", "backup", "fix", "history", "install", "plan", "reconcile", "report", "restore", "resume"),
    *("revoke", "rollback", "rotate", "status", "trust", "uninstall", "verify", "watch"),
)
_BARE = re.compile(rf"\bfab ({'|'.join(VERBS)})\b(?! --fleet)")
_BLANK = re.compile(r"\{(" + "|".join(BLANKS) + r")\}")


def hint(cause: Cause, fleet: Fleet, *names: str) -> str:
    """The hint for these hosts, which have the same trouble; where it names one machine, the first of them."""
    hosts = {host.name: host for host in fleet.hosts}
    host = next((hosts[name] for name in names if name in hosts), None)
    known = {"fleet": fleet.typed} if fleet.typed else {}
    if names:
        known |= {"there": names[0], "root": f"{names[0]} sudo", "host": names[0], "hosts": limit_of(names)}
    if host:
        there = ssh_words(fleet, host)
        known |= {"there": there, "root": _as_root(there, host.become), "host": host.name}
        known |= {"unit": host.service.unit} if host.service.unit else {}
    return _filled(cause.trouble, {**BLANKS, **known})


def general(trouble: Trouble) -> str:
    """The hint for no host in particular."""
    return _filled(trouble, BLANKS)


def line(cause: Cause, fleet: Fleet, *names: str) -> str:
    """Two lines: the host with its trouble, and below it what to do."""
    return f"{fold_names(names)}: {cause}\n  hint: {hint(cause, fleet, *names)}"


def document(cause: Cause | None, fleet: Fleet, name: str) -> documents.Cause | None:
    """Why a host failed, for a program."""
    if cause is None:
        return None
    return {"trouble": cause.trouble.value, "detail": cause.detail, "hint": hint(cause, fleet, name)}


def for_fleet(text: str, typed: str) -> str:
    """The text with the fleet in every command that has none; `typed`: as a shell takes it, "" for the only one.

    And with the commands as this operator types them.
    """
    return as_typed(_BARE.sub(lambda found: f"{found[0]} --fleet {typed}", text) if typed else text)


def limit_of(names: tuple[str, ...] | list[str]) -> str:
    """What stands after --limit for these hosts; a range is quoted, or a shell would look for files."""
    return shlex.quote(fold_names(names).replace(", ", ","))


def ssh_words(fleet: Fleet, host: Host) -> str:
    """What stands after `ssh` to get to a host as hivekeys does; OpenSSH knows what the inventory leaves open."""
    words = ["-F", fleet.ssh.config] if fleet.ssh.config else []
    if fleet.ssh.known_hosts:
        files = " ".join(f'"{file}"' if " " in file else file for file in fleet.ssh.known_hosts)
        words += ["-o", f"UserKnownHostsFile={files}"]
    if host.port is not None:
        words += ["-p", str(host.port)]
    if host.key is not None:
        words += ["-i", host.key]
    if host.jump is not None:
        words += ["-J", host.jump]
    return shlex.join([*words, f"{host.user}@{host.address}" if host.user else host.address])


def _as_root(there: str, become: Become) -> str:
    """Restricted mode lets its login run the agent alone: what any account may see is all that is to be had there."""
    if become is Become.SUDO_PASSWORD:
        return f"-t {there} sudo"
    return f"{there} sudo" if become is Become.SUDO else there


def _filled(trouble: Trouble, values: Mapping[str, str]) -> str:
    return _BLANK.sub(lambda blank: values[blank[1]], as_typed(HINTS[trouble]))
