"""Signs backups with the fleet's evidence key, and checks who signed one. Pure.

age does not say who sealed a file, and every host is sent the key under which fingerprints are made: root on a host can
make a backup that looks like the bastion's own. No host knows the signing key. Its public half is in the header:
a backup from another bastion is checked against its own header, and named by a key that an operator can compare.
"""

import base64
from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hivekeys.backups.backup import Backup, Header
from hivekeys.report.evidence.seal import key_id


class Maker(Enum):
    """Who signed a backup."""

    OURS = "ours"
    ELSEWHERE = "elsewhere"
    NOBODY = "nobody"  # it is not signed
    CHANGED = "changed"  # the signature is not of this file, or not of the key that it names


def name_of(key: Ed25519PublicKey) -> str:
    """How the signer stands in a header: the public key itself, in base64."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def sign(header: Header, block: str, key: Ed25519PrivateKey) -> bytes:
    """The signature over everything in the file but its own line."""
    return key.sign(f"{header}{block}".encode())


def maker(backup: Backup, ours: Ed25519PublicKey) -> Maker:
    """Who signed the backup, as far as that can be told."""
    if not backup.header.signer:
        return Maker.NOBODY
    key = _key(backup.header)
    try:
        key.verify(backup.signature, f"{backup.header}{backup.block}".encode())
    except InvalidSignature:
        return Maker.CHANGED
    return Maker.OURS if key.public_bytes_raw() == ours.public_bytes_raw() else Maker.ELSEWHERE


def signer_id(header: Header) -> str:
    """The signer's name as `fab evidence` shows it, "" for an unsigned backup."""
    return key_id(_key(header)) if header.signer else ""


def _key(header: Header) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(header.signer))
