"""Reads `[approval]`: the SSH public keys of those who may approve, how many must, and for how long that holds. Pure.

Whatever is refused is a ValueError whose text completes "expected …".
"""

import base64
import binascii
import re
from collections.abc import Sequence

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from hivekeys.fleet import Approver

# What `ssh-keygen -Y verify` checks signatures of; sk: on a token that has to be touched.
KINDS = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)
SHORTEST_RSA = 2048  # bits
MOST = 100  # keys
LONGEST = 365 * 86_400  # seconds
EXPECTED = 'SSH public keys, each with a name, such as ["ssh-ed25519 AAAA… alice@example"]'
_KEY = re.compile(
    r"(?P<kind>\S{1,64}) +(?P<body>[A-Za-z0-9+/]{1,4000}={0,2}) +(?P<name>[A-Za-z0-9][A-Za-z0-9._@+-]{0,63})"
)
_SECONDS = {"min": 60.0, "h": 3_600.0, "d": 86_400.0}


def keys(value: object) -> tuple[Approver, ...]:
    """One key, or a list of them, none of them twice."""
    texts = value if isinstance(value, list) else [value]
    if not 1 <= len(texts) <= MOST:
        raise ValueError(f"{EXPECTED}, {MOST} at most")
    found = tuple(_approver(text, number) for number, text in enumerate(texts, 1))
    first: dict[str, int] = {}
    for number, approver in enumerate(found, 1):
        if first.setdefault(approver.key, number) != number:
            raise ValueError(f"each key once: key {number} ({approver.name}) is key {first[approver.key]} again")
    return found


def valid(value: object) -> float:
    """For how long a plan may be carried out after it was proposed: so many minutes, hours or days."""
    found = re.fullmatch(r"([0-9]{1,6}) ?(min|h|d)", value) if isinstance(value, str) else None
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not 60 <= seconds <= LONGEST:
        raise ValueError('a text such as "4h" or "7d", from 1min to 365d')
    return seconds


def enough(approvers: Sequence[Approver], needed: int) -> None:
    """Raises ValueError where fewer persons have a key than must approve. Who has two keys is one person."""
    names = {approver.name for approver in approvers}
    if len(names) < needed:
        raise ValueError(
            f"keys of at least {needed} persons, since needed = {needed} (there are {len(names)}, by name)"
        )


def _approver(value: object, number: int) -> Approver:
    text = value.strip() if isinstance(value, str) else ""
    if "PRIVATE KEY" in text:
        raise ValueError(f"{EXPECTED}; key {number} is a private one: it is known now, replace it")
    found = _KEY.fullmatch(text)
    if found is None:
        raise ValueError(f"{EXPECTED}; key {number} is none: kind, body and a name of letters, digits, . _ @ + -")
    if found["kind"] not in KINDS:
        raise ValueError(f"{EXPECTED}; key {number} ({found['name']}) is of another kind than {', '.join(KINDS)}")
    if why := _problem(found["kind"], found["body"]):
        raise ValueError(f"{EXPECTED}; key {number} ({found['name']}) {why}")
    return Approver(found["name"], f"{found['kind']} {found['body']}")


def _problem(kind: str, body: str) -> str:
    """What is wrong with a key; "" for a whole one."""
    cut_off = "was cut off or changed"
    try:
        raw = base64.b64decode(body, validate=True)
        if base64.b64encode(raw).decode() != body:
            return cut_off
        key = load_ssh_public_key(f"{kind} {body}".encode())
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        return cut_off
    if isinstance(key, RSAPublicKey) and key.key_size < SHORTEST_RSA:
        return f"has {key.key_size} bits: RSA keys need {SHORTEST_RSA}"
    return ""
