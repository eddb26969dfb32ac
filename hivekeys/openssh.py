"""What OpenSSH itself says about a host: its settings (`ssh -G`) and the way there, hop by hop.

OpenSSH is the only judge of its own files: Include, Match and ProxyJump mean here what they mean to `ssh
HOST`. Nothing is contacted. ForwardAgent, StrictHostKeyChecking and the like are not read at all: hivekeys
never forwards and never trusts an unknown key.
"""

import getpass
import os
import re
import socket
import subprocess
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from hivekeys.causes import Cause, Trouble

MAX_HOPS = 8  # more jump hosts than that is a circle
_PLAIN = re.compile(r"[A-Za-z0-9_.:%@\[\]][A-Za-z0-9_.:%@\[\]-]*")  # may stand in a ProxyCommand unquoted


@dataclass(frozen=True)
class Target:
    """One end to reach, as the inventory or a ProxyJump names it; None leaves a setting to OpenSSH."""

    alias: str
    port: int | None = None
    user: str | None = None
    key: str | None = None
    jump: str | None = None


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
    host_key_alias: str | None = None

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


_FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}


class OpenSsh:
    """Asks `ssh -G`, once per target. Safe for many threads."""

    def __init__(self, config: str | None, known_hosts: tuple[str, ...] | None, timeout: float) -> None:
        """`config` and `known_hosts` replace the user's own files; `timeout` (seconds) bounds a question."""
        self._config = config
        self._known_hosts = known_hosts
        self._timeout = timeout
        self._answers: dict[Target, Settings | Cause] = {}
        self._lock = threading.Lock()

    def route(self, target: Target) -> tuple[Settings, ...] | Cause:
        """Every hop to `target` in the order in which they are dialed; the target comes last.

        As with `ssh -J a,b HOST`: b is reached through a, and only the first hop may have a ProxyJump of its
        own. The target's key is also tried on its jump hosts, after their own: in a fleet they often share
        it.
        """
        hops: list[Settings] = []
        step: Target | None = target
        while step is not None:
            if len(hops) > MAX_HOPS:
                return Cause(Trouble.SSH_CONFIG, f"{target.alias}: ProxyJump goes in a circle")
            answer = self.settings(step)
            if isinstance(answer, Cause):
                return answer
            if hops and target.key:
                answer = replace(answer, identity_files=(*answer.identity_files, _expand(target.key, answer)))
            hops.insert(0, answer)
            step = _hop_before(answer.jump) if answer.jump else None
        return tuple(hops)

    def settings(self, target: Target) -> Settings | Cause:
        """OpenSSH's settings for `target`; SSH_CONFIG with OpenSSH's own words if it has none."""
        with self._lock:
            known = self._answers.get(target)
        if known is None:
            known = self._ask(target)
            with self._lock:
                self._answers[target] = known
        return known

    def _ask(self, target: Target) -> Settings | Cause:
        command = ["ssh", "-G", "-T", *_overrides(target, self._config), "--", target.alias]
        try:
            answer = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._timeout,
                check=False,
            )
        except FileNotFoundError:
            return Cause(Trouble.SSH_CONFIG, "there is no `ssh` on this machine: install the OpenSSH client")
        except subprocess.TimeoutExpired:
            return Cause(Trouble.SSH_CONFIG, f"`ssh -G {target.alias}` did not end within {self._timeout:g} s")
        if answer.returncode != 0:
            words = answer.stderr.strip() or f"`ssh -G` ended with status {answer.returncode}"
            return Cause(Trouble.SSH_CONFIG, f"{target.alias}: {words}")
        return _read(target.alias, answer.stdout, self._known_hosts)


def _overrides(target: Target, config: str | None) -> list[str]:
    """The inventory's values as options; `-o IdentityFile`, since `-i` drops a file that is not there."""
    options = ["-F", config] if config else []
    if target.port is not None:
        options += ["-p", str(target.port)]
    if target.user is not None:
        options += ["-l", target.user]
    if target.key is not None:
        options += ["-o", f'IdentityFile="{target.key}"']
    if target.jump is not None:
        options += ["-o", f"ProxyJump={target.jump}"]
    return options


def _hop_before(jump: str) -> Target:
    """The last of the jump hosts `a,b,c`, itself reached through those named before it."""
    before, _, last = jump.rpartition(",")
    user, _, place = last.removeprefix("ssh://").rstrip("/").rpartition("@")
    host, port = place, ""
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
    elif place.count(":") == 1:
        host, _, port = place.partition(":")
    port = port.removeprefix(":")
    return Target(host, port=int(port) if port else None, user=user or None, jump=before or None)


def _read(alias: str, answer: str, known_hosts: tuple[str, ...] | None) -> Settings | Cause:
    """The lines of `ssh -G` as Settings."""
    said: dict[str, list[str]] = {}
    for line in answer.splitlines():
        name, _, value = line.partition(" ")
        said.setdefault(name.lower(), []).append(value.strip())

    def one(name: str) -> str | None:
        value = said.get(name, [""])[0]
        return None if value in ("", "none") else value

    def files(text: str | None) -> tuple[str, ...]:
        return tuple(_expand(path, bare) for path in (text or "").split())

    bare = Settings(alias, hostname=one("hostname") or alias, port=int(one("port") or 22), user=one("user") or "")
    command = one("proxycommand")
    problem = _unsupported(one("revokedhostkeys"), one("proxyusefdpass"), command, bare)
    if problem:
        return Cause(Trouble.SSH_CONFIG, f"{alias}: {problem}")
    own = files(one("userknownhostsfile")) if known_hosts is None else known_hosts
    return replace(
        bare,
        identity_files=tuple(_expand(path, bare) for path in said.get("identityfile", []) if path != "none"),
        identities_only=one("identitiesonly") == "yes",
        identity_agent=_agent_socket(said.get("identityagent", ["SSH_AUTH_SOCK"])[0]),
        family=_FAMILIES.get(one("addressfamily") or "any", socket.AF_UNSPEC),
        jump=one("proxyjump"),
        proxy_command=_expand(command, bare) if command else None,
        known_hosts=(*own, *files(one("globalknownhostsfile"))),
        host_key_alias=one("hostkeyalias"),
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


def _expand(text: str, settings: Settings) -> str:
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
