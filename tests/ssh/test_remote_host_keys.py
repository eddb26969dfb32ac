"""Strict host keys: only a known key is ever talked to, and OpenSSH judges which ones are known."""

import subprocess

import pytest

from hivekeys.protocol.causes import Trouble

from .bastion import Bastion


def test_a_command_that_would_know_the_key_is_named_where_it_is_unknown(ssh: Bastion) -> None:
    """KnownHostsCommand is OpenSSH's; here it is not run, and the operator must not wonder."""
    ssh.config.write_text("KnownHostsCommand /usr/bin/keys-of %H\n")
    detail = ssh.refused(ssh.host(ssh.sshd(known=False)), Trouble.HOST_KEY_UNKNOWN)
    assert "KnownHostsCommand is not run here: /usr/bin/keys-of %H" in detail


def test_a_host_that_nobody_knows_is_refused_with_its_fingerprint(ssh: Bastion) -> None:
    """The operator can compare the fingerprint with the one on the host's console."""
    sshd = ssh.sshd(known=False)
    detail = ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_UNKNOWN)
    assert f"{sshd.name} presents ssh-ed25519 {sshd.fingerprint()}" in detail
    assert str(ssh.known_hosts) in detail


def test_a_changed_key_is_refused_with_both_fingerprints(ssh: Bastion) -> None:
    """The old and the new one."""
    other, sshd = ssh.sshd(known=False), ssh.sshd(known=False)
    ssh.know(f"{sshd.name} {other.public()}")
    detail = ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_CHANGED)
    assert sshd.fingerprint() in detail
    assert other.fingerprint() in detail


def test_a_key_of_another_type_than_the_known_one_is_a_change(ssh: Bastion) -> None:
    """Whoever cannot show the known key does not get in by showing one of a type we have not seen."""
    other, sshd = ssh.sshd(known=False), ssh.sshd(kinds=("ed25519",), known=False)
    ssh.know(f"{sshd.name} {other.public('rsa')}")
    detail = ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_CHANGED)
    assert sshd.fingerprint() in detail
    assert other.fingerprint("rsa") in detail


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_with_several_keys_is_asked_for_the_one_we_know(ssh: Bastion, kind: str) -> None:
    """No key of a type that nobody knows gets in the way."""
    sshd = ssh.sshd(kinds=("ed25519", "ecdsa", "rsa"), known=False)
    ssh.know(f"{sshd.name} {sshd.public(kind)}")
    ssh.line(ssh.host(sshd))


def test_several_known_keys_of_one_type_are_all_good(ssh: Bastion) -> None:
    """A fleet behind one name, or a key that is being exchanged."""
    other, sshd = ssh.sshd(known=False), ssh.sshd(known=False)
    ssh.know(f"{sshd.name} {other.public()}", f"other,{sshd.name} {sshd.public()} comment")
    ssh.line(ssh.host(sshd))


def test_a_revoked_key_is_refused_although_it_is_listed(ssh: Bastion) -> None:
    """@revoked wins over any other line."""
    sshd = ssh.sshd()
    ssh.know(f"@revoked * {sshd.public()}")
    assert sshd.fingerprint() in ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_REVOKED)


def test_a_revoked_key_of_another_host_takes_nothing_away(ssh: Bastion) -> None:
    """Paramiko's own reader breaks on the marker; OpenSSH reads it."""
    other, sshd = ssh.sshd(known=False), ssh.sshd()
    ssh.know(f"@revoked * {other.public()}")
    ssh.line(ssh.host(sshd))


def test_hashed_names_are_found(ssh: Bastion) -> None:
    """HashKnownHosts is the default on Debian and Ubuntu."""
    sshd = ssh.sshd()
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", ssh.known_hosts], check=True, capture_output=True)
    assert "127.0.0.1" not in ssh.known_hosts.read_text()
    ssh.line(ssh.host(sshd))


def test_wildcards_and_negation_mean_what_openssh_means(ssh: Bastion) -> None:
    """A pattern matches; a negated one takes the host out again."""
    first, second = ssh.sshd(known=False), ssh.sshd(known=False)
    ssh.know(f"[127.0.0.*]:*,!{second.name} {first.public()}", f"[127.0.0.*]:*,!{second.name} {second.public()}")
    dialer = ssh.dialer()
    ssh.line(ssh.host(first), dialer)
    ssh.refused(ssh.host(second), Trouble.HOST_KEY_UNKNOWN, dialer=dialer)


def test_the_port_is_part_of_the_name(ssh: Bastion) -> None:
    """A key known for port 22 says nothing about another port of that address."""
    sshd = ssh.sshd(known=False)
    ssh.know(f"127.0.0.1 {sshd.public()}")
    ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_UNKNOWN)


def test_host_key_alias_names_the_entry(ssh: Bastion) -> None:
    """As in OpenSSH, the alias stands alone, without the port."""
    sshd = ssh.sshd(known=False)
    ssh.config.write_text("IdentityAgent none\nHostKeyAlias The-Hive\n")
    ssh.know(f"the-hive {sshd.public()}")
    ssh.line(ssh.host(sshd))


def test_a_refused_host_sees_no_login(ssh: Bastion) -> None:
    """Not even the name of the user reaches a host whose key is not the known one."""
    sshd = ssh.sshd(known=False)
    ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_UNKNOWN)
    assert "ublickey" not in sshd.log.read_text()


def test_strictness_is_not_the_configurations_to_lower(ssh: Bastion) -> None:
    """StrictHostKeyChecking no is for people at a prompt."""
    ssh.config.write_text("IdentityAgent none\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n")
    ssh.refused(ssh.host(ssh.sshd(known=False)), Trouble.HOST_KEY_UNKNOWN)
