"""The documents of `[approval]`: who has approved a run, before or after it. Pure."""

from typing import Literal, TypedDict

from hivekeys.text.documents.head import Code, Head


class SignedBy(TypedDict):
    """A person's signature."""

    person: str
    """the name of their key"""
    key: str
    """the fingerprint of that key, as `ssh-keygen -l` shows it"""
    signed: str
    """SHA-256 of the file that was signed"""
    afterwards: bool
    """they signed what was done, after the run; else the plan that it carried out"""


class Approval(TypedDict):
    """How a run was approved."""

    needed: int
    """how many persons must approve it"""
    lacking: bool
    """it has changed something, and is still to be approved"""
    plan: str | None
    """the id of the plan that it carried out"""
    by: list[SignedBy]
    """each signature"""


class Stated(Head):
    """What a run has done, written to a file to be signed: fab plan --propose FILE --run RUN."""

    form: Literal["stated"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0"""
    run: str
    """the run that is to be approved"""
    output: str
    """the file"""


class ApprovedAfterwards(Head):
    """A run that was approved after it: fab approve."""

    form: Literal["approved"]
    fleet: str
    """the fleet's name"""
    exit_code: Code
    """0"""
    run: str
    """the run"""
    approved_by: list[str]
    """who has signed the statement of it"""
    dry_run: bool
    """nothing was noted in the journal"""
