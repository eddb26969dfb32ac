"""The document of host keys. Pure."""

from typing import Literal, TypedDict

from hivekeys.text.documents.head import Code, Head, TroubleWord


class KnownKey(TypedDict):
    """A host key in known_hosts."""

    type: str
    """as OpenSSH names it"""
    fingerprint: str
    """as ssh-keygen -l shows it"""


class Key(KnownKey):
    """A host key that a host presents."""

    known: bool
    """known_hosts has it"""


class Unreached(TypedDict):
    """Why a host showed no key."""

    trouble: TroubleWord
    """its name in the runbook"""
    detail: str
    """what was seen"""


class HostKeys(TypedDict):
    """The keys of a host."""

    host: str
    """its name"""
    known_as: str
    """its name in known_hosts"""
    standing: str
    """how its keys stand to known_hosts"""
    written: bool
    """its keys were written now"""
    keys: list[Key]
    """what it presents"""
    known_keys: list[KnownKey]
    """what known_hosts has"""
    cause: Unreached | None
    """why it showed no key"""


class Trust(Head):
    """The host keys of a fleet: fab trust."""

    form: Literal["trust"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0 when every host is trusted now, else 4"""
    hosts: list[HostKeys]
    """in the inventory's order, jump hosts too"""
