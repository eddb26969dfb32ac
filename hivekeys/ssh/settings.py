"""Parses the output of `ssh -G`, with `~` and %-tokens expanded.

ForwardAgent, StrictHostKeyChecking and the like are not read at all: hivekeys never forwards and never trusts
an unknown key. What it cannot honour, and safety or the way to the host depends on it, is refused by name.
Nothing is run or contacted here.
"""

import getpass
import os
import re
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from hivekeys.protocol.causes import Cause, Trouble

_PLAIN = re.compile(r"[A-Za-z0-9_.:%@\[\]][A-Za-z0-9_.:%@\[\]-]*")  # may stand in a ProxyCommand unquoted
_FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}


@dataclass(frozen=True)
class Settings:
    """OpenSSH's answer for one target, with `~` and %-tokens expanded."""

    alias: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[str, ...] = ()
    identities_only: bool = False
    identity_agent: str | None = None  # the socket's path
    family: socket.AddressFamily = socket.AF_UNSPEC
    jump: str | None = None
    proxy_command: str | None = None
    known_hosts: tuple[str, ...] = ()
    own_known_hosts: str | None = None  # the one of them that new keys go into, as with `ssh`
    host_key_alias: str | None = None
    known_hosts_command: str | None = None  # not run here, only named where a key is unknown

    @property
    def known_as(self) -> str:
        """The name under which known_hosts lists this host; sshconnect.c, get_hostfile_hostname_ipaddr."""
        if self.host_key_alias:
            return self.host_key_alias.lower()
        name = self.hostname.lower()
        return name if self.port == 22 else f"[{name}]:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{self.user}@{host}:{self.port}"


def parse(alias: str, answer: str, known_hosts: tuple[str, ...] | None) -> Settings | Cause:
    """The settings of `alias`; `known_hosts` replaces the user's own files."""
    said: dict[str, list[str]] = {}
    for line in answer.splitlines():
        name, _, value = line.partition(" ")
        said.setdefault(name.lower(), []).append(value.strip())

    def one(name: str) -> str | None:
        value = said.get(name, [""])[0]
        return None if value in ("", "none") else value

    def files(text: str | None) -> tuple[str, ...]:
        return tuple(expand(path, bare) for path in (text or "").split())

    bare = Settings(alias, hostname=one("hostname") or alias, port=int(one("port") or 22), user=one("user") or "")
    command = one("proxycommand")
    problem = _unsupported(one("revokedhostkeys"), one("proxyusefdpass"), command, bare)
    if problem:
        return Cause(Trouble.SSH_CONFIG, f"{alias}: {problem}")
    own = files(one("userknownhostsfile")) if known_hosts is None else known_hosts
    return replace(
        bare,
        identity_files=tuple(expand(path, bare) for path in said.get("identityfile", []) if path != "none"),
        identities_only=one("identitiesonly") == "yes",
        identity_agent=_agent_socket(said.get("identityagent", ["SSH_AUTH_SOCK"])[0]),
        family=_FAMILIES.get(one("addressfamily") or "any", socket.AF_UNSPEC),
        jump=one("proxyjump"),
        proxy_command=expand(command, bare) if command else None,
        own_known_hosts=own[0] if own else None,
        known_hosts=(*own, *files(one("globalknownhostsfile"))),
        host_key_alias=one("hostkeyalias"),
        known_hosts_command=one("knownhostscommand"),
    )


def _unsupported(revoked: str | None, fdpass: str | None, command: str | None, settings: Settings) -> str:
    """What the user asked of OpenSSH that would silently be missing here, or ""."""
    if revoked:
        return "RevokedHostKeys is not supported yet: use @revoked lines in known_hosts"
    if fdpass == "yes":
        return "ProxyUseFdpass is not supported"
    words = (settings.alias, settings.hostname, settings.user)
    if command and not all(_PLAIN.fullmatch(word) for word in words):
        return "the name or the user has characters that may not stand in a ProxyCommand"
    return ""


def _agent_socket(value: str) -> str | None:
    """The path of the agent's socket; ssh_config(5), IdentityAgent."""
    if value in ("", "none"):
        return None
    if value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if value.startswith("$"):
        return os.environ.get(value[1:].strip("{}")) or None
    return value


def expand(text: str, settings: Settings) -> str:
    """`~`, `${VAR}` and the %-tokens of ssh_config(5), which `ssh -G` leaves alone in keys and commands."""
    local = socket.gethostname()
    tokens = {
        "%": "%",
        "d": str(Path.home()),
        "h": settings.hostname,
        "i": str(os.getuid()),
        "k": settings.host_key_alias or settings.alias,
        "L": local.partition(".")[0],
        "l": local,
        "n": settings.alias,
        "p": str(settings.port),
        "r": settings.user,
        "u": getpass.getuser(),
    }
    text = re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], match[0]), text)
    text = re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)
    return str(Path(text).expanduser()) if text.startswith("~") else text
