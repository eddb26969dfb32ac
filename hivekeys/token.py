"""The token as a type: it is made, checked and fingerprinted here, and never printed. Pure.

A Token refuses to be shown, pickled or compared by accident; the one way to its text is `reveal()`,
whose callers can be counted. Decisions use the keyed fingerprint; people see `fp6`.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NoReturn

from hivekeys.errors import UserError

MIN_LENGTH = 64  # characters; guide.md, "Verify token length"
MAX_LENGTH = 4096  # characters; far above any real token, far below a header limit's surprise
MIN_SYMBOLS = 8  # distinct characters; 64 random hex digits have fewer than once in 10^19


@dataclass(frozen=True)
class Fingerprint:
    """What stands for a token.

    `keyed` is HMAC-SHA256 under the fleet's key, as 64 hex digits: the only thing that decides.
    `fp6` is the first 6 hex digits of SHA-256, as the services log it: for people only.
    """

    keyed: str
    fp6: str = field(compare=False)

    def __post_init__(self) -> None:
        """Refuses anything but hex digits: fingerprints come from hosts, and hosts can lie."""
        if not re.fullmatch("[0-9a-f]{64}", self.keyed) or not re.fullmatch("[0-9a-f]{6}", self.fp6):
            raise ValueError("not a fingerprint")

    def __str__(self) -> str:
        return self.fp6


class Token:
    """A secret. `str`, `repr`, f-strings and tracebacks show `Token(…)`; pickling is refused."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Only for the line to a host."""
        return self._text

    def is_under(self, salt: str, digest: str) -> bool:
        """True when this tombstone (both in hex) is the token's; hosts lay them (hivekeys.host.slots.is_under)."""
        return hmac.new(bytes.fromhex(salt), self._text.encode(), hashlib.sha256).hexdigest() == digest

    def fingerprint(self, key: bytes) -> Fingerprint:
        """The fingerprint under the fleet's key; the agent computes the same on the host."""
        text = self._text.encode()
        return Fingerprint(
            keyed=hmac.new(key, text, hashlib.sha256).hexdigest(), fp6=hashlib.sha256(text).hexdigest()[:6]
        )

    def __repr__(self) -> str:
        return "Token(…)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token is never serialised")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)


def generate() -> Token:
    """A new token: 64 hex digits, 256 bits from the system's generator (guide.md, "Generate API Token")."""
    return Token(secrets.token_hex(32))


def parse(data: bytes, source: str) -> Token:
    """A token that is to be written: one line, with or without a final newline. Raises UserError; never shows it."""
    hint = "make one with `openssl rand -hex 32`, or leave --token-file out and let hivekeys make it"
    text = _line(data, source, hint, MIN_LENGTH)
    weakness = weak(text)
    if weakness:
        raise UserError(f"{source}: is too easy to guess: {weakness}", hint=hint)
    return Token(text)


def parse_old(data: bytes, source: str) -> Token:
    """A token that services are only asked with: however short or weak it may have been."""
    return Token(_line(data, source, "one line, as it stood in the token file", 1))


def _line(data: bytes, source: str, hint: str, least: int) -> str:
    """The one line of printable ASCII in `data`, of `least` to MAX_LENGTH characters."""

    def refuse(why: str) -> NoReturn:
        raise UserError(f"{source}: {why}", hint=hint)

    if len(data) > MAX_LENGTH + 2:
        refuse(f"is {len(data)} bytes long; a token is one line of {least} to {MAX_LENGTH} characters")
    if not (data.isascii()):
        refuse("has characters outside printable ASCII")
    text = data.decode("ascii").removesuffix("\n").removesuffix("\r")
    if not text:
        refuse("is empty")
    if "\n" in text or "\r" in text:
        refuse("has more than one line")
    if not all("!" <= char <= "~" for char in text):
        refuse("has blanks or control characters")
    if not least <= len(text) <= MAX_LENGTH:
        refuse(f"is {len(text)} characters long; a token has {least} to {MAX_LENGTH}")
    return text


def weak(text: str) -> str:
    """Why `text` is obviously weak (repeated, sequential, few symbols), or "". Says nothing of its content."""
    if len(set(text)) < MIN_SYMBOLS:
        return f"fewer than {MIN_SYMBOLS} different characters"
    if any(text[size:] == text[:-size] for size in range(1, len(text) // 2 + 1)):
        return "it repeats itself"
    steps = [ord(right) - ord(left) for left, right in pairwise(text)]
    in_sequence = sum(step in (-1, 0, 1) for step in steps)
    if in_sequence * 2 > len(steps):
        return "most characters follow their neighbours in sequence"
    return ""


def is_random(text: str) -> bool:
    """True for what looks like a generated token: 32 letters and digits or more, and not obviously weak."""
    return re.fullmatch("[0-9A-Za-z_-]{32,}", text) is not None and not weak(text)


def refuse_revoked(fingerprint: Fingerprint, revoked: Mapping[Fingerprint, str], source: str) -> None:
    """A token that was revoked is written to no host again (promise 5)."""
    if run := revoked.get(fingerprint):
        raise UserError(
            f"{source}: its token (token:{fingerprint}) was revoked by run {run}: nothing may write it again",
            hint="`fab rotate` brings a new token",
        )


def key_name(key: bytes) -> str:
    """What stands for a bastion's key in a header; says nothing of the key."""
    return hmac.new(key, b"hivekeys backup", hashlib.sha256).hexdigest()[:16]
