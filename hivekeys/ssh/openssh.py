"""Asks OpenSSH for a host's settings (`ssh -G`) and the jump hosts on the way.

OpenSSH is the only judge of its own files: Include, Match and ProxyJump mean here what they mean to
`ssh HOST`. Nothing is contacted.

A question is a process, 5 ms of it, and the hosts of a fleet mostly differ by their names alone. So OpenSSH also says
which files it read (-v). Where nothing in them looks at a host's name, one answer is that of all hosts of which the
inventory says the same.
"""

import re
import subprocess
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from hivekeys.files import refuse_strangers
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.config_files import files_of
from hivekeys.ssh.settings import Settings, expand, parse

MAX_HOPS = 8  # more jump hosts than that is a circle

_PLAIN = re.compile(r"[a-z0-9][a-z0-9.-]*")  # a name that OpenSSH leaves as it is
_READ = re.compile(r"^debug1: Reading configuration data (.{1,199})$", re.MULTILINE)  # it cuts them at 200
# What makes a setting depend on the host's name, or on whether the host is its own jump host.
_BY_NAME = re.compile(
    r"""^\s*"?(match|hostname|canonical\w*|proxy\w*|host(?!["\s=]+\*\s*$))["\s=]|^(?!\s*\#).*%""",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Target:
    """One end to reach, as the inventory or a ProxyJump names it; None leaves a setting to OpenSSH."""

    alias: str
    port: int | None = None
    user: str | None = None
    key: str | None = None
    jump: str | None = None


@dataclass
class _Alike:
    """Targets that differ by their names alone, and the answer that is all theirs: "" when there is none."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: str | None = None


class OpenSsh:
    """Asks `ssh -G`, once per target at most. Safe for many threads."""

    def __init__(self, config: str | None, known_hosts: tuple[str, ...] | None, timeout: float) -> None:
        """`config` and `known_hosts` replace the user's own files; `timeout` (seconds) bounds a question.

        Raises UserError for a configuration that others can change: to ask about it runs the commands in it.
        """
        for file in files_of(config):
            refuse_strangers(file)
        self._config = config
        self._known_hosts = known_hosts
        self._timeout = timeout
        self._answers: dict[Target, Settings | Cause] = {}
        self._alike: dict[Target, _Alike] = {}
        self._lock = threading.Lock()

    def route(self, target: Target) -> tuple[Settings, ...] | Cause:
        """Every hop to `target` in the order in which they are dialed; the target comes last.

        As with `ssh -J a,b HOST`: b is reached through a, and only the first hop may have a ProxyJump of its
        own. The target's key is also tried on its jump hosts, after their own: in a fleet they often share
        it.
        """
        hops: list[Settings] = []
        step: Target | None = self._past_itself(target)
        while step is not None:
            if len(hops) > MAX_HOPS:
                return Cause(Trouble.SSH_CONFIG, f"{target.alias}: ProxyJump goes in a circle")
            answer = self.settings(step)
            if isinstance(answer, Cause):
                return answer
            if hops and target.key:
                answer = replace(answer, identity_files=(*answer.identity_files, expand(target.key, answer)))
            hops.insert(0, answer)
            step = _hop_before(answer.jump) if answer.jump else None
        return tuple(hops)

    def _past_itself(self, target: Target) -> Target:
        """The target with those of its jump hosts that lead to it: one that is its own jump host is reached as such.

        Where an inventory gives all hosts one way, the jump host may be among them; `ssh -J HOST HOST` is an error.
        """
        jumps = [jump for jump in (target.jump or "none").split(",") if jump != "none"]
        own = self.settings(target) if jumps else None
        if isinstance(own, Cause):  # OpenSSH has seen the circle: the names are the same
            own = self.settings(replace(target, jump="none"))
        for place, jump in enumerate(jumps):
            hop = self.settings(replace(_hop_before(jump), jump="none"))
            if isinstance(own, Settings) and isinstance(hop, Settings) and own.known_as == hop.known_as:
                return replace(target, jump=",".join(jumps[:place]) or "none")
        return target

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
        odd = "%" in f"{target.key}{target.jump}" or target.alias in (target.jump or "")
        if odd or not _PLAIN.fullmatch(target.alias):
            return self._ask_alone(target)
        with self._lock:
            alike = self._alike.setdefault(replace(target, alias=""), _Alike())
        with alike.lock:
            if alike.answer is None:
                alike.answer = self._common_answer(target)
        if not alike.answer:
            return self._ask_alone(target)
        return parse(target.alias, f"hostname {target.alias}\n{alike.answer}", self._known_hosts)

    def _ask_alone(self, target: Target) -> Settings | Cause:
        answer = self._call(target)
        if isinstance(answer, Cause):
            return answer
        if answer.returncode != 0:
            words = answer.stderr.strip() or f"`ssh -G` ended with status {answer.returncode}"
            return Cause(Trouble.SSH_CONFIG, f"{target.alias}: {words}")
        return parse(target.alias, answer.stdout, self._known_hosts)

    def _common_answer(self, target: Target) -> str:
        """The answer without the host's name; "" where another name could have another."""
        answer = self._call(target, "-v")
        if isinstance(answer, Cause) or answer.returncode != 0:
            return ""
        lines = answer.stdout.splitlines()
        if f"hostname {target.alias}" not in lines or any(map(_looks_at_names, _READ.findall(answer.stderr))):
            return ""
        return "\n".join(line for line in lines if not line.startswith(("host ", "hostname ")))

    def _call(self, target: Target, *options: str) -> "subprocess.CompletedProcess[str] | Cause":
        words = ["ssh", "-G", "-T", *options, *_overrides(target, self._config), "--", target.alias]
        return call(words, self._timeout)


def _looks_at_names(file: str) -> bool:
    """True for a file of configuration in which something may depend on the host's name."""
    try:
        return _BY_NAME.search(Path(file.rstrip("\r")).read_text(errors="replace")) is not None
    except OSError:
        return True


def call(command: list[str], timeout: float) -> subprocess.CompletedProcess[str] | Cause:
    """Run one of OpenSSH's own programs, for at most `timeout` seconds; SSH_CONFIG if it did not answer."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        words = f"there is no `{command[0]}` on this machine: install the OpenSSH client"
    except subprocess.TimeoutExpired:
        words = f"`{' '.join(command)}` did not end within {timeout:g} s"
    return Cause(Trouble.SSH_CONFIG, words)


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
