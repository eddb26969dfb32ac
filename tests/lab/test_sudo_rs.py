"""sudo-rs, as Debian 13 has it, in place of sudo: with a password and without, right and wrong."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hivekeys import inventory
from hivekeys.fleet import Become, Host
from hivekeys.lab import Lab
from hivekeys.protocol.causes import Cause, Trouble
from hivekeys.ssh.dialer import SshDialer, Sudo
from hivekeys.ssh.line import Line
from hivekeys.ssh.password import Password

from .rotating import AGENT

pytestmark = pytest.mark.lab
RULES = "/etc/sudoers.d/deploy"
OURS = "/usr/local/bin/sudo"


@pytest.fixture(scope="module")
def password() -> str:
    return secrets.token_urlsafe(16)


@pytest.fixture(scope="module")
def oxidized(fleet: Lab, password: str) -> Iterator[str]:
    """The host of the fleet that runs trixie, where `sudo` is sudo-rs now and wants a password."""
    (name, *_) = (name for name, host in fleet.hosts.items() if host.release == "trixie")
    was = fleet.read(name, RULES)
    fleet.run(name, ["chpasswd"], text=f"deploy:{password}\n", check=True)
    fleet.write(name, RULES, was.replace("NOPASSWD:", ""), mode=0o440)
    fleet.sh(name, f"ln -s $(command -v sudo-rs) {OURS}")
    yield name
    fleet.sh(name, f"rm {OURS}; usermod --password '*' deploy")
    fleet.write(name, RULES, was, mode=0o440)


def host_of(lab: Lab, name: str, become: Become) -> Host:
    (host,) = (host for host in inventory.load(lab.folder / "inventory.toml").hosts if host.name == name)
    return replace(host, become=become)


def dial(lab: Lab, name: str, text: str, become: Become = Become.SUDO_PASSWORD) -> Line | Cause:
    fleet = inventory.load(lab.folder / "inventory.toml")
    dialer = SshDialer(fleet, AGENT, Sudo(Password(text)))
    line = dialer.dial(host_of(lab, name, become))
    if not isinstance(line, Cause):
        line.close()
    dialer.close()
    return line


def test_it_is_sudo_rs_that_is_tried(fleet: Lab, oxidized: str) -> None:
    assert "sudo-rs" in fleet.sh(oxidized, f"{OURS} --version 2>&1")


def test_the_right_password_opens(fleet: Lab, oxidized: str, password: str) -> None:
    line = dial(fleet, oxidized, password)
    assert not isinstance(line, Cause), line


def test_a_wrong_password_is_known_by_the_second_question(fleet: Lab, oxidized: str) -> None:
    cause = dial(fleet, oxidized, "not it")
    assert isinstance(cause, Cause)
    assert (cause.trouble, cause.detail) == (
        Trouble.SUDO_PASSWORD_REFUSED,
        "sudo asks again: the password is wrong here",
    )


def test_a_password_where_none_was_expected_is_refused(fleet: Lab, oxidized: str) -> None:
    cause = dial(fleet, oxidized, "unused", Become.SUDO)
    assert isinstance(cause, Cause)
    assert cause.trouble is Trouble.SUDO_REFUSED


def test_a_host_that_wants_none_is_told_none(fleet: Lab, oxidized: str) -> None:
    was = fleet.read(oxidized, RULES)
    fleet.write(oxidized, RULES, was.replace("ALL=(ALL:ALL)", "ALL=(ALL:ALL) NOPASSWD:"), mode=0o440)
    try:
        for become in (Become.SUDO, Become.SUDO_PASSWORD):
            line = dial(fleet, oxidized, "not it", become)
            assert not isinstance(line, Cause), line
    finally:
        fleet.write(oxidized, RULES, was, mode=0o440)
