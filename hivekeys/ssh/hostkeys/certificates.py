"""Reads host certificates, and decides whether one proves a host. Pure.

paramiko takes the key out of a certificate and checks nothing else, so it is checked here: what OpenSSH's
sshkey_cert_check_host asks (PROTOCOL.certkeys), and stricter where an empty list of names would mean every host.
"""

import base64
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import ssh

from hivekeys.ssh.hostkeys.key import HostKey

SUFFIX = "-cert-v01@openssh.com"
_WEAK = ("ssh-rsa", "ssh-dss")  # signed over SHA-1
_FIELDS_OF_KEY = {"ssh-ed25519": 1, "ssh-rsa": 2}  # strings of the public key; the ECDSA types have two as well


@dataclass(frozen=True)
class Certificate:
    """A host certificate that could be read; it proves nothing before `problem` was asked."""

    authority: HostKey
    key: bytes  # the host's public key, as the wire spells it
    signed_with: str
    read: ssh.SSHCertificate

    def problem(self, host: str, now: float) -> str:
        """Why it is no proof for the host of that name at that time (seconds since 1970), or ""."""
        names = [name.decode(errors="replace") for name in self.read.valid_principals]
        if self.read.type.name != "HOST":
            return "it is a user's, not a host's"
        if self.signed_with in _WEAK:
            return f"its signature is {self.signed_with}, which uses SHA-1"
        if now < self.read.valid_after:
            return "it is not valid yet"
        if now >= self.read.valid_before:
            return "it has expired"
        if host not in names:
            return f"it is not for {host} but for {', '.join(names) or 'no name'}"
        if self.read.critical_options:
            return f"it has options that are not known: {', '.join(map(repr, self.read.critical_options))}"
        return "" if self._is_signed() else "its signature is wrong"

    def _is_signed(self) -> bool:
        try:
            self.read.verify_cert_signature()
        except (InvalidSignature, ValueError, AssertionError):
            return False
        return True


def read(blob: bytes) -> Certificate | str:
    """The certificate in `blob`, as the wire spells it, or why it can't be used."""
    try:
        kind, _ = _string(blob, 0)
        found = ssh.load_ssh_public_identity(kind + b" " + base64.b64encode(blob))
        if not isinstance(found, ssh.SSHCertificate):
            return "it is none"
        authority = base64.b64decode(ssh.serialize_ssh_public_key(found.signature_key()).split()[1])
        key = base64.b64decode(ssh.serialize_ssh_public_key(found.public_key()).split()[1])
        signed_with = _signed_with(blob, kind.decode().removesuffix(SUFFIX))
        return Certificate(HostKey(_string(authority, 0)[0].decode(), authority), key, signed_with, found)
    except (ValueError, struct.error, UnsupportedAlgorithm):
        return "it can't be read, or is of a type that is not supported"


def _signed_with(blob: bytes, kind: str) -> str:
    """The algorithm of the signature, which `cryptography` checks and does not name."""
    place = 0
    for _ in range(2 + _FIELDS_OF_KEY.get(kind, 2)):  # type, nonce, and the key
        place = _string(blob, place)[1]
    place += 8 + 4  # serial number and type
    for _ in range(2):  # its own name, and the hosts'
        place = _string(blob, place)[1]
    place += 8 + 8  # valid from, valid until
    for _ in range(4):  # options, extensions, reserved, the authority's key
        place = _string(blob, place)[1]
    return _string(_string(blob, place)[0], 0)[0].decode()


def _string(data: bytes, place: int) -> tuple[bytes, int]:
    """An SSH string that begins at `place`, and where it ends; struct.error if it is cut off."""
    (size,) = struct.unpack_from(">I", data, place)
    (text,) = struct.unpack_from(f"{size}s", data, place + 4)
    return text, place + 4 + size
