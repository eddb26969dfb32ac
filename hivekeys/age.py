"""Encrypts to age recipients and decrypts with age identities. The only module that names pyrage.

Plain text and keys are in memory only. Public keys are X25519 (`age1…`) and SSH (`ssh-ed25519`, `ssh-rsa`), as they are
or in a file; secret ones are never shown, not even when they stand where a public one belongs.
"""

import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pyrage
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from hivekeys.errors import UserError
from hivekeys.files import refuse_strangers

PublicKey = pyrage.x25519.Recipient | pyrage.ssh.Recipient
SecretKey = pyrage.x25519.Identity | pyrage.ssh.Identity
Ask = Callable[[str], str]  # a question for a passphrase → the answer

LARGEST = 64 * 1024  # bytes of a file of keys
PRIME = 2**255 - 19
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
WANTED = "expected age1…, an SSH public key (ssh-ed25519 …, ssh-rsa …), or a file of such keys"
IDENTITY = "name the file with AGE-SECRET-KEY-1…, or an SSH private key (the file without .pub)"
MIN_PASSPHRASE = 12  # characters: a finder of the file may try for years
ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"


@dataclass(frozen=True)
class Recipients:
    """For whom a backup is sealed: public keys, or one passphrase, never both (the age format forbids it)."""

    keys: tuple[PublicKey, ...] = ()
    passphrase: str = ""

    def __repr__(self) -> str:
        return f"Recipients({len(self.keys)})"

    def __str__(self) -> str:
        return f"{len(self.keys)} recipient{'s' if len(self.keys) > 1 else ''}" if self.keys else "a passphrase"


def recipients(texts: Iterable[str]) -> Recipients:
    """The public keys that these texts or files hold. Raises UserError for the first that cannot be used."""
    keys = [key for text in texts for key in _named(text.strip())]
    return Recipients(tuple(keys))


def passphrase(first: str, second: str) -> Recipients:
    """A passphrase that was typed twice. Raises UserError when it is too weak, or typed differently."""
    if first != second:
        raise UserError("the two passphrases differ", hint="type it again; nothing was done")
    if len(first) < MIN_PASSPHRASE:
        raise UserError(
            f"the passphrase has fewer than {MIN_PASSPHRASE} characters", hint="take several words; nothing was done"
        )
    return Recipients(passphrase=first)


def seal(plain: bytes, whom: Recipients) -> str:
    """An armored age file. Raises UserError when it cannot be made."""
    try:
        if whom.keys:
            return pyrage.encrypt(plain, whom.keys, armored=True).decode()
        return pyrage.passphrase.encrypt(plain, whom.passphrase, armored=True).decode()
    except pyrage.EncryptError as error:
        raise UserError(f"age cannot seal for these recipients: {error}") from None


def unseal(block: str, keys: Sequence[SecretKey], source: str) -> bytes:
    """What is sealed in an armored age file. Raises UserError when none of the keys opens it."""
    try:
        return pyrage.decrypt(block.encode(), keys)
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise UserError(f"{source}: is not sealed for this key", hint="try another --identity") from None
        raise UserError(f"{source}: is damaged: {error}", hint="try another backup") from None


def unseal_by_passphrase(block: bytes, passphrase: str, source: str) -> bytes:
    """The same for a passphrase."""
    try:
        return pyrage.passphrase.decrypt(block, passphrase)
    except pyrage.DecryptError as error:
        hint = "type it again; `age -d` opens the file as well" if "failed" in str(error) else str(error)
        raise UserError(f"{source}: the passphrase does not open it", hint=hint) from None


def identities(source: str, ask: Ask) -> list[SecretKey]:
    """The secret keys in a file: an age identity file, sealed by a passphrase or not, or an SSH private key."""
    try:
        with Path(source).expanduser().open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{source}: {getattr(error, 'strerror', None) or error}", hint=IDENTITY) from None
    if len(data) > LARGEST:
        raise UserError(f"{source}: is larger than {LARGEST >> 10} KiB, so it is no key")
    if data.startswith((b"age-encryption.org/", ARMOR)):
        data = unseal_by_passphrase(data, ask(f"Passphrase of {source}: "), source)
    if b"PRIVATE KEY-----" in data:
        return [_ssh_identity(data, source, ask)]
    lines = [line.strip() for line in data.decode("ascii", "replace").splitlines()]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise UserError(f"{source}: holds no secret key of age, and no SSH private key", hint=IDENTITY)
    return list(found)


def _ssh_identity(data: bytes, source: str, ask: Ask) -> SecretKey:
    load = serialization.load_ssh_private_key if b"OPENSSH" in data else serialization.load_pem_private_key
    try:
        try:
            key = load(data, None)
        except TypeError:  # it is sealed by a passphrase
            key = load(data, ask(f"Passphrase of {source}: ").encode())
        form = serialization.PrivateFormat.OpenSSH
        whole = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return pyrage.ssh.Identity.from_buffer(whole)
    except (ValueError, UnsupportedAlgorithm, pyrage.IdentityError):
        raise UserError(
            f"{source}: the passphrase is wrong, or the key is of a kind that age does not know",
            hint="age knows ssh-ed25519 and ssh-rsa",
        ) from None


def _named(text: str) -> list[PublicKey]:
    """The keys that one text means: itself, or what is in the file of that name."""
    if text.startswith(("age1", "ssh-")):
        return [_public(text, f"{' '.join(text.split())[:24]}…")]
    if "AGE-SECRET-KEY" in text.upper() or "PRIVATE KEY" in text:
        raise UserError("a recipient is a secret key; it is not shown here", hint="give its public half: age-keygen -y")
    path = Path(text).expanduser()
    lines = [(number, line.strip()) for number, line in enumerate(_read(path, text).splitlines(), 1)]
    keys = [_public(line, f"{text}, line {number}") for number, line in lines if line and not line.startswith("#")]
    if not keys:
        raise UserError(f"{text}: holds no public key", hint=WANTED)
    return keys


def _read(path: Path, name: str) -> str:
    refuse_strangers(path)  # who adds a key to it can read the backups
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe might never end
            raise UserError(f"{name}: is no file", hint=WANTED)
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"recipient {name}: {reason}", hint=WANTED) from None
    if b"PRIVATE KEY-----" in data or b"AGE-SECRET-KEY" in data:
        raise UserError(f"{name}: holds a secret key", hint="name the file with its public half (.pub)")
    if len(data) > LARGEST or not data.isascii():
        raise UserError(f"{name}: is no file of public keys", hint=WANTED)
    return data.decode()


def _public(text: str, name: str) -> PublicKey:
    """One public key, called `name` where it is refused: what a file holds may be a secret and is not shown."""

    def refuse(why: str) -> NoReturn:
        raise UserError(f"recipient {name}: {why}", hint=WANTED) from None

    try:
        if text.startswith("ssh-"):
            key: PublicKey = pyrage.ssh.Recipient.from_str(text)
        else:
            key = pyrage.x25519.Recipient.from_str(text)
        point = _point(text)
        if point:  # age would derive a key from it that everybody can derive
            X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(point))
    except pyrage.RecipientError as error:
        too_small = "TooSmall" in str(error)
        refuse("an RSA key of fewer than 2048 bits is too weak" if too_small else "is no public key that age knows")
    except (ValueError, UnsupportedAlgorithm):
        refuse("is a weak key: what is sealed for it, anyone could open")
    return key


def _point(text: str) -> bytes:
    """The point on Curve25519 that is sealed for; b"" for RSA. pyrage has read the key before, so it is well formed."""
    if text.startswith("age1"):
        bits = "".join(f"{BECH32.index(char):05b}" for char in text.strip()[4:-6])
        return int(bits[:256], 2).to_bytes(32, "big")
    key = serialization.load_ssh_public_key(text.encode())
    if not isinstance(key, Ed25519PublicKey):
        return b""
    y = int.from_bytes(key.public_bytes_raw(), "little") % 2**255
    return ((1 + y) * pow(1 - y, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little")
