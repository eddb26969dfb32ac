"""The format of a backup file: a readable header and an age block, bound to each other by a digest. Pure.

The file is ASCII: a header, a signature, then the armored age block. Without what stands before it, `age -d` opens the
block; the header's last line is the command. The block seals two lines: the token, and the SHA-256 of the header. So a
header that was changed, or put before another block, shows as soon as it is opened, and so does one whose signature was
taken away. age does not say *who* sealed a file: signature.py does. Files of format 1 have no signature.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

from hivekeys.errors import UserError
from hivekeys.text.clean import one_line
from hivekeys.token import MAX_LENGTH, Fingerprint, Token, key_name, refuse_revoked

UNSIGNED, FORMAT = 1, 2
LARGEST = 256 * 1024  # bytes; a thousand recipients are far fewer
BLOCK = "-----BEGIN AGE ENCRYPTED FILE-----"
BLOCK_END = "-----END AGE ENCRYPTED FILE-----"
OPEN = "sed -n '/^-----BEGIN AGE/,$p' FILE | age -d -i KEY | head -n 1"
PASSPHRASE = "passphrase"  # noqa: S105  a word for people
KINDS = {"X25519": "age", "scrypt": PASSPHRASE}  # as age calls them in its own header, and as people do
TIME = "%Y-%m-%dT%H:%M:%SZ"
HEAD = re.compile(
    r"hivekeys-backup: (?P<format>[12])\n"
    r"fleet: (?P<fleet>[A-Za-z0-9][A-Za-z0-9._-]{0,62})\n"
    r"run: (?P<run>[A-Za-z0-9._-]{1,80})\n"
    r"token: (?P<fp6>[0-9a-f]{6})\n"
    r"fingerprint: (?P<keyed>[0-9a-f]{64})\n"
    r"key: (?P<key>[0-9a-f]{16})\n"
    r"made: (?P<made>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)\n"
    r"(?:signed-by: (?P<signer>[A-Za-z0-9+/]{43}=)\n)?"
    + re.escape(f"open: {OPEN}\n")
    + r"(?:signature: (?P<signature>[A-Za-z0-9+/]{86}==)\n)?"
)
NO_RUN = "-"


@dataclass(frozen=True)
class Header:
    """The readable part of a backup. `run`: that brought the token, "" if unknown. `made`: UTC, whole seconds.

    `key` stands for the bastion's key under which the fingerprint was made: another bastion cannot compare it.
    `signer`: the public key of who signed it (signature.py), "" for a file of format 1.
    """

    fleet: str
    run: str
    fingerprint: Fingerprint
    key: str
    made: datetime
    signer: str = ""

    def __str__(self) -> str:
        lines = (
            f"hivekeys-backup: {FORMAT if self.signer else UNSIGNED}",
            f"fleet: {self.fleet}",
            f"run: {self.run or NO_RUN}",
            f"token: {self.fingerprint.fp6}",
            f"fingerprint: {self.fingerprint.keyed}",
            f"key: {self.key}",
            f"made: {self.made.strftime(TIME)}",
            *([f"signed-by: {self.signer}"] if self.signer else []),
            f"open: {OPEN}",
        )
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class Backup:
    """A backup that was read and not opened. `kinds`: what kind of key opens it, one for each recipient."""

    header: Header
    block: str
    kinds: tuple[str, ...]
    signature: bytes = b""


def plain(header: Header, token: Token) -> bytes:
    """The text that is sealed. Its first line is the token, for an operator who opens it without hivekeys."""
    return f"{token.reveal()}\nheader-sha256 {_digest(header)}\n".encode()


def text_of(header: Header, block: str, signature: bytes = b"") -> str:
    """The whole file."""
    signed = f"signature: {base64.b64encode(signature).decode()}\n" if signature else ""
    return f"{header}{signed}{block}"


def parse(data: bytes, source: str) -> Backup:
    """The backup in a file's bytes, unopened. Raises UserError that says what is wrong with it."""

    def refuse(why: str, hint: str = "`fab backup --list` shows this fleet's backups") -> NoReturn:
        raise UserError(f"{source}: {why}", hint=hint)

    if len(data) > LARGEST:
        refuse(f"is larger than {LARGEST >> 10} KiB, so it is no backup")
    text = data.decode("ascii", "replace")
    head, marker, rest = text.partition(BLOCK)
    if data.startswith(b"age-encryption.org/") or (marker and not head.strip()):
        refuse(
            "is an age file without a header: it does not say whose token it is",
            f"if you know it: age -d -i KEY {source} | fab rotate --token-file - --yes",
        )
    version = re.match(r"hivekeys-backup: ([0-9]+)\n", head)
    if version and int(version[1]) > FORMAT:
        refuse(f"written by a newer hivekeys (format {version[1]}, this one knows {FORMAT})", "update hivekeys here")
    found = HEAD.fullmatch(head)
    if not found or not marker:
        refuse("is no backup, or its header was changed" if version else "is no backup")
    if {found["signer"] is None, found["signature"] is None} != {found["format"] == str(UNSIGNED)}:
        refuse("its signature was taken away, or is not of this file", "do not use it; find out who could write to it")
    block = marker + rest
    try:
        made = datetime.strptime(found["made"], TIME).replace(tzinfo=UTC)
        kinds = _kinds(block)
        signature = _bytes_of(found["signature"] or "")
    except ValueError:
        refuse("is a backup that was cut short or changed", "try another one: `fab backup --list`")
    run = "" if found["run"] == NO_RUN else found["run"]
    fingerprint = Fingerprint(found["keyed"], found["fp6"])
    header = Header(found["fleet"], run, fingerprint, found["key"], made, found["signer"] or "")
    return Backup(header, block, kinds, signature)


def refuse_early(backup: Backup, fleet: str, revoked: Mapping[Fingerprint, str], source: str) -> None:
    """Refuses what the header alone forbids: another fleet's token, a revoked one."""
    if backup.header.fleet != fleet:
        raise UserError(
            f"{source}: is a backup of fleet {backup.header.fleet}, not of {fleet}",
            hint="tokens are never shared between fleets; nothing was opened and no host contacted",
        )
    refuse_revoked(backup.header.fingerprint, revoked, source)


def token_in(backup: Backup, opened: bytes, key: bytes, source: str) -> Token:
    """The token, when everything that can be checked of it is right. Raises UserError that shows nothing of it."""

    def refuse(why: str) -> NoReturn:
        raise UserError(f"{source}: {why}", hint="do not use this file; find out who could write to it")

    lines = opened.decode("ascii", "replace").split("\n")
    if len(lines) != 3 or lines[2] or not _is_token(lines[0]):
        refuse("what is sealed in it is not a token and the header's digest")
    if not hmac.compare_digest(lines[1].encode(), f"header-sha256 {_digest(backup.header)}".encode()):
        refuse("its header is not the one that the token was sealed with: it was changed")
    token = Token(lines[0])
    fingerprint, said = token.fingerprint(key), backup.header.fingerprint
    if fingerprint.fp6 != said.fp6 or (backup.header.key == key_name(key) and fingerprint != said):
        refuse("the token in it is not the one that its header names")
    return token


def _is_token(text: str) -> bool:
    """As the agent has it: a fleet may have had a token that would be refused today as too weak."""
    return 0 < len(text) <= MAX_LENGTH and all("!" <= char <= "~" for char in text)


def _digest(header: Header) -> str:
    return hashlib.sha256(str(header).encode()).hexdigest()


def _bytes_of(text: str) -> bytes:
    """Base64 that has one form only. Raises ValueError for another."""
    data = base64.b64decode(text)
    if base64.b64encode(data).decode() != text:
        raise ValueError("bits that mean nothing")
    return data


def _kinds(block: str) -> tuple[str, ...]:
    """The kinds of recipients, read from age's own header. Raises ValueError when there is none."""
    lines = block.strip().split("\n")
    if lines[-1] != BLOCK_END or len(lines) < 3:
        raise ValueError("no end")
    try:
        raw = base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    head, mark, _ = raw.partition(b"\n--- ")
    if not mark or not head.startswith(b"age-encryption.org/v1\n"):
        raise ValueError("no age header")
    types = re.findall(r"^-> (\S+)", head.decode("ascii", "replace"), re.MULTILINE)
    real = [kind for kind in types if not kind.endswith("-grease")]  # age's own padding against rigid readers
    if not real:
        raise ValueError("no recipient")
    return tuple(one_line(KINDS.get(kind, kind)) for kind in real)
