"""Host certificates, made by ssh-keygen and shown by a real sshd: an authority's word is as good as a known key."""

import subprocess
from pathlib import Path

import pytest

from hivekeys.protocol.causes import Trouble

from .bastion import Bastion

HERE = "127.0.0.1"


@pytest.mark.parametrize("authority", ["ca", "ca-ecdsa", "ca-rsa"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_whose_certificate_is_good_needs_no_key_in_known_hosts(ssh: Bastion, kind: str, authority: str) -> None:
    """Whatever types the two keys have."""
    sshd = ssh.certified(authority, "-n", f"hive,{HERE}", kinds=(kind,))
    ssh.know(f"@cert-authority 127.0.0.* {ssh.trusted(authority)}")
    ssh.line(ssh.host(sshd))


def test_a_certificate_is_asked_for_where_plain_keys_are_there_as_well(ssh: Bastion) -> None:
    """A host shows what it is asked for first."""
    sshd = ssh.certified("ca", "-n", HERE, kinds=("rsa", "ed25519", "ecdsa"))
    ssh.know(f"@cert-authority * {ssh.trusted()}")
    ssh.line(ssh.host(sshd))


def test_an_authority_for_one_port_is_none_for_another(ssh: Bastion) -> None:
    """A line without a port, as people write it, is for all of them."""
    sshd = ssh.certified("ca", "-n", HERE)
    ssh.know(f"@cert-authority [{HERE}]:1 {ssh.trusted()}")
    ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_UNKNOWN)
    ssh.know(f"@cert-authority {sshd.name} {ssh.trusted()}")
    ssh.line(ssh.host(sshd))


WRONG = {
    "it has expired": ["-n", HERE, "-V", "20200101:20210101"],
    "it is not valid yet": ["-n", HERE, "-V", "20400101:20410101"],
    f"it is not for {HERE} but for hive1, hive2": ["-n", "hive1,hive2"],
    f"it is not for {HERE} but for no name": [],
    f"it is not for {HERE} but for 127.0.0.*": ["-n", "127.0.0.*"],
    "it has options that are not known: b'moon'": ["-n", HERE, "-O", "critical:moon=full"],
}


@pytest.mark.parametrize("why", WRONG)
def test_a_certificate_that_proves_nothing_is_refused_with_the_reason(ssh: Bastion, why: str) -> None:
    """Also for a name that stands in it as a pattern, or for no name at all."""
    sshd = ssh.certified("ca", *WRONG[why])
    ssh.know(f"@cert-authority * {ssh.trusted()}")
    detail = ssh.refused(ssh.host(sshd), Trouble.HOST_CERTIFICATE_REFUSED)
    assert detail == f"{sshd.name} presents a certificate: {why}"


def test_a_certificate_over_sha_1_is_refused(ssh: Bastion) -> None:
    """What old authorities sign with."""
    sshd = ssh.certified("ca-rsa", "-n", HERE, "-t", "ssh-rsa")
    ssh.know(f"@cert-authority * {ssh.trusted('ca-rsa')}")
    assert "uses SHA-1" in ssh.refused(ssh.host(sshd), Trouble.HOST_CERTIFICATE_REFUSED)


def test_a_certificate_of_another_authority_is_refused_with_both(ssh: Bastion) -> None:
    """The one that signed, and the one that is known."""
    sshd = ssh.certified("ca", "-n", HERE)
    ssh.know(f"@cert-authority * {ssh.trusted('other')}")
    detail = ssh.refused(ssh.host(sshd), Trouble.HOST_CERTIFICATE_REFUSED)
    assert fingerprint(ssh.authority("ca")) in detail
    assert fingerprint(ssh.authority("other")) in detail


def test_a_revoked_authority_is_refused_although_it_is_trusted(ssh: Bastion) -> None:
    """@revoked wins over any other line, and over a plain key that is known."""
    sshd = ssh.certified("ca", "-n", HERE)
    ssh.know(f"@cert-authority * {ssh.trusted()}", f"@revoked * {ssh.trusted()}", f"{sshd.name} {sshd.public()}")
    detail = ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_REVOKED)
    assert fingerprint(ssh.authority("ca")) in detail


def test_a_revoked_key_is_refused_although_it_is_certified(ssh: Bastion) -> None:
    """A host that was broken into keeps its certificate."""
    sshd = ssh.certified("ca", "-n", HERE)
    ssh.know(f"@cert-authority * {ssh.trusted()}", f"@revoked * {sshd.public()}")
    assert sshd.fingerprint() in ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_REVOKED)


def test_a_host_that_has_only_a_key_is_told_what_is_missing(ssh: Bastion) -> None:
    """An authority is known for it, and it shows no certificate."""
    sshd = ssh.sshd(known=False)
    ssh.know(f"@cert-authority * {ssh.trusted()}")
    assert "it presents no certificate" in ssh.refused(ssh.host(sshd), Trouble.HOST_KEY_UNKNOWN)


def test_a_known_key_stays_good_when_its_certificate_has_expired(ssh: Bastion) -> None:
    """As in OpenSSH: a certificate that proves nothing takes nothing away."""
    sshd = ssh.certified("ca", "-n", HERE, "-V", "20200101:20210101")
    ssh.know(f"@cert-authority * {ssh.trusted()}", f"{sshd.name} {sshd.public()}")
    ssh.line(ssh.host(sshd))


def test_the_alias_is_the_name_that_a_certificate_must_have(ssh: Bastion) -> None:
    """HostKeyAlias, as in OpenSSH."""
    sshd = ssh.certified("ca", "-n", "the-hive")
    ssh.config.write_text("IdentityAgent none\nGlobalKnownHostsFile none\nHostKeyAlias The-Hive\n")
    ssh.know(f"@cert-authority the-hive {ssh.trusted()}")
    ssh.line(ssh.host(sshd))


def test_a_jump_host_may_be_certified_as_well(ssh: Bastion) -> None:
    """Each hop is judged by the same rules."""
    jump, host = ssh.certified("ca", "-n", HERE), ssh.certified("ca", "-n", HERE)
    ssh.know(f"@cert-authority * {ssh.trusted()}")
    ssh.line(ssh.host(host, jump=f"{HERE}:{jump.port}"))


def fingerprint(private: Path) -> str:
    """As `ssh-keygen -l` prints it."""
    command = ["ssh-keygen", "-l", "-f", f"{private}.pub"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]
