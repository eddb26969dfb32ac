"""A bastion's view of hosts, for real: sshds on loopback, each with its own configuration, and the files to
reach them.

`ssh.host()` starts an sshd and answers a Host that the dialer takes; everything a test starts is ended with
it.
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hivekeys.fleet import Become, Fleet, Host, Role, Service, Ssh, Timeouts
from hivekeys.remote import SshDialer

# What the tests start instead of the real agent: it repeats each request, and does what some of them say.
ECHO_AGENT = b"""\
import json, os, sys, time
print("hivekeys:ready", flush=True)
for line in sys.stdin.buffer:
    request = json.loads(line)
    exec(request.get("first", ""))
    print(json.dumps({"echo": request}), flush=True)
"""

SERVICE = Service(unit="x.service", port=1, health=(), protected=())
QUICK = Timeouts(connect=3, banner=3, auth=8, channel=5)
KINDS = ("ed25519", "ecdsa", "rsa")


@dataclass
class Sshd:
    """A running sshd."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    keys: dict[str, Path]

    def public(self, kind: str = "ed25519") -> str:
        """Type and key, as they stand in known_hosts."""
        return " ".join(self.keys[kind].with_suffix(".pub").read_text().split()[:2])

    @property
    def name(self) -> str:
        return f"[127.0.0.1]:{self.port}"


@dataclass
class Bastion:
    """Keys, known_hosts and ssh_config of a bastion, and the sshds that it reaches."""

    folder: Path
    host_keys: Path
    sshds: list[Sshd] = field(default_factory=list)
    dialers: list[SshDialer] = field(default_factory=list)

    @property
    def key(self) -> Path:
        return self.folder / "login"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    def sshd(self, *options: str, kinds: tuple[str, ...] = ("ed25519",), known: bool = True) -> Sshd:
        """An sshd on a free port, with `options` in its configuration, its keys `known` to the bastion."""
        port = free_port()
        folder = self.folder / f"sshd{port}"
        folder.mkdir()
        keys = {kind: shutil.copy2(self.host_keys / kind, folder / kind) for kind in kinds}
        for kind in kinds:
            shutil.copy2(self.host_keys / f"{kind}.pub", folder / f"{kind}.pub")
        config = folder / "config"
        config.write_text(
            "\n".join(
                [
                    *options,
                    *(f"HostKey {key}" for key in keys.values()),
                    "ListenAddress 127.0.0.1",
                    "PidFile none",
                    "UsePAM no",
                    "StrictModes no",
                    "PermitRootLogin yes",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "LogLevel VERBOSE",
                    f"AuthorizedKeysFile {self.folder}/authorized_keys",
                ]
            )
        )
        log = folder / "log"
        with log.open("wb") as words:
            process = subprocess.Popen(
                ["/usr/sbin/sshd", "-D", "-e", "-f", str(config), "-p", str(port)], stdout=words, stderr=words
            )
        sshd = Sshd(port, process, log, {kind: Path(key) for kind, key in keys.items()})
        self.sshds.append(sshd)
        wait_until(lambda: "Server listening" in log.read_text(), f"sshd on port {port}")
        if known:
            self.know(*(f"{sshd.name} {sshd.public(kind)}" for kind in kinds))
        return sshd

    def know(self, *lines: str) -> None:
        """Add lines to known_hosts."""
        with self.known_hosts.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def host(self, sshd: Sshd | None = None, **changes: object) -> Host:
        """A host of the inventory; without an sshd it gets one of its own."""
        if sshd is None and "port" not in changes:
            sshd = self.sshd()
        values: dict[str, object] = {
            "service": SERVICE,
            "port": sshd.port if sshd else None,
            "user": getpass.getuser(),
            "key": str(self.key),
            "become": Become.NONE,
        }
        values |= changes
        address = str(values.pop("address", "127.0.0.1"))
        name = str(values.pop("name", f"host{values['port']}"))
        return Host(name, Role.HIVE, address, **values)  # type: ignore[arg-type]  # the tests' own shorthand

    def dialer(self, program: bytes = ECHO_AGENT, timeouts: Timeouts = QUICK) -> SshDialer:
        """A dialer as a run has it; closed at the end of the test."""
        ssh = Ssh(known_hosts=(str(self.known_hosts),), config=str(self.config))
        dialer = SshDialer(Fleet("test", hosts=(), timeouts=timeouts, ssh=ssh), program)
        self.dialers.append(dialer)
        return dialer


def free_port() -> int:
    """A port that nobody listens on now. Below the range from which the kernel gives ports to clients."""
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return int(plug.getsockname()[1])


def wait_until(true, what: str, seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    """Poll until `true()`; a test that waits in vain says for what."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        os.sched_yield()


@pytest.fixture(scope="session")
def host_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Host keys of each type, made once: RSA takes its time."""
    folder = tmp_path_factory.mktemp("host_keys")
    for kind in KINDS:
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / kind], check=True)
    return folder


@pytest.fixture
def ssh(tmp_path: Path, host_keys: Path) -> Iterator[Bastion]:
    """A bastion whose key opens every sshd that it starts."""
    bastion = Bastion(tmp_path, host_keys)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", bastion.key], check=True)
    shutil.copy(bastion.key.with_suffix(".pub"), tmp_path / "authorized_keys")
    bastion.config.write_text("IdentityAgent none\n")
    bastion.known_hosts.write_text("")
    yield bastion
    for dialer in bastion.dialers:
        dialer.close()
    for sshd in bastion.sshds:
        sshd.process.kill()
        sshd.process.wait()
