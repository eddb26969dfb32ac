"""The documents of signed evidence. Pure."""

from typing import Literal

from hivekeys.text.documents.head import Code, Head


class Evidence(Head):
    """A run as a signed archive: fab evidence."""

    form: Literal["evidence"]
    exit_code: Code
    """0"""
    run: str
    """the run's id"""
    events: int
    """how many the run has"""
    members: list[str]
    """the files in the archive"""
    key: str
    """the key that signed it"""
    output: str
    """the archive"""


class EvidenceCheck(Head):
    """Whether an archive is what its signer wrote: fab evidence --check."""

    form: Literal["evidence-check"]
    exit_code: Code
    """6 when it is not"""
    valid: bool
    """it is"""
    faults: list[str]
    """what does not match"""
    run: str | None
    """whose run it is, where that can be told"""
    key: str | None
    """the key that signed it, where that can be told"""


class PublicKey(Head):
    """The public half of the key that signs a fleet's evidence: fab evidence --public-key."""

    form: Literal["public-key"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0"""
    key: str
    """what stands for the key"""
    pem: str
    """the key itself"""
    output: str | None
    """the file that it was written to"""
