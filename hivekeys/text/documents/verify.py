"""The document of the security checklist. Pure."""

from typing import Literal, TypedDict

from hivekeys.text.documents.head import Code, Head


class Waiver(TypedDict):
    """A finding that the inventory accepts until a day."""

    check: str
    """of which check"""
    hosts: list[str] | None
    """on which hosts; null for all"""
    reason: str
    """why"""
    until: str
    """the last day, as 2026-12-31"""


class Finding(TypedDict):
    """What a check found on a host."""

    check: str
    """its id, as the reference lists it"""
    title: str
    """what must be so"""
    section: str
    """of the Secret Management Guide"""
    severity: str
    """low, medium, high"""
    host: str
    """where"""
    verdict: str
    """pass, warn, fail, can't tell"""
    detail: str
    """what was seen"""
    waived: Waiver | None
    """the waiver that accepts it"""


class Checklist(Head):
    """The security checklist: fab verify."""

    form: Literal["verify"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0 when all passed, 6 when something was found, 4 when a host could not be asked"""
    counts: dict[str, int]
    """how many findings each verdict has"""
    findings: list[Finding]
    """one for each check on each host"""
    expired_waivers: list[Waiver]
    """waivers whose day is over"""
