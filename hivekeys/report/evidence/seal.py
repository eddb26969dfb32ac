"""The signature of an archive: a list of SHA-256 digests, signed with the fleet's Ed25519 key. Pure.

`sha256sum -c SHA256SUMS` checks the members and `openssl pkeyutl -verify` the signature over that list, so no reader
has to believe hivekeys. Its first lines name the run and the key, and sha256sum takes them for remarks.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from hivekeys.errors import UserError
from hivekeys.report.evidence.archive import pack

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
HEAD = "# hivekeys evidence 1\n# run {run}\n# signed with Ed25519 key {key}\n"
PART = "[A-Za-z0-9][A-Za-z0-9._-]{0,80}"  # a run, a member: what is shown of an archive is in these characters
FORM = re.compile(
    rf"# hivekeys evidence 1\n# run (?P<run>{PART})\n# signed with Ed25519 key (?P<key>SHA256:[0-9a-f]{{64}})\n"
    rf"(?P<sums>(?:[0-9a-f]{{64}}  {PART}\n)*)"
)


@dataclass(frozen=True)
class Sums:
    """What a list of digests says."""

    run: str
    key: str
    digests: dict[str, str]


def public_key(pem: bytes, source: str) -> Ed25519PublicKey:
    """The key that signatures are checked with. Raises UserError for what is none."""
    hint = "`fab evidence --public-key` prints it on the bastion that made the archive"
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise UserError(f"{source}: this is no public key in PEM form", hint=hint) from error
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{source}: found a public key of another kind, expected Ed25519", hint=hint)
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """The key as `openssl` reads it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Ed25519PublicKey) -> str:
    """A key's name: SHA-256 of its DER form, as `openssl pkey -pubin -outform DER | sha256sum` gives it."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA256:{hashlib.sha256(der).hexdigest()}"


def sealed(run: str, members: Mapping[str, bytes], key: Ed25519PrivateKey) -> bytes:
    """The archive of these members, signed. The same run, members and key give the same bytes."""
    head = HEAD.format(run=run, key=key_id(key.public_key()))
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items())
    listed = (head + sums).encode()
    return pack(folder_of(run), {SUMS: listed, SIGNATURE: key.sign(listed), **members})


def folder_of(run: str) -> str:
    """The folder that a run's members lie in."""
    return f"evidence-{run}"


def read_sums(listed: bytes) -> Sums | None:
    """What the list says; None when it has not the form that it was written in."""
    found = FORM.fullmatch(listed.decode("utf-8", "replace"))
    if found is None:
        return None
    rows = (line.split("  ", 1) for line in found["sums"].splitlines())
    return Sums(found["run"], found["key"], {name: digest for digest, name in rows})


def is_signed(listed: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """True when the key's owner signed exactly this list."""
    try:
        key.verify(signature, listed)
    except InvalidSignature:
        return False
    return True
