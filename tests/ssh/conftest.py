"""The bastion for each test, and host keys made once for all of them."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bastion import Bastion


@pytest.fixture(scope="session")
def all_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Folders with a key of each type. Made once: RSA takes its time."""
    folders = tuple(tmp_path_factory.mktemp(f"keys{number}") for number in range(3))
    for folder in folders:
        for kind in ("ed25519", "ecdsa", "rsa"):
            size = ["-b", "2048"] if kind == "rsa" else []  # the smallest that sshd takes, for speed
            subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-f", folder / kind], check=True)
    return folders


@pytest.fixture
def ssh(tmp_path: Path, all_keys: tuple[Path, ...]) -> Iterator[Bastion]:
    """A bastion with an empty known_hosts and a configuration that keeps the tester's own agent out."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it; systemd makes it where systemd starts sshd
    bastion = Bastion(tmp_path, all_keys)
    bastion.config.write_text("IdentityAgent none\nGlobalKnownHostsFile none\n")
    bastion.known_hosts.write_text("")
    yield bastion
    bastion.end()
