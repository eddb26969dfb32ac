"""The document of work on hosts beside a run: fix, install, uninstall, watch. Pure."""

from typing import Literal, TypedDict

from hivekeys.text.documents.head import Cause, Code, Fp6, Head


class Change(TypedDict):
    """One thing that was changed, or would be."""

    part: str
    """of what"""
    path: str
    """where"""
    before: str
    """as it was"""
    after: str
    """as it is now, or would be"""
    changed: bool
    """it was changed"""
    refused: str | None
    """why it stays as it is"""


class UpkeepHost(TypedDict):
    """A host that was worked on."""

    host: str
    """its name"""
    ok: bool
    """it was asked, and answered"""
    proven: bool
    """its service was proven with its token"""
    token: Fp6 | None
    """the token in its file"""
    cause: Cause | None
    """why it failed"""
    changes: list[Change]
    """what was changed, or would be; empty where all was right"""


class Upkeep(Head):
    """Work on hosts: fab fix, install, uninstall, watch."""

    form: Literal["upkeep"]
    fleet: str
    """the fleet's name"""
    task: str
    """fix, install, uninstall, watch"""
    applied: bool
    """false where it was only shown"""
    exit_code: Code
    """4 when a host could not be asked or did not do it, 6 when something is left to do"""
    hosts: list[UpkeepHost]
    """in the inventory's order"""


class Sudoers(Head):
    """The rule for sudo that restricted mode needs: fab install --print-sudoers."""

    form: Literal["sudoers"]
    exit_code: Code
    """0"""
    text: str
    """the rule, as it stands in a file of sudoers.d"""
