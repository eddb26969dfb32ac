"""Checks the values of `[notify.NAME]`: who is told of a run, when and by which way. Pure.

Whatever is refused is a ValueError whose text completes "expected …".
"""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from hivekeys.fleet import Occasion

WAYS = ("run", "webhook", "webhook_file", "mail")
LONGEST_ADDRESS = 2_000  # characters
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")


def https(value: object) -> str:
    """The address of a webhook; one with a password in it is refused, since an inventory is no place for a secret."""
    expected = "the https:// address of a webhook, without a password in it"
    if not isinstance(value, str) or len(value) > LONGEST_ADDRESS or not re.fullmatch(r"https://[\x21-\x7e]+", value):
        raise ValueError(expected)
    try:
        found = urlsplit(value)
        is_whole = bool(found.hostname) and "@" not in found.netloc and found.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError(expected)
    return value


def mail_address(value: object) -> str:
    """A mail address, or the name of an account on the bastion."""
    if isinstance(value, str) and (_MAIL.fullmatch(value) or re.fullmatch("[A-Za-z_][A-Za-z0-9_.-]{0,31}", value)):
        return value
    raise ValueError("a mail address such as ops@example.com")


def occasions(value: object) -> tuple[Occasion, ...]:
    """When to tell, in the order of a run."""
    words = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    known = {occasion.value: occasion for occasion in Occasion}
    if not words or not all(isinstance(word, str) and word in known for word in words):
        raise ValueError(f"one or a list of {', '.join(known)}")
    return tuple(occasion for name, occasion in known.items() if name in words)


def one_way(keys: Collection[str]) -> None:
    """Refuses a table that names no way to tell, or two, or a header where there is no webhook."""
    if len([way for way in WAYS if way in keys]) != 1:
        raise ValueError(
            'one of run = ["/PROGRAM", …], webhook = "https://…", webhook_file = "FILE" and mail = ["WHO@WHERE"]'
        )
    if "header_file" in keys and not {"webhook", "webhook_file"} & set(keys):
        raise ValueError("header_file beside webhook or webhook_file alone")
