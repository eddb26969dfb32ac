"""Reads secrets from the operator: from a private file, or typed without an echo."""

import os
import stat
import sys
from getpass import getpass
from pathlib import Path

from hivekeys import token
from hivekeys.errors import UserError
from hivekeys.files import refuse_strangers
from hivekeys.token import Token

CREDENTIALS = "CREDENTIALS_DIRECTORY"  # where systemd puts a unit's LoadCredential= for that unit alone


def read(source: str, limit: int, hint: str) -> bytes:
    """At most `limit` bytes of a file, which must be a secret still; `hint` is what to do when it is none."""
    path = Path(source).expanduser()
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(limit)
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & 0o077 and not _is_credential(path):
        raise UserError(
            f"{source}: others can read it (mode {stat.S_IMODE(mode):04o}), so it is no secret any more", hint=hint
        )
    if stat.S_ISREG(mode) and not _is_credential(path):
        refuse_strangers(path)
    return data


def new_token(source: str) -> Token:
    """A new token; or, where there is a source, the one in that file, which only its owner can read, or on stdin."""
    if not source:
        return token.generate()
    if source == "-":
        return token.parse(sys.stdin.buffer.read(token.MAX_LENGTH + 3), "standard input")
    hint = "leave --token-file out and let hivekeys make a token"
    return token.parse(read(source, token.MAX_LENGTH + 3, hint), source)


def leaked_token(source: str) -> Token:
    """A token that leaked, from a file or from standard input: who can read it knows it already."""
    if source == "-":
        return token.parse_old(sys.stdin.buffer.read(token.MAX_LENGTH + 3), "standard input")
    try:
        with Path(source).expanduser().open("rb") as file:
            return token.parse_old(file.read(token.MAX_LENGTH + 3), source)
    except OSError as error:
        raise UserError(f"{source}: {error.strerror}") from error


def _is_credential(path: Path) -> bool:
    """A file of systemd's: an access list may widen its mode, but no other account gets into its folder."""
    folder = os.environ.get(CREDENTIALS)
    return bool(folder) and path.resolve().is_relative_to(Path(str(folder)).resolve())


def typed(prompt: str, hint: str) -> bytes:
    """What is typed on the terminal, without an echo. Without a terminal it is a UserError with the `hint`."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))  # or getpass would read from stdin, and show it
    except OSError:
        raise UserError(f"there is no terminal to ask on: {prompt.rstrip(': ')}", hint=hint) from None
    try:
        return getpass(prompt).encode()
    except EOFError:
        return b""


def typed_passphrase(question: str) -> str:
    """A passphrase, typed on the terminal and shown nowhere."""
    return typed(question, "or use a key that has no passphrase").decode()
