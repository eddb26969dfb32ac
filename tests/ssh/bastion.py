"""A bastion's view of hosts, for real: sshds on loopback, and the keys and files to reach them.

Whatever a test starts or dials through its Bastion is ended with the test.
"""

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hivekeys.fleet import Become, Fleet, Host, Role, Ssh, Timeouts
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.service import Service
from hivekeys.ssh.dialer import SshDialer, Sudo
from hivekeys.ssh.line import QUIET, Line

# What the tests start instead of the real agent: it repeats each request, after doing what the request says.
# It counts the bastion's signs of life.
ECHO_AGENT = b"""\
import json, os, sys, time
print("hivekeys:ready", flush=True)
beats = 0
for line in iter(sys.stdin.buffer.readline, b""):
    if not line.strip() or line.startswith(b"@"):
        beats += 1
        continue
    request = json.loads(line)
    exec(request.get("first", ""))
    print(json.dumps({"echo": request}), flush=True)
"""

SERVICE = Service(unit="x.service", port=1, health=(), protected=())
SOON = 30.0  # seconds: on a loaded machine too, who takes longer waits for what should not be waited for
PATIENT = Timeouts(connect=10, banner=10, auth=20, channel=10)  # a loaded machine must not fail a test


@dataclass
class Sshd:
    """A running sshd."""

    port: int
    process: subprocess.Popen[bytes]
    config: Path
    log: Path
    keys: Path

    @property
    def name(self) -> str:
        """As known_hosts calls it."""
        return f"[127.0.0.1]:{self.port}"

    @property
    def settled(self) -> bool:
        """Whether it listens, or gave up."""
        return self.process.poll() is not None or "Server listening" in self.log.read_text()

    def public(self, kind: str = "ed25519") -> str:
        """A host key's type and text, as they stand in known_hosts."""
        return " ".join((self.keys / f"{kind}.pub").read_text().split()[:2])

    def fingerprint(self, kind: str = "ed25519") -> str:
        """As `ssh-keygen -l` prints it."""
        command = ["ssh-keygen", "-l", "-f", str(self.keys / f"{kind}.pub")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]


@dataclass
class Bastion:
    """The machine that hivekeys runs on, with a key that opens every sshd which it starts."""

    folder: Path
    all_keys: tuple[Path, ...]  # folders with a key of each type: one for the bastion, the others for hosts
    sshds: list[Sshd] = field(default_factory=list)
    open: list[Line | SshDialer] = field(default_factory=list)
    frozen: list[int] = field(default_factory=list)

    @property
    def key(self) -> Path:
        return self.all_keys[0] / "ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    def know(self, *lines: str) -> None:
        """Add lines to known_hosts."""
        with self.known_hosts.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def sshd(self, *options: str, kinds: tuple[str, ...] = ("ed25519",), known: bool = True) -> Sshd:
        """An sshd on a free port, with `options` in its configuration, its keys `known` to the bastion."""
        keys = self._next_keys
        config = self.folder / f"sshd_config{len(self.sshds)}"
        lines = (
            *options,
            *(f"HostKey {keys / kind}" for kind in kinds),
            f"AuthorizedKeysFile {self.key}.pub",
            "ListenAddress 127.0.0.1",
            "LogLevel VERBOSE",
            "PasswordAuthentication no",
            "PermitRootLogin yes",
            "PidFile none",
            "SetEnv SHLVL=9",  # bash then leaves the tester's own ~/.bashrc out
            "StrictModes no",
            "UsePAM no",
        )
        config.write_text("\n".join(lines) + "\n")
        sshd = _start(config, keys)
        self.sshds.append(sshd)
        if known:
            self.know(*(f"{sshd.name} {sshd.public(kind)}" for kind in kinds))
        return sshd

    def certified(self, authority: str = "ca", *options: str, host: bool = True, **sshd: Any) -> Sshd:
        """An sshd that shows a certificate for its key, signed by that authority with options of `ssh-keygen -s`."""
        kind = sshd.get("kinds", ("ed25519",))[0]
        public = self.folder / f"{authority}-{len(self.sshds)}.pub"
        public.write_bytes((self._next_keys / f"{kind}.pub").read_bytes())
        sign = ["ssh-keygen", "-q", "-s", str(self.authority(authority)), "-I", "host", *(["-h"] if host else [])]
        subprocess.run([*sign, *options, str(public)], check=True, capture_output=True)
        return self.sshd(f"HostCertificate {public.with_suffix('')}-cert.pub", known=False, **sshd)

    def authority(self, name: str = "ca") -> Path:
        """The private key of an authority; its type is what stands behind a dash in the name (ed25519)."""
        path = self.folder / name
        if not path.exists():
            kind = name.partition("-")[2] or "ed25519"
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
        return path

    def trusted(self, name: str = "ca") -> str:
        """An authority's public key, as it stands behind the names in known_hosts."""
        return " ".join(self.authority(name).with_suffix(".pub").read_text().split()[:2])

    @property
    def _next_keys(self) -> Path:
        """The host keys of the sshd that is started next."""
        return self.all_keys[1 + len(self.sshds) % (len(self.all_keys) - 1)]

    def stop(self, sshd: Sshd) -> None:
        """End an sshd; connections that stand already are served by processes of their own."""
        sshd.process.kill()
        sshd.process.wait()

    def restart(self, sshd: Sshd) -> None:
        """Start an sshd that was stopped, on the same port."""
        sshd.process = _spawn(sshd.config, sshd.port, sshd.log)
        wait_until(lambda: sshd.settled, "an sshd that listens")
        assert sshd.process.poll() is None, sshd.log.read_text()

    def host(self, sshd: Sshd | None = None, *, address: str = "127.0.0.1", **changes: object) -> Host:
        """The sshd as a host of the inventory; without an sshd and a port it gets an sshd of its own."""
        if sshd is None and "port" not in changes:
            sshd = self.sshd()
        values: dict[str, object] = {
            "port": sshd.port if sshd else None,
            "user": getpass.getuser(),
            "key": str(self.key),
            "become": Become.NONE,
        } | changes
        name = str(values.pop("name", f"host-{values['port']}"))
        return Host(name, Role.HIVE, address, service=SERVICE, **values)  # type: ignore[arg-type]  # a shorthand

    def dialer(
        self,
        program: bytes = ECHO_AGENT,
        timeouts: Timeouts = PATIENT,
        sudo: Sudo | None = None,
        quiet: float = QUIET,
    ) -> SshDialer:
        """A dialer, as a run has it."""
        ssh = Ssh(known_hosts=(str(self.known_hosts),), config=str(self.config))
        dialer = SshDialer(Fleet("test", hosts=(), timeouts=timeouts, ssh=ssh), program, sudo, quiet=quiet)
        self.open.append(dialer)
        return dialer

    def dial(self, host: Host, dialer: SshDialer | None = None, **options: object) -> Line | Cause:
        """Dial a host, with a fresh dialer unless one is given."""
        line = (dialer or self.dialer(**options)).dial(host)  # type: ignore[arg-type]  # dialer()'s own options
        if not isinstance(line, Cause):
            self.open.insert(0, line)
        return line

    def line(self, host: Host, dialer: SshDialer | None = None, **options: object) -> Line:
        """A line that stands, or the test fails with the reason why there is none."""
        line = self.dial(host, dialer, **options)
        assert not isinstance(line, Cause), line
        return line

    def refused(self, host: Host, trouble: Trouble, **options: object) -> str:
        """The detail with which a host is refused; the test fails unless it is for this trouble."""
        cause = self.dial(host, **options)  # type: ignore[arg-type]  # dial()'s own options
        assert isinstance(cause, Cause), "the line stands"
        assert cause.trouble is trouble, cause
        return cause.detail

    def sshd_of(self, line: Line) -> int:
        """The process that serves a line on its host; a test may freeze it, it is ended with the test."""
        answer = line.ask({"first": "request = os.getppid()"}, 10)
        assert not isinstance(answer, Cause), answer
        pid = int(str(answer["echo"]))
        self.frozen.append(pid)
        return pid

    def end(self) -> None:
        """Close what was opened, end what was started."""
        for thing in self.open:
            thing.close()
        for sshd in self.sshds:
            self.stop(sshd)
        for pid in self.frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _start(config: Path, keys: Path) -> Sshd:
    """Start an sshd; on another port if somebody took the free one in between."""
    for _ in range(10):
        port = free_port()
        log = config.with_suffix(f".log{port}")
        sshd = Sshd(port, _spawn(config, port, log), config, log, keys)
        wait_until(lambda sshd=sshd: sshd.settled, "an sshd that listens")  # type: ignore[misc]  # cannot infer it
        if sshd.process.poll() is None:
            return sshd
    raise AssertionError(log.read_text())


def _spawn(config: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(config), "-p", str(port)]
    with log.open("wb") as words:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return int(plug.getsockname()[1])


def wait_until(true: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Poll until `true()`; a test that waits in vain says for what."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        threading.Event().wait(0.005)


def paramiko_threads() -> list[threading.Thread]:
    """The threads of SSH connections that still run."""
    return [thread for thread in threading.enumerate() if type(thread).__module__.startswith("paramiko")]
